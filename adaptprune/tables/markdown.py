"""Panels as Markdown: pipe tables, every line labelled in full, and the notes as a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.tables.panels import Heading, Panel, Text


def _mark(text: Text) -> str:
    before, after = {"best": ("**", "**"), "second": ("<u>", "</u>")}.get(text.rank, ("", ""))
    return f"{before}{text.text}{after}"


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def to_markdown(panels: Sequence[Panel], notes: Sequence[str], heading: Heading) -> str:
    """Return the panels one below the other."""
    lines = [f"# {heading.caption}", ""]
    for panel in panels:
        if panel.title:
            lines += [f"## {panel.title}", ""]
        if panel.note:
            lines += [panel.note, ""]
        headers = panel.label_headers
        rule = "---:|" if panel.align == "r" else "---|"
        lines += [_line([*headers, *panel.flat_headers])]
        lines += ["|" + "---|" * len(headers) + rule * panel.width]
        for row in panel.rows:
            lines.append(_line([*panel.cells(row), *map(_mark, row.texts)]))
        lines.append("")
    lines += [f"- {note}" for note in notes]
    return "\n".join(lines).rstrip("\n") + "\n"
