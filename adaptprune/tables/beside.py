"""The paper's numbers beside the measured ones, or as they are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.results.published import load_published
from adaptprune.tables.measures import averaged
from adaptprune.tables.panels import MISSING, Panel, Text, lay_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adaptprune.results.published import Printed
    from adaptprune.tables.grid import Grid


def printed_numbers(path: Path, table: int) -> list[Printed]:
    """Return the numbers that a paper prints in one table.

    Raises:
        UserError: the file is absent, or a line is not what it should be.
    """
    return [number for number in load_published(path) if number.table == table]


def set_beside(grid: Grid, numbers: Sequence[Printed], labels: Mapping[str, str]) -> None:
    """Set printed numbers beside the measured ones, where the paper prints them.

    Rows that say what the paper prints in their place are found by that, the others by their
    model, method and sparsity.

    Args:
        grid: of the measured numbers.
        numbers: of one printed table.
        labels: by column key, what the paper prints in its place, where that is declared.
    """
    if any(row.printed for row in grid.rows):
        _by_label(grid, numbers, labels)
    else:
        _by_place(grid, numbers)


def _by_label(grid: Grid, numbers: Sequence[Printed], labels: Mapping[str, str]) -> None:
    found = {(number.row_label, number.key): number for number in numbers}
    found |= {(number.row_label, number.column): number for number in numbers}
    for row in grid.rows:
        for key, entry in row.entries.items():
            place = (row.printed, labels.get(key, key))
            number = found.get(place[::-1] if grid.layout.transposed else place)
            if number is not None:
                entry.published = number.counted


def _by_place(grid: Grid, numbers: Sequence[Printed]) -> None:
    tasks = {column.key for column in averaged(grid.columns)}
    if {n.key for n in numbers if n.unit == "%"} != {*tasks, "average"}:
        # An average over other tasks is another quantity.
        numbers = [number for number in numbers if number.key != "average"]
    found = {(n.model_id, n.label, n.sparsity, n.key, n.metric): n for n in numbers}
    for row in grid.rows:
        for column in grid.columns:
            place = (row.model, row.method, row.sparsity, column.key, column.metric)
            if (number := found.get(place)) is not None:
                entry = row.entries[column.key]
                entry.published, entry.published_std = number.counted, number.counted_std


def printed_panel(numbers: Sequence[Printed]) -> Panel:
    """Return a table as the paper prints it, for runs on other models and tasks."""
    headers = list(dict.fromkeys(number.column for number in numbers))
    rows: dict[tuple[str, int, str], dict[str, str]] = {}
    for number in numbers:
        place = (number.model, number.sparsity, number.row_label)
        rows.setdefault(place, {})[number.column] = number.text
    lines = [
        (model, (f"{sparsity}%", label), [Text(texts.get(header, MISSING)) for header in headers])
        for (model, sparsity, label), texts in rows.items()
    ]
    title = f"As printed in the paper (Table {numbers[0].table}), other models and tasks"
    return Panel(title, headers, lay_out(lines))
