"""Claims about layers, trained models and costs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
from scipy.stats import spearmanr

from adaptprune.cells import DENSE
from adaptprune.papers.adapt_pruner.fig4 import interleaved
from adaptprune.results.numerals import print_p
from adaptprune.results.stats import chance_over_seeds
from adaptprune.results.verdict import Outcome, Verdict, judge, not_run
from adaptprune.tables.declared import Peak
from adaptprune.tables.peak import at_common_seeds, gains_of, peak_verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.papers.adapt_pruner.evidence import PruningEvidence
    from adaptprune.tables.grid import Grid, TableRow
    from adaptprune.tables.measures import Measure

#: Where the paper makes a claim without a number.
_TEXT = "In words alone ({})."
_NOT_COMPARED = "Not compared in the paper."
#: Whom Table 4 sets Adapt-Accel against.
RIVALS = ("ShearedLLaMA", "Minitron")
#: What the paper argues against.
PARADIGM = ("Prune, then train",)
#: "a total number of N_P = 20 interleavings are adopted" (ACL, 4.2), about 5 % at a time.
PRUNINGS = 20


def lower_layers(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "the bottom layers are observed to be more important than the top layers" (4.1).

    By Spearman's rank correlation between a layer's place and the increase of perplexity when half
    of it is cut from the dense model (Fig. 1).
    """
    claim = "Lower layers are more important than upper ones."
    printed = _TEXT.format("4.1, Figure 1")
    path = evidence.generated / "figures" / "fig1.csv"
    if not path.is_file():
        return [not_run(claim, "fig1", printed)]
    data = pd.read_csv(path)
    dense = data[(data["panel"] == "sensitivity") & (data["uniform"] == 0)]
    found = spearmanr(dense["layer"], dense["increase"])
    rho, chance = float(found.statistic), float(found.pvalue)
    outcome = judge([-rho], [chance])
    halves = [half["increase"].median() for half in _halves(dense)]
    numbers = [
        f"Rank correlation of {rho:.2f} over {len(dense)} layers, p {print_p(chance)}.",
        f"Median increase of perplexity: {halves[0]:.3g} in the lower half of the layers, "
        f"{halves[1]:.3g} in the upper half.",
    ]
    return [
        Verdict(claim, outcome, "By what cutting half of a single layer costs.", numbers, printed)
    ]


