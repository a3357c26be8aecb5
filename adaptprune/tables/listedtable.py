"""Tables of listed rows: dense models and recoveries side by side, with what each one took."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.results.published import UNITS
from adaptprune.tables.latex import AT_CHANCE, Heading
from adaptprune.tables.listedgrid import build_listed_grid, listed_columns, read_listed_results
from adaptprune.tables.render import column_notes, problem_notes, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.declared import ListedRow, ListedTable
    from adaptprune.tables.grid import Grid
    from adaptprune.workflow.profiles import Profile

_ACCOUNT_NOTE = (
    "Tokens are those that the row's model was trained on; a teacher's own training is counted "
    "apart. FLOPs: all of a recovery, 6 per parameter and token in training and 2 in a forward "
    "pass, prunings and teacher included. Dense: tokens of the pretraining as its makers state "
    "them, FLOPs 6 per parameter and token. Time: of training and the work between its stages, on "
    "the machine of this run. Removed: percent of the larger model's parameters "
    "that the target is without. Best in bold, second underlined, within each block."
)
_CHANCE_NOTE = (
    f"{AT_CHANCE} marks what guessing may reach: the lower end of the accuracy's 95 % interval "
    "over the documents (1.96 standard errors) does not lie above chance."
)


def _seeds_note(seeds: Sequence[int]) -> str:
    listed = ", ".join(str(seed) for seed in seeds)
    if len(seeds) == 1:
        return f"Trained with one seed ({listed}): no spread."
    return (
        f"Trained: mean ± sample standard deviation over seeds {listed}; a seed redraws the "
        "calibration data and the order of the training data. Dense models are measured once."
    )


def _add_published(grid: Grid, rows: Sequence[ListedRow], path: Path, table: int) -> None:
    """Set the paper's numbers beside the rows that say where it prints them."""
    published = pd.read_csv(path)
    published = published[published["table_arxiv"] == table]
    numbers = {
        (line.row_label, line.key): line.value * UNITS.get(line.unit, 1.0)
        for line in published.itertuples()
    }
    for declared, row in zip(rows, grid.rows, strict=True):
        for key, entry in row.entries.items():
            entry.published = numbers.get((declared.printed, key))


def render_listed_table(
    declaration: ListedTable,
    published_csv: Path,
    results_csv: Path,
    provenance_csv: Path,
    output_stem: Path,
    *,
    name: str,
    profile: Profile,
    suite: Suite,
) -> None:
    """Render a table of listed rows to ``<stem>.tex``, ``<stem>.csv`` and ``<stem>.md``.

    Args:
        declaration: of the table.
        published_csv: the paper's numbers.
        results_csv: what ``write_results`` wrote.
        provenance_csv: and beside it.
        output_stem: path of the outputs without suffix.
        name: of the profile whose rows are shown.
        profile: the profile.
        suite: gives the columns.

    Raises:
        UserError: the results cannot be used, or the declaration has no rows for the profile.
    """
    rows = declaration.rows_for(name)
    results = read_listed_results(results_csv, provenance_csv, name)
    grid = build_listed_grid(results, listed_columns(suite), rows, profile)
    compared = declaration.published is not None and any(row.printed for row in rows)
    if declaration.published is not None and compared:
        _add_published(grid, rows, published_csv, declaration.published)
    notes = [*column_notes(results, suite), _seeds_note(profile.seeds), _ACCOUNT_NOTE]
    if any(entry.at_chance for row in grid.rows for entry in row.entries.values()):
        notes.append(_CHANCE_NOTE)
    notes += [*declaration.notes, f"Profile {profile.title}."]
    notes += [*([profile.note] if profile.note else []), *problem_notes(grid)]
    heading = Heading(declaration.name, declaration.caption, declaration.label, name, len(results))
    write_table(grid, notes, heading, output_stem, published=compared)
