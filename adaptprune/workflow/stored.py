"""Whether what is asked for is shown from a stored matrix or computed: decided here alone.

A matrix is shown where its profile has no run here and both agree: in the cells, of which some may
be listed as not run, in the methods' versions and parameters, and in all that is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.results.matrix import beside, cell_of
from adaptprune.results.rows import CELL, read_results

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from adaptprune.cells import Cell
    from adaptprune.workflow.asked import Asked


@dataclass(frozen=True)
class Stored:
    """A matrix that is shown in place of a run.

    Attributes:
        results: its results file.
        cells: that it holds.
        not_run: of its profile, that it lists as not run.
    """

    results: Path
    cells: frozenset[Cell]
    not_run: frozenset[Cell]

    def shows(self, cells: Iterable[Cell]) -> bool:
        """Say whether it holds cells, or knows them as not run; one at least it must hold."""
        asked = set(cells)
        return asked <= self.cells | self.not_run and bool(asked & self.cells)


def read_stored(results_csv: Path) -> Stored:
    """Read which cells a stored matrix holds, and which it lists as not run.

    Raises:
        UserError: it cannot be trusted.
    """
    lacking = beside(results_csv, "not-run.csv")
    listed = pd.read_csv(lacking, keep_default_na=False) if lacking.is_file() else pd.DataFrame()
    return Stored(results_csv, _cells(read_results(results_csv)), _cells(listed))


def difference(stored: Stored, asked: Asked) -> str | None:
    """Return in what a stored matrix is not what a profile asks for; None where it is that.

    Args:
        stored: the matrix.
        asked: of the profile, with the overrides of the command line.

    Raises:
        UserError: the matrix cannot be trusted.
    """
    cells = set(asked.profile.cells())
    known = stored.cells | stored.not_run
    if others := sorted(cells ^ known):
        other = others[0]
        return f"{other.key} is not {'stored' if other in cells else 'of the profile'}"
    return asked.other_rows(read_results(stored.results))


def _cells(rows: pd.DataFrame) -> frozenset[Cell]:
    if rows.empty:
        return frozenset()
    keys = [key for key in CELL if key in rows]
    return frozenset(cell_of(row) for _, row in rows.drop_duplicates(keys).iterrows())
