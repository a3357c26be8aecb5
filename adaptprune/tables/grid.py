"""The numbers of a table: which cells stand where, their spread over seeds, and who is best."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pandas as pd

from adaptprune.results.rows import labels_of
from adaptprune.results.stats import Summary, macro_average_stderr, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.declared import MethodTitle

DENSE = "dense"
#: Kinds of columns that count something, and say nothing about who is best.
COUNTED = ("params", "tokens", "flops", "time")


@dataclass(frozen=True)
class Column:
    """One measure of a table; accuracies are in percent, what is counted is counted singly.

    ``chance`` is what guessing gives, in percent, where scores at that level are to be marked.
    """

    key: str
    header: str
    kind: Literal["params", "tokens", "flops", "time", "accuracy", "perplexity"]
    metric: str
    chance: float | None = None


@dataclass
class Entry:
    """One number of a table: mean over seeds, or why there is none.

    ``by_seed`` holds the single values; ``change`` summarizes the differences to another method,
    taken seed by seed. ``at_chance`` says that guessing lies within the 95 % interval over the
    documents, or above it.
    """

    status: Literal["ok", "failed", "skipped", "missing"]
    value: float | None = None
    std: float | None = None
    n_seeds: int = 0
    rank: Literal["", "best", "second"] = ""
    published: float | None = None
    published_std: float | None = None
    change: Summary | None = None
    by_seed: dict[int, float] = field(default_factory=dict)
    at_chance: bool = False

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published


def with_seeds(title: str, found: int, expected: int) -> str:
    """Return a title, with a remark where its numbers are over fewer seeds than expected."""
    return title if found in (0, expected) else f"{title} ({found} of {expected} seeds)"


@dataclass
class TableRow:
    """One method at one sparsity of one model; entries by column key.

    ``against`` is the title of the row that the changes are counted from, empty without one.
    """

    model: str
    sparsity: int
    method: str
    title: str
    against: str
    entries: dict[str, Entry]
    seeds_found: int
    seeds_expected: int

    @property
    def label(self) -> str:
        """Return the title, with a remark where the means are over fewer seeds than expected."""
        return with_seeds(self.title, self.seeds_found, self.seeds_expected)


@dataclass
class Grid:
    """All rows of a table in printed order, and what has to be said about them.

    ``listed`` rows are not blocks of one sparsity each; ``unlike_seeds`` says that some column was
    not ranked, since its numbers are over different seeds.
    """

    columns: list[Column]
    rows: list[TableRow] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    average_stderr: float | None = None
    listed: bool = False
    unlike_seeds: bool = False


@dataclass(frozen=True)
class CellNumbers:
    """What one cell contributes; values by column key, counts alone if it is not ok.

    ``stderrs`` are those of the accuracies and of their average, where they are known.
    """

    status: Literal["ok", "failed", "skipped"]
    reason: str
    values: dict[str, float]
    stderrs: dict[str, float] = field(default_factory=dict)


def columns_of(suite: Suite) -> list[Column]:
    """Return the columns that a suite gives a table."""
    tasks = [Column(task.task, task.title, "accuracy", task.metric) for task in suite.tasks]
    columns = [
        Column("params", "#Param.", "params", "params"),
        *tasks,
        Column("average", "Average", "accuracy", "mean"),
    ]
    if (text := suite.perplexity) is not None:
        columns.append(Column(text.task, text.title, "perplexity", text.metric))
    return columns


def read_cell(rows: pd.DataFrame, columns: list[Column]) -> CellNumbers:
    """Gather one cell's rows; accuracies become percent, their average is added."""
    first = rows.iloc[0]
    counted = [column.key for column in columns if column.kind in COUNTED]
    values = {key: float(first[key]) for key in counted if pd.notna(first[key])}
    if first["status"] != "ok":
        return CellNumbers(first["status"], first["reason"], values)
    accuracies, stderrs = [], {}
    for column in columns:
        number = rows[(rows["task"] == column.key) & (rows["metric"] == column.metric)]
        if number.empty:
            continue
        scale = 100.0 if column.kind == "accuracy" else 1.0
        values[column.key] = scale * float(number["value"].iloc[0])
        if column.kind == "accuracy":
            accuracies.append(values[column.key])
            if pd.notna(stderr := number["stderr"].iloc[0]):
                stderrs[column.key] = scale * float(stderr)
    n_tasks = sum(column.kind == "accuracy" for column in columns) - 1  # less the average itself
    if len(accuracies) == n_tasks:
        values["average"] = summarize(accuracies).mean
        if len(stderrs) == n_tasks:
            stderrs["average"] = macro_average_stderr(list(stderrs.values()))
    return CellNumbers("ok", "", values, stderrs)


def _read_cells(
    results: pd.DataFrame, columns: list[Column]
) -> dict[tuple[str, str, int, int], CellNumbers]:
    """Return every cell by model, method (with variant), sparsity and seed."""
    groups = results.groupby(["model", labels_of(results), "sparsity", "seed"])
    return {
        (str(model), str(method), int(sparsity), int(seed)): read_cell(rows, columns)
        for (model, method, sparsity, seed), rows in groups
    }


