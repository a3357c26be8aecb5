"""What is the same in every row of a panel: said once above it, not printed in a column."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adaptprune.tables.panels import lay_out

if TYPE_CHECKING:
    from adaptprune.tables.panels import Panel


def without_constants(panel: Panel) -> Panel:
    """Return a panel without the columns that say the same in all rows; its note says it.

    The last label names a row and stays. A panel of a single row stays as it is: nothing in it is
    the same as elsewhere. Headers are no longer divided where a part of one is gone.
    """
    if len(panel.rows) < 2:
        return panel
    headers = [*panel.label_headers, *panel.flat_headers]
    printed = [[*panel.cells(row), *(text.text for text in row.texts)] for row in panel.rows]
    labels = len(panel.label_headers)
    constant = {
        column: texts[0]
        for column, texts in enumerate(zip(*printed, strict=True))
        if len(set(texts)) == 1 and column != labels - 1
    }
    kept = [column for column in range(panel.width) if labels + column not in constant]
    of_rows = range(len(panel.labels))
    before = labels - len(panel.labels)
    named = [label for label in of_rows if before + label not in constant]
    has_heading = panel.heading != "" and 0 not in constant
    lines = [
        (
            row.heading if has_heading else "",
            tuple(row.labels[label] for label in named),
            [row.texts[column] for column in kept],
        )
        for row in panel.rows
    ]
    said = "; ".join(f"{headers[column]} {text}" for column, text in constant.items())
    if len(kept) < panel.width:
        flat = panel.flat_headers
        panel = replace(panel, headers=[flat[column] for column in kept], parts=[])
    return replace(
        panel,
        heading=panel.heading if has_heading else "",
        labels=tuple(panel.labels[label] for label in named),
        rows=lay_out(lines, listed=panel.listed),
        note=" ".join(filter(None, (panel.note, said and f"The same in every row: {said}."))),
    )
