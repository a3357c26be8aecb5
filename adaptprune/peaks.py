"""Does a measure rise along some rows of a table and fall again? The claim of Table 8, tested.

The paper's best row must beat both the first and the last row. Both differences are taken seed by
seed and tested one-sided; that both hold is as probable by chance as the less certain of the two
(an intersection-union test). Perplexities are compared by their logarithm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy.stats import ttest_1samp

from adaptprune.verdict import LEVEL, Outcome, Verdict

if TYPE_CHECKING:
    from adaptprune.declarations import Peak
    from adaptprune.tablegrid import Column, Grid, TableRow


def peak_verdicts(peak: Peak, grid: Grid) -> list[Verdict]:
    """Say of every block of a table whether average and perplexity bear the claim out.

    Args:
        peak: the declared claim.
        grid: the table's numbers.
    """
    columns = [c for c in grid.columns if c.key == "average" or c.kind == "perplexity"]
    blocks: dict[tuple[str, int], dict[str, TableRow]] = {}
    for row in grid.rows:
        if row.method in peak.methods:
            blocks.setdefault((row.model, row.sparsity), {})[row.method] = row
    verdicts = []
    for (model, sparsity), rows in blocks.items():
        ordered = [rows[method] for method in peak.methods if method in rows]
        for column in columns:
            place = f"{column.header} of {model} at {sparsity} %"
            verdicts.append(_judge(peak, column, ordered, place))
    return verdicts


def peak_sentence(verdict: Verdict) -> str:
    """Return a verdict as a note under a table."""
    return " ".join([f"Claim: {verdict.claim}", *verdict.numbers, verdict.reason])


def _judge(peak: Peak, column: Column, rows: list[TableRow], place: str) -> Verdict:
    values = [row.entries[column.key].value for row in rows]
    claim = f"as {peak.along} grows, results improve and then degrade."
    if len(rows) < len(peak.methods) or any(value is None for value in values):
        return Verdict(claim, Outcome.OPEN, f"{place}: not testable, a row has no number.")
    better = max if column.kind == "accuracy" else min
    known = [value for value in values if value is not None]
    best = rows[known.index(better(known))]
    listed = ", ".join(f"{value:.2f} ({row.title})" for value, row in zip(known, rows, strict=True))
    claimed = next(row for row in rows if row.method == peak.best)
    outcome, reason = _outcome(column, claimed, rows[0], rows[-1])
    return Verdict(claim, outcome, reason, [f"{place}: {listed}; best at {best.title}."])


def _outcome(
    column: Column, claimed: TableRow, first: TableRow, last: TableRow
) -> tuple[Outcome, str]:
    """Judge whether the row that the paper calls best beats both ends, and say why."""
    gains = {end.title: gains_of(column, claimed, end) for end in (first, last)}
    for title, gain in gains.items():
        if math.fsum(gain) <= 0:
            reason = f"The claim does not hold: {claimed.title} is no better than {title}."
            return Outcome.REFUTED, reason
    both = f"{claimed.title} is better than {first.title} and {last.title}"
    seeds = min(map(len, gains.values()))
    if seeds < 2:
        return Outcome.OPEN, f"{both}, in one seed: no test."
    chance = max(map(_chance, gains.values()))
    shown = chance < LEVEL
    words = "the claim holds" if shown else "not decided"
    reason = f"{both}, p = {chance:.3f} over {seeds} seeds: {words}."
    return (Outcome.HOLDS if shown else Outcome.OPEN), reason


def _chance(gains: list[float]) -> float:
    """Return how probable such gains are if there is none: a one-sided t test over seeds.

    Equal gains leave no spread to measure by; their common sign is all that is tested then.
    """
    if len(set(gains)) == 1:
        return 0.5 ** len(gains)
    return float(ttest_1samp(gains, 0, alternative="greater").pvalue)


def gains_of(column: Column, one: TableRow, other: TableRow) -> list[float]:
    """Return by how much one row is better than another, over the seeds that both have."""
    ours, theirs = one.entries[column.key].by_seed, other.entries[column.key].by_seed
    seeds = sorted(set(ours) & set(theirs))
    if column.kind == "perplexity":
        return [math.log(theirs[seed]) - math.log(ours[seed]) for seed in seeds]
    return [ours[seed] - theirs[seed] for seed in seeds]
