"""From results to a grid: what each cell measured, summarized over seeds, in its place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pandas as pd

from adaptprune.cells import DENSE, NO_RECOVERY, Cell
from adaptprune.models.catalogue import find_entry, shape_of
from adaptprune.results.rows import CELL, labels_of, profile_results, read_provenance
from adaptprune.results.stats import Summary, macro_average_stderr, summarize
from adaptprune.tables.grid import Entry, Grid, Layout, TableRow, rank_block
from adaptprune.tables.measures import ACCOUNTED, AVERAGE, COUNTED, averaged, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from adaptprune.tables.measures import Measure
    from adaptprune.tables.select import Line

#: The numbers of a place by seed; None where the cell is not there.
Found = dict[int, "CellNumbers | None"]


@dataclass(frozen=True)
class CellNumbers:
    """What one cell contributes, by what is read of it; counts alone if it is not ok.

    ``stderrs`` are those of the accuracies and of their average, where they are known; ``texts``
    are what is no number.
    """

    status: Literal["ok", "failed", "skipped"]
    reason: str
    values: dict[tuple[str, str], float]
    stderrs: dict[tuple[str, str], float] = field(default_factory=dict)
    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def has(self, measure: Measure) -> bool:
        """Say whether a measure is known of the cell."""
        return measure.read in self.values or measure.read in self.texts


def read_table_results(results_csv: Path, provenance_csv: Path, profile: str) -> pd.DataFrame:
    """Return a profile's rows of a results file, with the seconds of a recovery as ``training_s``.

    Raises:
        UserError: a file cannot be trusted, or there are no rows.
    """
    results = profile_results(results_csv, profile)
    if (results["recovery"] == NO_RECOVERY).all():
        return results.assign(training_s=float("nan"))
    stages = read_provenance(provenance_csv)
    stages = stages[stages["stage"] == "recover"]
    seconds = stages[CELL].assign(training_s=stages["train_s"] + stages["preparing_s"])
    return results.merge(seconds, on=CELL, how="left", validate="many_to_one")


def read_cell(
    rows: pd.DataFrame, measures: Iterable[Measure], tasks: Sequence[Measure]
) -> CellNumbers:
    """Gather one cell's rows; accuracies become percent, their average is added.

    Args:
        rows: of the cell.
        measures: what is looked up.
        tasks: the accuracies that the average is over; there is none if one is not known.
    """
    first = rows.iloc[0]
    values: dict[tuple[str, str], float] = {}
    stderrs: dict[tuple[str, str], float] = {}
    texts: dict[tuple[str, str], str] = {}
    wanted = dict.fromkeys([*measures, *tasks])
    for measure in wanted:
        known = first.get(measure.read[0]) if measure.kind in COUNTED else None
        if known is None or pd.isna(known) or known == "":
            continue
        if measure.kind == "text":
            texts[measure.read] = str(known)
        else:
            values[measure.read] = float(known)
    if first["status"] != "ok":
        return CellNumbers(first["status"], first["reason"], values, texts=texts)
    reads = zip(rows["task"], rows["metric"], strict=True)
    numbers = dict(zip(reads, zip(rows["value"], rows["stderr"], strict=True), strict=True))
    for measure in wanted:
        if measure.kind in COUNTED or measure.read not in numbers:
            continue
        value, stderr = numbers[measure.read]
        scale = 100.0 if measure.kind == "accuracy" else 1.0
        values[measure.read] = scale * float(value)
        if measure.kind == "accuracy" and pd.notna(stderr):
            stderrs[measure.read] = scale * float(stderr)
    parts = [measure.read for measure in tasks]
    if parts and all(part in values for part in parts):
        values[AVERAGE] = summarize([values[part] for part in parts]).mean
        if all(part in stderrs for part in parts):
            stderrs[AVERAGE] = macro_average_stderr([stderrs[part] for part in parts])
    return CellNumbers("ok", "", values, stderrs, texts)


class _Cells:
    """What the cells of a results file measured.

    Args:
        results: rows of one profile.
        measures: what is looked up.
        tasks: the accuracies that the average is over.
    """

    def __init__(
        self, results: pd.DataFrame, measures: Sequence[Measure], tasks: Sequence[Measure]
    ):
        keys = ["model", labels_of(results), "sparsity", "recovery", "seed"]
        self._rows = {
            Cell(str(model), str(method), int(sparsity), str(recovery), int(seed)): rows
            for (model, method, sparsity, recovery, seed), rows in results.groupby(keys)
        }
        self._measures, self._tasks = measures, tasks
        self._read: dict[Cell, CellNumbers] = {}
        self._dense: dict[str, list[int]] = {}
        for cell in self._rows:
            if cell.method == DENSE:
                self._dense.setdefault(cell.model, []).append(cell.seed)

    def at(self, cells: Sequence[Cell]) -> Found:
        """Return the numbers of cells by seed.

        Nothing of a dense model depends on the seed: it is evaluated once, at any seed.
        """
        found: Found = {}
        for cell in cells:
            seed = cell.seed
            if cell.method == DENSE:
                seed = min(self._dense.get(cell.model, [seed]))
            found[seed] = self._numbers(replace(cell, seed=seed))
        return found

    def _numbers(self, cell: Cell) -> CellNumbers | None:
        if cell not in self._rows:
            return None
        if cell not in self._read:
            self._read[cell] = read_cell(self._rows[cell], self._measures, self._tasks)
        return self._read[cell]


def summarize_entry(cells: Found, column: Measure) -> Entry:
    """Summarize one column over seeds; where nothing was measured, say why."""
    found = {seed: cell for seed, cell in cells.items() if cell and cell.has(column)}
    if found and column.kind == "text":
        texts = sorted({cell.texts[column.read] for cell in found.values()})
        return Entry("ok", n_seeds=len(found), text=", ".join(texts))
    if found:
        values = {seed: cell.values[column.read] for seed, cell in found.items()}
        summary = summarize(list(values.values()))
        # All seeds are scored on the same documents, so they share their sampling error.
        stderr = max(cell.stderrs.get(column.read, 0.0) for cell in found.values())
        guessed = column.chance is not None and summary.mean - 1.96 * stderr <= column.chance
        spread = (summary.mean, summary.std, summary.count)
        return Entry("ok", *spread, by_seed=values, at_chance=guessed)
    stopped = {cell.status for cell in cells.values() if cell}
    if "failed" in stopped:
        return Entry("failed")
    return Entry("skipped" if "skipped" in stopped else "missing" if cells else "absent")


def _change(ours: Found, theirs: Found, column: Measure) -> Summary | None:
    """Summarize what one method's cells differ from another's, over the seeds that both have."""
    key = column.read
    differences = [
        one.values[key] - other.values[key]
        for one, other in zip(ours.values(), theirs.values(), strict=True)
        if one and other and key in one.values and key in other.values
    ]
    return summarize(differences) if differences else None


def _note_cells(grid: Grid, columns: Sequence[Measure], place: str, cells: Found) -> None:
    """Write down which cells of a place (by seed) are not fully there, equal ones together."""
    missing: dict[str, list[str]] = {}
    stopped: dict[str, list[str]] = {}
    for seed, cell in cells.items():
        if cell is None:
            missing.setdefault("", []).append(f"s{seed}")
        elif cell.status != "ok":
            why = f" {cell.status}: {cell.reason or 'no reason recorded'}"
            stopped.setdefault(why, []).append(f"s{seed}")
        else:
            absent = [
                column.header
                for column in columns
                if not cell.has(column) and column.kind not in ACCOUNTED
            ]
            if absent:
                missing.setdefault(f" ({', '.join(absent)})", []).append(f"s{seed}")
            if AVERAGE in cell.stderrs and any(column.read == AVERAGE for column in columns):
                grid.average_stderr = max(grid.average_stderr or 0.0, cell.stderrs[AVERAGE])
    grid.missing += [f"{place}/{', '.join(seeds)}{what}" for what, seeds in missing.items()]
    grid.stopped += [f"{place}/{', '.join(seeds)}{why}" for why, seeds in stopped.items()]


def fill(
    results: pd.DataFrame,
    columns: Sequence[Measure],
    lines: Sequence[Line],
    layout: Layout | None = None,
    tasks: Sequence[Measure] | None = None,
) -> Grid:
    """Fill a table's grid.

    Args:
        results: rows of one profile, as ``read_table_results`` returns them.
        columns: the measures, in printed order.
        lines: which cells stand in each row.
        layout: how the rows are printed.
        tasks: the accuracies that an average is over: all of the columns, where not given.
    """
    every = [rounded(column, bits) for bits in {line.bits for line in lines} for column in columns]
    cells = _Cells(results, [*columns, *every], averaged(columns) if tasks is None else tasks)
    grid = Grid(list(columns), layout=layout or Layout())
    by_place = {(line.heading, line.sparsity, line.method): line for line in lines}
    for line in lines:
        other = by_place.get((line.heading, line.sparsity, line.against))
        grid.rows.append(_row(grid, cells, line, other))
    blocks: dict[tuple[str, int], list[TableRow]] = {}
    for line, row in zip(lines, grid.rows, strict=True):
        if line.block is not None:
            blocks.setdefault(line.block, []).append(row)
    for rows in blocks.values():
        rank_block(grid, rows)
    return grid


def _row(grid: Grid, cells: _Cells, line: Line, other: Line | None) -> TableRow:
    """Return one row; what it lacks is noted."""
    entries: dict[str, Entry] = {}
    alike: dict[tuple[Cell, ...], list[Measure]] = {}
    for column in grid.columns:
        alike.setdefault(tuple(line.cells(column.key)), []).append(column)
    for place, columns in alike.items():
        found = cells.at(place)
        grid.trained |= any(cell.recovery != NO_RECOVERY for cell in place)
        if place:
            read = [rounded(column, line.bits) for column in columns]
            _note_cells(grid, read, place[0].key.rpartition("/")[0], found)
        for column in columns:
            measured = rounded(column, line.bits)
            entry = _pretraining(place, column) or summarize_entry(found, measured)
            if other is not None:
                entry.change = _change(found, cells.at(other.cells(column.key)), measured)
            entries[column.key] = entry
    seeds = cells.at(next(iter(alike))) if len(alike) == 1 else {}
    return TableRow(
        model=line.heading,
        sparsity=line.sparsity,
        method=line.method,
        title=line.title,
        against=other.title if other else "",
        entries={column.key: entries[column.key] for column in grid.columns},
        seeds_found=sum(cell is not None and cell.status == "ok" for cell in seeds.values()),
        seeds_expected=len(seeds),
        printed=line.printed,
    )


def _pretraining(place: Sequence[Cell], column: Measure) -> Entry | None:
    """Return what it took to make a dense model, as far as its makers say."""
    if not place or place[0].method != DENSE or column.read[0] not in ("tokens", "training_flops"):
        return None
    known = find_entry(place[0].model)
    tokens = known.training_tokens if known else None
    if tokens is None:
        return None
    if column.read[0] == "tokens":
        return Entry("ok", float(tokens), n_seeds=1)
    flops = 6.0 * shape_of(place[0].model).compute_parameters * tokens
    return Entry("ok", flops, n_seeds=1)
