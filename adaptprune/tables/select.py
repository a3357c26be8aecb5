"""Which cells a declared table, or a figure of one run, is made from. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.cells import DENSE, NO_RECOVERY, Cell
from adaptprune.errors import UserError
from adaptprune.tables.declared import Declaration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptprune.tables.declared import ListedRow, ListedTable
    from adaptprune.workflow.profiles import Profile


def cells_of(declaration: Declaration | ListedTable, profile: Profile, name: str) -> list[Cell]:
    """Return the cells of a table in a profile.

    Args:
        declaration: of a table.
        profile: the profile.
        name: of the profile.

    Raises:
        UserError: the profile lacks a variant or recovery, or the declaration has no rows for it.
    """
    if isinstance(declaration, Declaration):
        return declaration.widen(profile).cells()
    return listed_cells(declaration.rows_for(name), profile)


def listed_cells(rows: Iterable[ListedRow], profile: Profile) -> list[Cell]:
    """Return the cells of listed rows: a dense model once, a recovery at every seed.

    Raises:
        UserError: a row names a recovery that the profile does not have.
    """
    cells = []
    for row in rows:
        if row.model is not None:
            cells.append(Cell(row.model, DENSE, 0, NO_RECOVERY, profile.seeds[0]))
            continue
        cells += profile.recovery_cells(str(row.recovery))
    return list(dict.fromkeys(cells))


def run_in_stages(profile: Profile) -> Cell:
    """Return a profile's first recovery that prunes and trains in turns, at its first seed.

    Raises:
        UserError: the profile has none.
    """
    for name, recovery in profile.recoveries.items():
        if recovery.recipe.parameters.get("interleaves", 0) > 1:
            return profile.recovery_cells(name)[0]
    raise UserError(f"profile {profile.title!r}: no recovery prunes and trains in turns")
