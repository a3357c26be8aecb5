"""Declarations of tables and figures: the YAML files in ``paper_tables/``.

A table shows the matrix of a profile (``Declaration``), or rows that are listed one by one
(``ListedTable``), as those of trained models. Free of pandas and torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class MethodTitle(BaseModel):
    """One row of each block.

    Args:
        method: ``name``, or ``name@variant``; variants need not be methods of the profile.
        title: its printed name.
        against: the method of another row, whose difference to this one is shown as well.
    """

    model_config = ConfigDict(extra="forbid")

    method: str
    title: str
    against: str | None = None


class PublishedSource(BaseModel):
    """The table of ``published.csv`` (arXiv number) that one profile is compared with."""

    model_config = ConfigDict(extra="forbid")

    table: int
    profile: str = "paper"


class Declaration(BaseModel):
    """A table, all but its columns and cells, which follow from suite and profile."""

    model_config = ConfigDict(extra="forbid")

    name: str
    caption: str
    label: str
    methods: list[MethodTitle] = Field(min_length=1)
    models: Literal["all", "first"] = "all"
    suite: str | None = None
    recovery: str = "none"
    published: PublishedSource | None = None
    notes: list[str] = []

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Declaration:
        names = self.method_names
        if len(set(names)) != len(names):
            raise ValueError("methods lists a method twice")
        for row in self.methods:
            if row.against is not None and row.against not in names:
                raise ValueError(f"{row.method} is set against {row.against}, which is no row")
        return self

    @property
    def method_names(self) -> list[str]:
        """Return the methods of the rows in order."""
        return [row.method for row in self.methods]

    def select_models(self, models: Sequence[str]) -> list[str]:
        """Return the models of a profile that this table shows."""
        return list(models) if self.models == "all" else list(models[:1])


class ListedRow(BaseModel):
    """One row that is named, not derived from the matrix of a profile.

    Args:
        title: its printed name.
        block: heading of the rows it stands with; best and second are marked within them.
        model: a dense model, or
        recovery: a recovery of the profile.
        printed: its ``row_label`` in ``published.csv``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    block: str
    model: str | None = None
    recovery: str | None = None
    printed: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> ListedRow:
        if (self.model is None) == (self.recovery is None):
            raise ValueError("give model or recovery (one of the two)")
        return self


class _Listed(BaseModel):
    """What declarations of listed rows share; ``rows`` are given for each profile."""

    model_config = ConfigDict(extra="forbid")

    name: str
    caption: str
    rows: dict[str, list[ListedRow]] = Field(min_length=1)
    notes: list[str] = []

    def profile_for(self, profile: str) -> str:
        """Return the profile whose rows are shown when a profile is asked for.

        That is the profile itself or one that goes with it: ``paper-training`` with ``paper``.

        Raises:
            UserError: there are rows for neither.
        """
        if profile in self.rows:
            return profile
        going_with = [name for name in self.rows if name.startswith(f"{profile}-")]
        if len(going_with) != 1:
            allowed = ", ".join(sorted(self.rows))
            raise UserError(f"{self.name} has no rows for profile {profile} (allowed: {allowed})")
        return going_with[0]


class ListedTable(_Listed):
    """A table of listed rows; its columns follow from the suite of the profile.

    Args:
        label: the LaTeX label.
        published: the table of ``published.csv`` (arXiv number) that rows with ``printed`` are
            compared with.
    """

    label: str
    published: int | None = None


class Figure(_Listed):
    """A figure of listed rows.

    Args:
        figure: what is drawn: ``run`` shows sizes, data and learning rate of one recovery,
            ``interleaves`` the scores of several over the share that each of their prunings keeps.
    """

    figure: Literal["run", "interleaves"]


AnyDeclaration = Declaration | ListedTable | Figure


def _kind(content: object) -> type[AnyDeclaration]:
    """Return which of the three a file declares, by the key that the others do not have."""
    keys = content if isinstance(content, dict) else {}
    return Figure if "figure" in keys else ListedTable if "rows" in keys else Declaration


def load_declaration(path: Path) -> AnyDeclaration:
    """Read a declaration.

    Raises:
        UserError: the file is absent or not valid; the message names the key.
    """
    try:
        content = yaml.safe_load(path.read_text())
        return _kind(content).model_validate(content)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}") from None
