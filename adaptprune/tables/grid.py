"""The numbers of a table: what stands where, its spread over seeds, and who is best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from adaptprune.cells import DENSE
from adaptprune.tables.measures import RANKED, Measure

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adaptprune.results.stats import Summary


@dataclass
class Entry:
    """One number of a table: mean over seeds, or why there is none.

    ``by_seed`` holds the single values; ``change`` summarizes the differences to another method,
    taken seed by seed. ``at_chance`` says that guessing lies within the 95 % interval over the
    documents, or above it. ``text`` stands for a value that is no number.
    """

    status: Literal["ok", "failed", "skipped", "missing", "absent"]
    value: float | None = None
    std: float | None = None
    n_seeds: int = 0
    rank: Literal["", "best", "second"] = ""
    published: float | None = None
    published_std: float | None = None
    change: Summary | None = None
    by_seed: dict[int, float] = field(default_factory=dict)
    at_chance: bool = False
    text: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published


def entry_of(value: float | None) -> Entry:
    """Return a number that is not over seeds; none where it is not known."""
    return Entry("missing") if value is None or math.isnan(value) else Entry("ok", float(value))


def with_seeds(title: str, found: int, expected: int) -> str:
    """Return a title, with a remark where its numbers are over fewer seeds than expected."""
    return title if found in (0, expected) else f"{title} ({found} of {expected} seeds)"


@dataclass
class TableRow:
    """One row of a table; entries by column key.

    ``model`` is the heading of its block: a model, or what the declaration calls the block.
    ``method`` is the method, or the recovery of a trained model. ``against`` is the title of the
    row that the changes are counted from, empty without one. ``printed`` is what the paper prints
    in its place.
    """

    model: str
    sparsity: int
    method: str
    title: str
    against: str
    entries: dict[str, Entry]
    seeds_found: int
    seeds_expected: int
    printed: str = ""

    @property
    def label(self) -> str:
        """Return the title, with a remark where the means are over fewer seeds than expected."""
        return with_seeds(self.title, self.seeds_found, self.seeds_expected)


@dataclass(frozen=True)
class Layout:
    """How the rows of a grid are printed.

    Args:
        heading: header of the blocks' headings; empty where there are none.
        sparsity: header of the sparsities; empty where they are not printed.
        row: header of the rows' titles.
        listed: whether a heading is one block, whatever the sparsities.
        transposed: whether the grid's rows are printed as columns.
    """

    heading: str = "Model"
    sparsity: str = "Sparsity"
    row: str = "Method"
    listed: bool = False
    transposed: bool = False


@dataclass
class Grid:
    """All rows of a table in printed order, and what has to be said about them.

    ``absent`` holds why there is nothing to show in some places; ``unlike_seeds`` says that some
    column was not ranked, since its numbers are over different seeds; ``unranked`` names methods
    that are run with fewer seeds than others of their block; ``trained`` says that some models were
    trained.
    """

    columns: list[Measure]
    rows: list[TableRow] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    average_stderr: float | None = None
    unlike_seeds: bool = False
    unranked: list[str] = field(default_factory=list)
    trained: bool = False
    layout: Layout = Layout()


def over_same_seeds(rows: Iterable[TableRow], key: str) -> bool:
    """Say whether the numbers of a column are over the same seeds, so that they may be ranked.

    A dense model does not depend on the seed: its number stands beside any others.
    """
    seeds = {
        frozenset(row.entries[key].by_seed)
        for row in rows
        if row.method != DENSE and row.entries[key].value is not None
    }
    return len(seeds) <= 1


def rank_block(grid: Grid, rows: Sequence[TableRow]) -> None:
    """Mark the best and the second of a block's rows in every column of scores.

    What is run with fewer seeds than others is not ranked. Nothing is marked in a column whose
    numbers are not all over the same seeds.
    """
    most = max((row.seeds_expected for row in rows), default=0)
    fewer = [row for row in rows if row.seeds_expected < most and row.method != DENSE]
    grid.unranked += [row.title for row in fewer if row.title not in grid.unranked]
    rows = [row for row in rows if row not in fewer]
    for column in grid.columns:
        if column.kind not in RANKED:
            continue
        if over_same_seeds(rows, column.key):
            rank(rows, column)
        else:
            grid.unlike_seeds = True


def rank(rows: Iterable[TableRow], column: Measure) -> None:
    """Mark the best and the second distinct printed value; ties share their mark."""
    entries = [row.entries[column.key] for row in rows]
    printed = {id(entry): round(entry.value, 2) for entry in entries if entry.value is not None}
    if len(printed) < 2:
        return
    order = sorted(set(printed.values()), reverse=column.kind == "accuracy")
    for entry in entries:
        if id(entry) in printed:  # no mark on a dash
            place = order.index(printed[id(entry)])
            entry.rank = "best" if place == 0 else "second" if place == 1 else ""
