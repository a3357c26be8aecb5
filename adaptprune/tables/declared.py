"""Declarations of tables: the YAML files in ``paper_tables/``.

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

    from adaptprune.workflow.profiles import Profile


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
    """The table of ``published.csv`` (arXiv number) that one profile is compared with.

    Args:
        table: its number.
        profile: the profile that runs the same models and tasks.
        beside: whether the printed table stands beside the measured one in every other profile.
    """

    model_config = ConfigDict(extra="forbid")

    table: int
    profile: str = "paper"
    beside: bool = False


class Peak(BaseModel):
    """The claim that results rise along some rows, are best at one of them, and fall again.

    Args:
        along: what grows from row to row, as a noun.
        methods: of the rows, in that order.
        best: the row that the paper calls the best.
    """

    model_config = ConfigDict(extra="forbid")

    along: str
    methods: list[str] = Field(min_length=3)
    best: str


class Declaration(BaseModel):
    """A table, all but its columns and cells, which follow from suite and profile.

    Attributes:
        sparsities: shown in place of the profile's; the table then has the cells of its own rows
            alone.
        profiles: by profile, the one that this table is run in instead, for another suite.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    caption: str
    label: str
    methods: list[MethodTitle] = Field(min_length=1)
    models: Literal["all", "first"] = "all"
    sparsities: list[int] | None = None
    profiles: dict[str, str] = {}
    published: PublishedSource | None = None
    peak: Peak | None = None
    notes: list[str] = []

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Declaration:
        names = self.method_names
        if len(set(names)) != len(names):
            raise ValueError("methods lists a method twice")
        for row in self.methods:
            if row.against is not None and row.against not in names:
                raise ValueError(f"{row.method} is set against {row.against}, which is no row")
        if self.peak is not None:
            for method in (*self.peak.methods, self.peak.best):
                if method not in names:
                    raise ValueError(f"peak names {method}, which is no row")
        return self

    def widen(self, profile: Profile) -> Profile:
        """Return the profile with the cells of this table.

        Raises:
            UserError: a method is unknown or cannot reach a sparsity.
        """
        if self.sparsities is None:
            return profile.with_variants(self.method_names)
        return profile.with_sparsities(self.method_names, self.sparsities)

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


class ListedTable(BaseModel):
    """A table of listed rows; its columns follow from the suite of the profile.

    Args:
        name: the file's name.
        caption: above the table.
        label: the LaTeX label.
        rows: by profile.
        profiles: by profile, the one that this table is run in instead, for another suite.
        published: the table of ``published.csv`` (arXiv number) that rows with ``printed`` are
            compared with.
        notes: sentences under the table.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    caption: str
    label: str
    rows: dict[str, list[ListedRow]] = Field(min_length=1)
    profiles: dict[str, str] = {}
    published: int | None = None
    notes: list[str] = []

    def rows_for(self, profile: str) -> list[ListedRow]:
        """Return the rows of a profile.

        Raises:
            UserError: there are none.
        """
        if profile not in self.rows:
            allowed = ", ".join(sorted(self.rows))
            raise UserError(f"{self.name} has no rows for profile {profile} (allowed: {allowed})")
        return self.rows[profile]


def load_declaration(path: Path) -> Declaration | ListedTable:
    """Read a declaration.

    Raises:
        UserError: the file is absent or not valid; the message names the key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        listed = isinstance(content, dict) and "rows" in content
        return (ListedTable if listed else Declaration).model_validate(content)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}") from None
