"""Does a measure rise along some rows of a table and fall again? The claim of Table 8, tested.

The row that the paper calls best must beat every other row. The differences are taken seed by seed,
on the same documents, and tested over the seeds. Perplexities are compared by their logarithm.
"""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from typing import TYPE_CHECKING

from adaptprune.results.numerals import print_p
from adaptprune.results.stats import chance_over_seeds, holm, summarize
from adaptprune.results.verdict import Outcome, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.tables.declared import Peak
    from adaptprune.tables.grid import Grid, TableRow
    from adaptprune.tables.measures import Measure

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


def _judge(peak: Peak, column: Measure, rows: list[TableRow], place: str) -> Verdict:
    titles = {row.method: row.title for row in rows}
    best = titles.get(peak.best, peak.best)
    claim = f"as {peak.along} grows, results improve up to {best} and then degrade."
    if len(rows) < len(peak.methods) or any(row.entries[column.key].value is None for row in rows):
        return Verdict(
            claim, Outcome.NOT_RUN, f"{place}: not tested, a row has no number.", place=place
        )
    rows, remark = at_common_seeds(column, rows)
    known = [value for row in rows if (value := row.entries[column.key].value) is not None]
    if not known:
        return Verdict(
            claim, Outcome.OPEN, f"{place}: not tested, the rows share no seed.", place=place
        )
    better = max if column.kind == "accuracy" else min
    found = rows[known.index(better(known))]
    listed = ", ".join(f"{value:.2f} ({row.title})" for value, row in zip(known, rows, strict=True))
    claimed = next(row for row in rows if row.method == peak.best)
    outcome, reason = _outcome(column, claimed, [row for row in rows if row is not claimed])
    numbers = [f"{place}: {listed}{remark}; best at {found.title}."]
    return Verdict(claim, outcome, reason, numbers, place=place)


def _outcome(column: Measure, claimed: TableRow, others: Sequence[TableRow]) -> tuple[Outcome, str]:
    """Judge whether the row that the paper calls best beats every other, and say why."""
    by_seed = [gains_of(column, claimed, other) for other in others]
    seeds = len(by_seed[0])
    gains = [math.fsum(gain) for gain in by_seed]
    worse = [other.title for other, gain in zip(others, gains, strict=True) if gain <= 0]
    found = f"{claimed.title} is better than {_listed([other.title for other in others])}"
    if worse:
        found = f"{claimed.title} is no better than {_listed(worse)}"
    if seeds == 1:
        return Outcome.OPEN, f"{found}, in one seed: no test."
    chances = [chance_over_seeds(gain) for gain in by_seed]
    outcome = judge(gains, chances)
    losses = [loss for loss, gain in zip(holm(chances), gains, strict=True) if gain <= 0]
    chance = min(losses, default=max(chances))
    return outcome, f"{found}, p {print_p(chance)} over {seeds} seeds: {_WORDS[outcome]}."


def _listed(titles: Sequence[str]) -> str:
    """Return titles as a list in a sentence."""
    *all_but_last, last = titles
    return f"{', '.join(all_but_last)} and {last}" if all_but_last else last


def at_common_seeds(column: Measure, rows: Sequence[TableRow]) -> tuple[list[TableRow], str]:
    """Return rows with a column's numbers over the seeds that all of them have.

    Returns:
        The rows, without a number where they share no seed; and a remark on the seeds, empty where
        nothing was left out.
    """
    measured = [set(row.entries[column.key].by_seed) for row in rows]
    seeds = sorted(set.intersection(*measured))
    if not all(measured) or all(found == measured[0] for found in measured):
        return list(rows), ""  # a row without a number is not compared
    alike = []
    for row in rows:
        entry = row.entries[column.key]
        values = {seed: entry.by_seed[seed] for seed in seeds}
        mean, std, count = astuple(summarize(list(values.values()))) if seeds else (None, None, 0)
        entry = replace(entry, value=mean, std=std, n_seeds=count, by_seed=values)
        alike.append(replace(row, entries={**row.entries, column.key: entry}))
    return alike, f" (over seeds {', '.join(map(str, seeds))}, which all rows have)"


def gains_of(column: Measure, one: TableRow, other: TableRow) -> list[float]:
    """Return by how much one row is better than another, over the seeds that both have."""
    ours, theirs = one.entries[column.key].by_seed, other.entries[column.key].by_seed
    seeds = sorted(set(ours) & set(theirs))
    if column.kind == "perplexity":
        return [math.log(theirs[seed]) - math.log(ours[seed]) for seed in seeds]
    return [ours[seed] - theirs[seed] for seed in seeds]