def _halves(layers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    ordered = layers.sort_values("layer")
    return ordered.iloc[: len(ordered) // 2], ordered.iloc[len(ordered) // 2 :]


def best_interleaving(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "the optimal interleave frequency is around 95% pruning ratio" (4.4, Figure 4)."""
    claim = "Pruning about 5 % at a time (N_P = 20) is best: rarer and more frequent are worse."
    printed = _TEXT.format("4.4, Figure 4")
    found = evidence.table("ablation_interleave")
    if found is None:
        return [not_run(claim, "ablation_interleave", printed)]
    _, grid = found
    profile = evidence.source.profile
    names = interleaved(profile)
    counts = {name: profile.recovery(name).recipe.parameters["interleaves"] for name in names}
    best = next((name for name in names if counts[name] == PRUNINGS), None)
    if best is None or best == names[-1]:
        reason = f"No run with more than {PRUNINGS} prunings to compare with."
        numbers = [_listed(grid, column) for column in _shown(grid)]
        return [Verdict(claim, Outcome.NOT_RUN, reason, numbers, printed)]
    peak = Peak(along="the number of prunings", methods=names, best=best)
    return [replace(verdict, claim=claim, printed=printed) for verdict in peak_verdicts(peak, grid)]


def _shown(grid: Grid) -> list[Measure]:
    return [c for c in grid.columns if c.key == "average" or c.kind == "perplexity"]


def _listed(grid: Grid, column: Measure) -> str:
    """Return the values of a column as one sentence."""
    parts = []
    for row in grid.rows:
        value = row.entries[column.key].value
        parts.append(f"{row.label}: {'no number' if value is None else f'{value:.2f}'}")
    return f"{column.header}. {'; '.join(parts)}."


def better_than_rivals(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "Adapt-Accel outperforms both ShearedLLaMA … and … Minitron" (4.2, Table 4)."""
    printed = _printed(evidence, 4, "bbh")
    return [
        *_against(evidence, "table4", "tokens", RIVALS, printed),
        *_against(evidence, "table4_flops", "operations", RIVALS, _NOT_COMPARED),
    ]


def better_than_pruning_once(evidence: PruningEvidence) -> list[Verdict]:
    """Judge the "gain over the traditional prune-then-train framework" (conclusion)."""
    printed = _TEXT.format("conclusion")
    return [
        *_against(evidence, "table4", "tokens", PARADIGM, printed),
        *_against(evidence, "table4_flops", "operations", PARADIGM, _NOT_COMPARED),
    ]


def _against(
    evidence: PruningEvidence, table: str, basis: str, rivals: Sequence[str], printed: str
) -> list[Verdict]:
    """Judge the last row of a table of trained models against rows of the given titles."""
    named = " and ".join(f'"{rival}"' for rival in rivals)
    claim = f"Adapt-Accel is better than {named} on equal {basis}."
    found = evidence.table(table)
    if found is None:
        return [not_run(claim, "table4", printed)]
    _, grid = found
    ours = grid.rows[-1]
    others = [row for row in grid.rows if row.title in rivals]
    if len(others) < len(rivals):
        return [Verdict(claim, Outcome.NOT_RUN, "The profile lacks a row of them.", [], printed)]
    return [
        replace(_over_seeds(claim, column, ours, others), printed=printed)
        for column in _shown(grid)
    ]


def recovers_family(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "recovers its performance across all model sizes" on fewer tokens (4.3, Table 3).

    To be as good cannot be shown by a test of differences, so it takes being better.
    """
    claim = "Adapt-Accel is no worse than the pretrained model of its size, on far fewer tokens."
    printed = _printed(evidence, 3, "mmlu")
    found = evidence.table("table3")
    if found is None:
        return [not_run(claim, "table3", printed)]
    _, grid = found
    verdicts = []
    for block in dict.fromkeys(row.model for row in grid.rows):
        rows = [row for row in grid.rows if row.model == block]
        dense, ours = rows[0], rows[-1]
        for column in _shown(grid):
            verdicts.append(replace(_over_seeds(claim, column, ours, [dense]), printed=printed))
    return verdicts


def _printed(evidence: PruningEvidence, table: int, key: str) -> str:
    """Return what a table of trained models prints for one benchmark, row by row."""
    rows = evidence.published
    rows = rows[(rows["table_arxiv"] == table) & (rows["key"] == key)]
    listed = zip(rows["row_label"], rows["value"], strict=True)
    return f"{rows['column'].iloc[0]}. {'; '.join(f'{label}: {v:.2f}' for label, v in listed)}."


def _over_seeds(claim: str, column: Measure, ours: TableRow, others: list[TableRow]) -> Verdict:
    """Judge one row against others, seed by seed (t test over seeds, two-sided).

    A row that does not depend on the seed stands for every seed.
    """
    compared = [ours, *(_at_every_seed(column, other, ours) for other in others)]
    (ours, *others), remark = at_common_seeds(column, compared)
    numbers = [f"{_listed_rows(column, [ours, *others])}{remark}."]
    place = f"{column.header}, {ours.model}"
    if any(row.entries[column.key].value is None for row in (ours, *others)):
        return Verdict(claim, Outcome.NOT_RUN, "A row has no number.", numbers, place=place)
    gains, chances = [], []
    for other in others:
        gain = gains_of(column, ours, other)
        if len(gain) < 2:
            reason = "Fewer than two seeds: no test."
            return Verdict(claim, Outcome.OPEN, reason, numbers, place=place)
        gains.append(sum(gain) / len(gain))
        chances.append(chance_over_seeds(gain))
    outcome = judge(gains, chances)
    least = max(chances)
    reason = f"Over seeds, the largest p {print_p(least)}."
    return Verdict(claim, outcome, reason, numbers, place=place)


def _at_every_seed(column: Measure, row: TableRow, like: TableRow) -> TableRow:
    """Return a dense row as one that was measured at every seed of another."""
    entry = row.entries[column.key]
    if row.method != DENSE or entry.value is None:
        return row
    by_seed = dict.fromkeys(like.entries[column.key].by_seed, entry.value)
    return replace(row, entries=row.entries | {column.key: replace(entry, by_seed=by_seed)})


def _listed_rows(column: Measure, rows: list[TableRow]) -> str:
    parts = []
    for row in rows:
        entry = row.entries[column.key]
        spread = f" ± {entry.std:.2f}" if entry.std is not None else ""
        value = "no number" if entry.value is None else f"{entry.value:.2f}{spread}"
        parts.append(f"{row.title}: {value}")
    return f"{rows[0].model}, {column.header}. {'; '.join(parts)}"