def summarize_entry(cells: dict[int, CellNumbers | None], column: Column) -> Entry:
    """Summarize one column over seeds; where nothing was measured, say why."""
    found = {seed: cell for seed, cell in cells.items() if cell and column.key in cell.values}
    if found:
        values = {seed: cell.values[column.key] for seed, cell in found.items()}
        summary = summarize(list(values.values()))
        # All seeds are scored on the same documents, so they share their sampling error.
        stderr = max(cell.stderrs.get(column.key, 0.0) for cell in found.values())
        guessed = column.chance is not None and summary.mean - 1.96 * stderr <= column.chance
        spread = (summary.mean, summary.std, summary.count)
        return Entry("ok", *spread, by_seed=values, at_chance=guessed)
    stopped = {cell.status for cell in cells.values() if cell}
    if "failed" in stopped:
        return Entry("failed")
    return Entry("skipped" if "skipped" in stopped else "missing")


def _change(
    ours: Sequence[CellNumbers | None], theirs: Sequence[CellNumbers | None], key: str
) -> Summary | None:
    """Summarize what one method's cells differ from another's, over the seeds that both have."""
    differences = [
        one.values[key] - other.values[key]
        for one, other in zip(ours, theirs, strict=True)
        if one and other and key in one.values and key in other.values
    ]
    return summarize(differences) if differences else None


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
    """Mark the best and the second of a block's rows in every column that is not a count.

    Nothing is marked in a column whose numbers are not all over the same seeds.
    """
    for column in grid.columns:
        if column.kind in COUNTED:
            continue
        if over_same_seeds(rows, column.key):
            rank(rows, column)
        else:
            grid.unlike_seeds = True


def rank(rows: Iterable[TableRow], column: Column) -> None:
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


def note_cells(grid: Grid, place: str, cells: dict[int, CellNumbers | None]) -> None:
    """Write down which cells of a row (by seed) are not fully there, equal ones together."""
    missing: dict[str, list[str]] = {}
    stopped: dict[str, list[str]] = {}
    for seed, cell in cells.items():
        if cell is None:
            missing.setdefault("", []).append(f"s{seed}")
        elif cell.status != "ok":
            why = f" {cell.status}: {cell.reason or 'no reason recorded'}"
            stopped.setdefault(why, []).append(f"s{seed}")
        else:
            # What pretraining took is not measured here.
            absent = [
                column.header
                for column in grid.columns
                if column.key not in cell.values and column.kind not in ("tokens", "flops", "time")
            ]
            if absent:
                missing.setdefault(f" ({', '.join(absent)})", []).append(f"s{seed}")
            if "average" in cell.stderrs:
                grid.average_stderr = max(grid.average_stderr or 0.0, cell.stderrs["average"])
    grid.missing += [f"{place}/{', '.join(seeds)}{what}" for what, seeds in missing.items()]
    grid.stopped += [f"{place}/{', '.join(seeds)}{why}" for why, seeds in stopped.items()]


def build_grid(
    results: pd.DataFrame,
    columns: list[Column],
    lines: Sequence[MethodTitle],
    *,
    models: Sequence[str],
    sparsities: Sequence[int],
    seeds: Sequence[int],
    recovery: str = "none",
) -> Grid:
    """Arrange results as a table: per model the dense row, then a block per sparsity.

    Args:
        results: rows of one profile, as ``read_results`` returns them.
        columns: the measures, as ``columns_of`` returns them.
        lines: the declared rows of a block, in printed order.
        models: models in printed order.
        sparsities: integer percents in printed order.
        seeds: the seeds that every method but dense is expected at.
        recovery: recovery preset of the cells.
    """
    # The dense model is never recovered: it stands above whatever was trained.
    shown = (results["recovery"] == recovery) | (results["method"] == DENSE)
    cells = _read_cells(results[shown], columns)
    grid = Grid(columns)
    titles = {line.method: line.title for line in lines}

    def add_row(model: str, line: MethodTitle, sparsity: int, row_seeds: Sequence[int]) -> TableRow:
        method = line.method
        found = {seed: cells.get((model, method, sparsity, seed)) for seed in row_seeds}
        preset = "none" if method == DENSE else recovery
        place = f"{model.replace('/', '__')}/{method}/{sparsity}/{preset}"
        note_cells(grid, place, found)
        entries = {column.key: summarize_entry(found, column) for column in columns}
        if line.against:
            others = [cells.get((model, line.against, sparsity, seed)) for seed in row_seeds]
            for key, entry in entries.items():
                entry.change = _change(list(found.values()), others, key)
        n_ok = sum(cell is not None and cell.status == "ok" for cell in found.values())
        against = titles[line.against] if line.against else ""
        row = TableRow(model, sparsity, method, line.title, against, entries, n_ok, len(found))
        grid.rows.append(row)
        return row

    for model in models:
        for line in lines:
            if line.method == DENSE:
                # Nothing of the dense model depends on the seed: it is evaluated once, at any seed.
                dense = [
                    seed for name, method, _, seed in cells if (name, method) == (model, DENSE)
                ]
                add_row(model, line, 0, sorted(dense)[:1] or list(seeds)[:1])
        for sparsity in sparsities:
            block = [
                add_row(model, line, sparsity, seeds) for line in lines if line.method != DENSE
            ]
            rank_block(grid, block)
    return grid
