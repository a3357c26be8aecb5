"""Which cells a stored matrix lacks of its profile, and how long a core would take for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.cells import split_variant
from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_file
from adaptprune.results.matrix import Matrix, beside, cell_of
from adaptprune.results.rows import CELL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from adaptprune.cells import Cell

COLUMNS = ["model", "method", "variant", "sparsity", "recovery", "seed", "status", "minutes"]


def expected_minutes(provenance: pd.DataFrame) -> Callable[[str], float]:
    """Return what says how many minutes of a core a cell of a method is expected to take.

    That is the mean processor time of the stored cells of its method, or else of all: these have
    run on machines of different load, which the time on the clock depends on.

    Args:
        provenance: of the stored cells.

    Raises:
        UserError: it holds no times to estimate from.
    """
    stages = provenance.assign(seconds=provenance["cpu_s"].fillna(provenance["wall_s"]))
    taken = stages.groupby(CELL)["seconds"].sum(min_count=1).dropna()
    if taken.empty:
        raise UserError("no stored cell says how long it took: there is nothing to estimate from")
    of_method = taken.groupby("method").mean()
    return lambda method: float(of_method.get(method, taken.mean())) / 60


def list_not_run(cells: Iterable[Cell], matrix: Matrix) -> pd.DataFrame:
    """Return the cells that a matrix has no row of, with an estimate of their minutes.

    Args:
        cells: of the profile.
        matrix: its stored results.

    Raises:
        UserError: the matrix holds no times to estimate from.
    """
    stored = {cell_of(row) for _, row in matrix.results.drop_duplicates(CELL).iterrows()}
    minutes = expected_minutes(matrix.provenance)
    rows = []
    for cell in cells:
        if cell not in stored:
            method, variant = split_variant(cell.method)
            place = (cell.model, method, variant or "", cell.sparsity, cell.recovery, cell.seed)
            rows.append((*place, "not run", round(minutes(method), 1)))
    return pd.DataFrame(rows, columns=COLUMNS)


def write_not_run(cells: Iterable[Cell], matrix: Matrix, results_csv: Path) -> pd.DataFrame:
    """Write that list beside a stored matrix, as ``NAME.not-run.csv``, and return it."""
    listed = list_not_run(cells, matrix)
    with atomic_file(beside(results_csv, "not-run.csv")) as temporary:
        listed.to_csv(temporary, index=False, lineterminator="\n")
    return listed
