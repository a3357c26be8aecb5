"""Does a measure rise along some rows of a table and fall again? The claim of Table 8, tested.

The paper's best row must beat both the first and the last row. Both differences are taken seed by
seed and tested; that both hold is as probable by chance as the less certain of the two (an
intersection-union test). Perplexities are compared by their logarithm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptprune.stats import chance_over_seeds
from adaptprune.verdict import Outcome, Verdict, judge

if TYPE_CHECKING:
    from adaptprune.declarations import Peak
    from adaptprune.tablegrid import Column, Grid, TableRow

_WORDS = {
    Outcome.HOLDS: "the claim holds",
    Outcome.REFUTED: "the claim does not hold",
    Outcome.OPEN: "not decided",
}


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
    seeds = min(map(len, gains.values()))
    if seeds == 0:
        return Outcome.OPEN, f"{claimed.title} shares no seed with {first.title} or {last.title}."
    worse = [title for title, gain in gains.items() if math.fsum(gain) <= 0]
    found = f"{claimed.title} is better than {first.title} and {last.title}"
    if worse:
        found = f"{claimed.title} is no better than {' and '.join(worse)}"
    if seeds == 1:
        return Outcome.OPEN, f"{found}, in one seed: no test."
    chances = {title: chance_over_seeds(gain) for title, gain in gains.items()}
    outcome = judge([math.fsum(gain) for gain in gains.values()], list(chances.values()))
    chance = min(chances[title] for title in worse) if worse else max(chances.values())
    return outcome, f"{found}, p = {chance:.3f} over {seeds} seeds: {_WORDS[outcome]}."


def gains_of(column: Column, one: TableRow, other: TableRow) -> list[float]:
    """Return by how much one row is better than another, over the seeds that both have."""
    ours, theirs = one.entries[column.key].by_seed, other.entries[column.key].by_seed
    seeds = sorted(set(ours) & set(theirs))
    if column.kind == "perplexity":
        return [math.log(theirs[seed]) - math.log(ours[seed]) for seed in seeds]
    return [ours[seed] - theirs[seed] for seed in seeds]
