"""Tables as files: LaTeX, Markdown and tidy CSV, from a declaration or from a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.files.atomic import write_texts
from adaptprune.results.matrix import is_stored, said_of_stored
from adaptprune.tables.arrange import grid_of
from adaptprune.tables.beside import printed_numbers, printed_panel, set_beside
from adaptprune.tables.declared import load_declaration
from adaptprune.tables.fill import read_table_results
from adaptprune.tables.latex import to_latex
from adaptprune.tables.markdown import to_markdown
from adaptprune.tables.measures import UNIT_NAMES
from adaptprune.tables.notes import notes_of
from adaptprune.tables.panels import MISSING, Heading, panels_of
from adaptprune.tables.select import axes_of
from adaptprune.workflow.papers import published_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.declared import Table
    from adaptprune.tables.grid import Grid
    from adaptprune.tables.panels import Panel
    from adaptprune.workflow.profiles import Profile

#: Said of a table whose stored matrix lacks some of its cells.
NOT_STORED = f"{MISSING}: listed there as not run; --config rerun=true computes it."


def render_table(
    declaration: Path,
    results_csv: Path,
    provenance_csv: Path,
    output_stem: Path,
    *,
    name: str,
    profile: Profile,
    suite: Suite,
) -> None:
    """Render a declared table to ``<stem>.tex``, ``<stem>.csv`` and ``<stem>.md``.

    Args:
        declaration: a YAML file, beside ``published.csv`` where its paper prints numbers.
        results_csv: what ``write_results`` wrote.
        provenance_csv: and beside it.
        output_stem: path of the outputs without suffix.
        name: of the profile whose rows are shown.
        profile: the profile.
        suite: of the profile.

    Raises:
        UserError: the declaration or the results cannot be used.
    """
    table = load_declaration(declaration)
    axes = axes_of(table, name)
    results = read_table_results(results_csv, provenance_csv, name)
    if "model" in axes.open:
        results = results[results["model"].isin(table.select_models(profile.models))]
    grid = grid_of(table, results, name, profile, suite)
    numbers = []
    if (source := table.published) is not None and (source.profile == name or source.beside):
        numbers = printed_numbers(published_file(declaration.parent), source.table)
    compared = source is not None and source.profile == name
    if compared:
        labels = {choice.title: choice.printed for choice in axes.across if choice.printed}
        set_beside(grid, numbers, labels)
    panels = panels_of(grid, with_published=compared)
    if numbers and not compared:
        panels.append(printed_panel(numbers))
    caption = caption_of(table, name)
    notes = notes_of(table, grid, results, profile, suite)
    if is_stored(results_csv):
        caption += f" {said_of_stored(results_csv)}"
        if grid.missing:
            caption += f" {NOT_STORED}"
    heading = Heading(table.name, caption, table.label, name, len(results))
    write_panels(output_stem, panels, notes, heading, tidy(grid, heading, published=compared))


def caption_of(table: Table, name: str) -> str:
    """Return a table's caption, with what stands in for what of the paper in a profile."""
    choices = (*table.rows_for(name), *table.columns_for(name))
    stand_ins = [f"{one.title} for {one.stands_for}" for one in choices if one.stands_for]
    return f"{table.caption} Stand-ins: {'; '.join(stand_ins)}." if stand_ins else table.caption


def tidy(grid: Grid, heading: Heading, *, published: bool) -> pd.DataFrame:
    """Return one line per number of a table, unrounded."""
    changes = any(row.against for row in grid.rows)
    lines = []
    for row in grid.rows:
        for column in grid.columns:
            entry = row.entries[column.key]
            line = {
                "table": heading.name,
                "profile": heading.profile,
                "model": row.model,
                "sparsity": row.sparsity,
                "method": row.method,
                "title": row.title,
                "column": column.key,
                "header": column.header,
                "metric": column.metric,
                "unit": UNIT_NAMES.get(column.kind, ""),
                "value": entry.text or entry.value,
                "std": entry.std,
                "n_seeds": entry.n_seeds,
                "status": entry.status,
                "rank": entry.rank,
            }
            if grid.layout.listed:
                line["at_chance"] = entry.at_chance
            if changes:
                change = entry.change
                line |= {
                    "change": change and change.mean,
                    "change_std": change and change.std,
                    "change_seeds": change.count if change else 0,
                }
            if published:
                line |= {
                    "published": entry.published,
                    "published_std": entry.published_std,
                    "difference": entry.difference,
                }
            lines.append(line)
    return pd.DataFrame(lines)


def write_panels(
    stem: Path, panels: Sequence[Panel], notes: Sequence[str], heading: Heading, table: pd.DataFrame
) -> None:
    """Write a table as ``<stem>.tex``, ``<stem>.md`` and, its numbers unrounded, ``<stem>.csv``.

    Args:
        stem: path of the outputs without suffix.
        panels: what is printed.
        notes: sentences under the table.
        heading: what the table is called.
        table: one line per number or row.
    """
    outputs = {
        ".tex": to_latex(panels, notes, heading),
        ".md": to_markdown(panels, notes, heading),
        ".csv": table.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    }
    write_texts(stem, outputs)
