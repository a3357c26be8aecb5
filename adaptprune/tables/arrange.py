"""A declared table with its numbers: its columns, its layout, and the grid filled from results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adaptprune.cells import DENSE, NO_RECOVERY, Cell
from adaptprune.tables.declared import joined
from adaptprune.tables.fill import fill
from adaptprune.tables.grid import Layout
from adaptprune.tables.measures import (
    OF_CELL,
    Measure,
    averaged,
    columns_of,
    measure_of,
    trained_columns_of,
)
from adaptprune.tables.select import EVERY, Line, axes_of, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.declared import Row, Table
    from adaptprune.tables.grid import Grid
    from adaptprune.tables.select import Axes
    from adaptprune.workflow.profiles import Profile


def grid_of(table: Table, results: pd.DataFrame, name: str, profile: Profile, suite: Suite) -> Grid:
    """Return a declared table with its numbers.

    Args:
        table: its declaration.
        results: rows of the profile, as ``read_table_results`` returns them.
        name: of the profile.
        profile: gives models, sparsities, seeds and recoveries.
        suite: gives the measures.

    Raises:
        UserError: the table has nothing for the profile, or chooses what there is none of.
    """
    axes = axes_of(table, name)
    columns = _columns(table, axes, suite)
    if not axes.across and (results["pattern"] != "").any():
        columns.insert(1, OF_CELL["nonzeros"])
    lines = lines_of(table, name, profile)
    grid = fill(results, columns, lines, _layout(axes), averaged(columns_of(suite)))
    choices = (*axes.lines, *axes.across)
    grid.absent = [f"{choice.title}: {choice.absent}" for choice in choices if choice.absent]
    told = {choice.title for choice in choices if choice.absent}
    for line in lines:
        for column in columns:
            if not line.cells(column.key) and not told & {line.title, column.header}:
                grid.absent.append(
                    f"{line.title}, {column.header}: the profile has no such recovery"
                )
    return grid


def _columns(table: Table, axes: Axes, suite: Suite) -> list[Measure]:
    if not axes.across:
        return trained_columns_of(suite) if axes.in_blocks else columns_of(suite)
    columns = []
    for choice in axes.across:
        if choice.absent is not None:
            columns.append(Measure(choice.title, choice.title, "number", ""))
            continue
        measure = measure_of(joined(table.cells, choice), suite)
        source = measure.source or measure.key
        columns.append(replace(measure, key=choice.title, header=choice.title, source=source))
    return columns


def _layout(axes: Axes) -> Layout:
    if axes.in_blocks:
        return Layout("Block", "Removed", "Model", listed=True)
    row = "Measure" if axes.transposed else "Method"
    return Layout(
        heading="Model" if "model" in axes.open else "",
        sparsity="Sparsity" if "sparsity" in axes.open else "",
        row=row,
        transposed=axes.transposed,
    )


def build_grid(
    results: pd.DataFrame,
    columns: list[Measure],
    rows: Sequence[Row],
    *,
    models: Sequence[str],
    sparsities: Sequence[int],
    seeds: Sequence[int],
    recovery: str = NO_RECOVERY,
    has: Callable[[str, int, int], bool] = lambda method, sparsity, seed: True,
) -> Grid:
    """Arrange results as a matrix: per model the dense row, then a block per sparsity.

    Args:
        results: rows of one profile, as ``read_results`` returns them.
        columns: the measures, as ``columns_of`` returns them.
        rows: the rows of a block, one per method, in printed order.
        models: models in printed order.
        sparsities: integer percents in printed order.
        seeds: those that methods are expected at.
        recovery: recovery preset of the cells; the dense model is never recovered, it stands above
            whatever was trained.
        has: whether a method has a cell at a sparsity with a seed.
    """
    lines = []
    for model in models:
        for row in rows:
            if row.method == DENSE:
                dense = [Cell(model, DENSE, 0, NO_RECOVERY, seeds[0])]
                lines.append(Line(model, 0, DENSE, row.title, {EVERY: dense}))
        for sparsity in sparsities:
            for row in rows:
                method = str(row.method)
                taken = [seed for seed in seeds if has(method, sparsity, seed)]
                if row.method not in (None, DENSE) and taken:
                    place = {EVERY: [Cell(model, method, sparsity, recovery, s) for s in taken]}
                    block = (model, sparsity)
                    against = row.against or ""
                    lines.append(Line(model, sparsity, method, row.title, place, against, block))
    return fill(results, columns, lines)
