"""Which cells a declared table or figure is made from. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.declarations import Declaration

if TYPE_CHECKING:
    from adaptprune.cells import Cell
    from adaptprune.config import Profile
    from adaptprune.declarations import AnyDeclaration


def cells_of(declaration: AnyDeclaration, profile: Profile, name: str) -> list[Cell]:
    """Return the cells of a declaration in a profile.

    Args:
        declaration: of a table or figure.
        profile: the profile.
        name: of the profile.

    Raises:
        UserError: the profile lacks a variant or recovery, or the declaration has no rows for it.
    """
    if isinstance(declaration, Declaration):
        return profile.with_variants(declaration.method_names).cells()
    return profile.listed_cells(declaration.rows[declaration.profile_for(name)])
