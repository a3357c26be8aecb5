"""What stands under a comparison: how its numbers came about, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.comparison.alike import describe_seeds, only_compared
from adaptprune.comparison.paired import ALL, Cells, Pairing
from adaptprune.results.conditions import OF_METHOD
from adaptprune.results.rows import labels_of
from adaptprune.results.stats import RESAMPLES
from adaptprune.results.verdict import LEVEL
from adaptprune.tables.notes import UNLIKE_SEEDS

if TYPE_CHECKING:
    import pandas as pd

    from adaptprune.comparison.alike import Seeds
    from adaptprune.comparison.sides import Sides

#: Said where some methods mask weights, which are parameters nevertheless.
ZEROS = (
    "#Nonzero: the parameters that no mask set to zero. A mask removes no parameter, no channel: "
    "its channels removed are the share of zeros in the linear layers. So a method that masks "
    "and one that cuts are of equal sparsity here, not of equal size."
)


def notes_of(
    sides: Sides,
    pairings: list[Pairing],
    table: pd.DataFrame,
    titles: dict[str, str],
    seeds: Seeds,
) -> list[str]:
    """Return how the numbers came about, and what is missing."""
    overall = table[table["seed"] == ALL]
    sizes = {kind: len(rows) for kind, rows in overall.groupby("kind")}
    notes = [
        f"The results in {' and '.join(dict.fromkeys(sides.names))} were measured under equal "
        "conditions: the same model, documents, minor versions of lm-eval and transformers, and "
        "calibration sets but where a name says which other one.",
        f"Scores are mean ± sample standard deviation over {describe_seeds(seeds)}, where they are "
        "compared; a seed redraws the calibration set. Differences are taken at the same seed on "
        "the same documents, and averaged over the seeds that both methods have.",
        "Intervals: percentile bootstrap over documents, drawn within their task, "
        f"{RESAMPLES:,} resamples; the seeds are kept as they are, and their spread stands beside.",
        "p of averages and perplexities: the same bootstrap. p of a task: McNemar's exact test at "
        "each seed, of which the largest is shown, and 1 where seeds differ in direction: a small "
        "p says that the methods differ at every seed. Tasks whose documents score between 0 and 1 "
        "take the bootstrap too.",
        "All p are corrected by Holm's method for the number of comparisons of their kind "
        f"({', '.join(f'{kind}: {size}' for kind, size in sorted(sizes.items()))}); bold: below "
        f"{LEVEL}. Intervals are not corrected. The CSV holds every seed by itself.",
        "Perplexity: its ratio to the baseline's, below 1 is better; over seeds the ratio of "
        "geometric means. W/T/L: tasks on which the mean over seeds is above, equal, below.",
        "Seconds and memory: of computing the scores, which may serve several sparsities, and of "
        "pruning (of training, for a trained model).",
    ]
    cells = only_compared(sides.together("results"), seeds)
    if (cells["nonzeros"] != cells["params"]).any():
        notes.append(ZEROS)
    if any(pairing.seeds not in ([], seeds.get(pairing.place)) for pairing in pairings):
        notes.append(UNLIKE_SEEDS)
    hosts = {str(host) for host in sides.together("provenance")["host"]}
    if len(hosts) > 1:
        notes.append("The cells ran on different machines: their seconds do not compare.")
    return notes + _missing(sides, pairings, titles) + _changes(sides, titles)


def _missing(sides: Sides, pairings: list[Pairing], titles: dict[str, str]) -> list[str]:
    """Return which comparisons are absent or rest on fewer seeds than there are, and why."""
    notes = []
    for pairing in pairings:
        place, seeds = pairing.place, pairing.seeds
        ours = pairing.new.seeds(place, pairing.method)
        theirs = pairing.baselines.seeds(place, pairing.baseline)
        if set(ours) != set(theirs):
            name = f"{titles[pairing.method]}, against {titles[sides.stored(pairing.baseline)]}"
            listed = ", ".join(map(str, seeds)) or "none"
            notes.append(f"{name}, {place.sparsity} %: compared at seeds {listed}.")
    for matrix, key in ((sides.baseline, sides.stored), (sides.new, str)):
        for (place, label), reasons in Cells(matrix).stopped.items():
            notes.append(
                f"Without a result: {titles[key(label)]}, {place.sparsity} %: {'; '.join(reasons)}."
            )
    return notes


def _changes(sides: Sides, titles: dict[str, str]) -> list[str]:
    """Say which methods have another version, or other parameters, in the two files."""
    notes = []
    for label in sorted(sides.clashes):
        for condition in OF_METHOD:
            stored, new = (
                ", ".join(map(str, sorted(set(rows[condition]))))
                for matrix in (sides.baseline, sides.new)
                for rows in [matrix.results[labels_of(matrix.results) == label]]
            )
            if stored != new:
                kind = condition.removeprefix("method_")
                notes.append(
                    f"{titles[label]} has {kind} {new}, in {sides.names[0]} {kind} {stored}."
                )
    return notes
