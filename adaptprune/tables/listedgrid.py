"""The numbers of a table of listed rows: dense models and recoveries, and what each one took."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adaptprune.models.catalogue import find_entry, shape_of
from adaptprune.results.rows import CELL, profile_results, read_provenance
from adaptprune.results.stats import summarize
from adaptprune.tables.grid import (
    DENSE,
    Column,
    Entry,
    Grid,
    TableRow,
    columns_of,
    note_cells,
    rank_block,
    read_cell,
    summarize_entry,
)
from adaptprune.tables.select import listed_cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.declared import ListedRow
    from adaptprune.workflow.profiles import Profile

_ACCOUNT = [
    Column("tokens", "Tokens", "tokens", "tokens"),
    Column("teacher_tokens", "Teacher tokens", "tokens", "tokens"),
    Column("training_flops", "FLOPs", "flops", "flops"),
    Column("training_s", "Time", "time", "time"),
]


def listed_columns(suite: Suite) -> list[Column]:
    """Return the columns that a suite gives a table of listed rows: counts, scores, guessing."""
    chance = {task.task: 100 * task.chance for task in suite.tasks if task.chance is not None}
    if len(chance) == len(suite.tasks):
        chance["average"] = summarize(list(chance.values())).mean
    params, *scores = columns_of(suite)
    marked = [replace(column, chance=chance.get(column.key)) for column in scores]
    return [params, *_ACCOUNT, *marked]


def read_listed_results(results_csv: Path, provenance_csv: Path, profile: str) -> pd.DataFrame:
    """Return a profile's rows of a results file, with the seconds of a recovery as ``training_s``.

    Raises:
        UserError: a file cannot be trusted, or there are no rows.
    """
    results = profile_results(results_csv, profile)
    stages = read_provenance(provenance_csv)
    stages = stages[stages["stage"] == "recover"]
    seconds = stages[CELL].assign(training_s=stages["train_s"] + stages["preparing_s"])
    return results.merge(seconds, on=CELL, how="left", validate="many_to_one")


def build_listed_grid(
    results: pd.DataFrame, columns: list[Column], rows: Sequence[ListedRow], profile: Profile
) -> Grid:
    """Arrange results row by row; best and second are marked within each block.

    Args:
        results: rows of one profile, as ``read_listed_results`` returns them.
        columns: as ``listed_columns`` returns them.
        rows: the declared rows of that profile.
        profile: says what the recoveries are, and at which seeds they are expected.
    """
    keys = ["model", "method", "sparsity", "recovery", "seed"]
    cells = {key: read_cell(numbers, columns) for key, numbers in results.groupby(keys)}
    grid = Grid(columns, listed=True)
    for row in rows:
        wanted = listed_cells([row], profile)
        found = {
            cell.seed: cells.get((cell.model, cell.method, cell.sparsity, cell.recovery, cell.seed))
            for cell in wanted
        }
        entries = {column.key: summarize_entry(found, column) for column in columns}
        first = wanted[0]
        if first.method == DENSE:
            entries |= _pretraining(first.model)
        note_cells(grid, first.key.rpartition("/")[0], found)
        grid.rows.append(
            TableRow(
                model=row.block,
                sparsity=first.sparsity,
                method=DENSE if first.method == DENSE else first.recovery,
                title=row.title,
                against="",
                entries=entries,
                seeds_found=sum(c is not None and c.status == "ok" for c in found.values()),
                seeds_expected=len(found),
            )
        )
    for block in dict.fromkeys(row.block for row in rows):
        rank_block(grid, [row for row in grid.rows if row.model == block])
    return grid


def _pretraining(model: str) -> dict[str, Entry]:
    """Return what it took to make a dense model, as far as its makers say."""
    known = find_entry(model)
    tokens = known.training_tokens if known else None
    if tokens is None:
        return {}
    flops = 6.0 * shape_of(model).compute_parameters * tokens
    return {
        "tokens": Entry("ok", float(tokens), n_seeds=1),
        "training_flops": Entry("ok", flops, n_seeds=1),
    }
