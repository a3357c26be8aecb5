"""The declared tables of a folder, as the workflow asks for them. Torch-free."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from adaptprune.tables.declared import load_declaration
from adaptprune.tables.select import cells_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adaptprune.cells import Cell
    from adaptprune.tables.declared import Table
    from adaptprune.workflow.profiles import Profile


class DeclaredTables:
    """All declared tables.

    Args:
        files: by name; each is read when it is asked for.
    """

    def __init__(self, files: Mapping[str, Path]):
        self.files = files
        self.declaration = functools.cache(self._load)

    def _load(self, table: str) -> Table:
        return load_declaration(self.files[table])

    def profile_of(self, table: str, asked: str) -> str:
        """Return the profile that a table is run in when another one is asked for."""
        return self.declaration(table).profiles.get(asked, asked)

    def cells(self, table: str, profile: Profile, name: str) -> list[Cell]:
        """Return the cells that a table is made from.

        Raises:
            UserError: see ``cells_of``.
        """
        return cells_of(self.declaration(table), profile, name)
