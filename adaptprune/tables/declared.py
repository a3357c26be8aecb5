"""Declarations of tables: the YAML files in ``paper_tables/``.

A table is rows by columns, each a selection: together they say which cells of a profile stand in a
place, and what of them is printed. What both leave open follows from the profile: its models and
sparsities become blocks of rows, and the measures of its suite become the columns. Free of pandas
and torch.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from adaptprune.errors import UserError
from adaptprune.files.declared import read_yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


#: Every profile: what rows and columns are for where they are not declared by profile.
ANY = "*"
#: What a selection can choose.
AXES = ("model", "method", "sparsity", "recovery", "task", "metric", "bits")


class Selection(BaseModel):
    """A choice on some axes; the others are left open.

    Args:
        model: a model.
        method: ``name``, or ``name@variant``; variants need not be methods of the profile.
        sparsity: integer percent.
        recovery: a recovery of the profile; ``*`` stands for any part of the name, and the one is
            meant that belongs to the chosen model.
        task: a task of the suite.
        metric: of the task, in place of the one that the suite shows; or, without a task, what is
            known of a whole cell (``average``, ``perplexity``, ``params``, …).
        bits: of a weight, rounded by AWQ, where what is measured is measured so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    method: str | None = None
    sparsity: int | None = None
    recovery: str | None = None
    task: str | None = None
    metric: str | None = None
    bits: int | None = None

    @property
    def chosen(self) -> dict[str, str | int]:
        """Return what is chosen, by axis."""
        values = ((axis, getattr(self, axis)) for axis in AXES)
        return {axis: value for axis, value in values if value is not None}


def joined(*selections: Selection) -> Selection:
    """Return what several selections choose together; later ones decide."""
    chosen: dict[str, str | int] = {}
    for selection in selections:
        chosen |= selection.chosen
    return Selection.model_validate(chosen)


class _Titled(Selection):
    """A row or column: a selection with a printed title.

    Args:
        title: what is printed.
        printed: what the paper prints in its place, where its numbers stand beside the measured
            ones: ``row_label`` of a row, ``column`` of a column in ``published.csv``.
        stands_for: what of the paper it stands for, told in the caption.
        absent: why there is nothing to show; every place holds a dash, and a note says so.
    """

    title: str
    printed: str | None = None
    stands_for: str | None = None
    absent: str | None = None


class Row(_Titled):
    """One row.

    Args:
        block: heading of the rows it stands with; best and second are marked within them.
        against: the method of another row, whose difference to this one is shown as well.
    """

    block: str | None = None
    against: str | None = None


class Column(_Titled):
    """One column."""


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


Choice = TypeVar("Choice", Row, Column)


class Table(BaseModel):
    """A declared table.

    Args:
        name: the file's name.
        caption: above the table.
        label: the LaTeX label.
        rows: in printed order; or by profile.
        columns: in printed order; or by profile. Without them the columns follow from the suite.
        cells: what is chosen for every place of the table.
        models: ``all`` models of the profile, or only the ``first``, where none are chosen.
        sparsities: shown in place of the profile's; the table then has the cells of its own rows
            alone.
        adds: by profile, methods that are run for this table besides those of the profile.
        profiles: by profile, the one that this table is run in instead, for another suite.
        published: numbers to compare with.
        peak: a claim to test.
        notes: sentences under the table.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    caption: str
    label: str
    rows: dict[str, Annotated[list[Row], Field(min_length=1)]] = Field(min_length=1)
    columns: dict[str, list[Column]] = {ANY: []}
    cells: Selection = Selection()
    models: Literal["all", "first"] = "all"
    sparsities: list[int] | None = None
    adds: dict[str, list[str]] = {}
    profiles: dict[str, str] = {}
    published: PublishedSource | None = None
    peak: Peak | None = None
    notes: list[str] = []

    @field_validator("rows", "columns", mode="before")
    @classmethod
    def _are_by_profile(cls, value: object) -> object:
        return {ANY: value} if isinstance(value, list) else value

    @model_validator(mode="after")
    def _is_consistent(self) -> Table:
        for rows in self.rows.values():
            _check_rows(rows, self.peak)
        for columns in self.columns.values():
            _check_columns(columns)
        for one, other in itertools.product(self.rows, self.columns):
            if one == other or ANY in (one, other):
                _check_apart(self.rows[one], self.columns[other], self.cells)
        return self

    def is_for(self, profile: str) -> bool:
        """Say whether the table has rows and columns for a profile."""
        return all(ANY in part or profile in part for part in (self.rows, self.columns))

    def rows_for(self, profile: str) -> list[Row]:
        """Return the rows of a profile.

        Raises:
            UserError: there are none.
        """
        return self._part("rows", self.rows, profile)

    def columns_for(self, profile: str) -> list[Column]:
        """Return the declared columns of a profile, none where they follow from the suite.

        Raises:
            UserError: the columns are declared by profile, and there are none for this one.
        """
        return self._part("columns", self.columns, profile)

    def _part(self, kind: str, part: dict[str, list[Choice]], profile: str) -> list[Choice]:
        if ANY in part:
            return part[ANY]
        if profile not in part:
            allowed = ", ".join(sorted(part))
            raise UserError(f"{self.name} has no {kind} for profile {profile} (allowed: {allowed})")
        return part[profile]

    def select_models(self, models: Sequence[str]) -> list[str]:
        """Return the models of a profile that this table shows."""
        return list(models) if self.models == "all" else list(models[:1])


def _check_rows(rows: Sequence[Row], peak: Peak | None) -> None:
    """Refuse rows that are told apart by nothing, or name a row that is none."""
    seen = set()
    for row in rows:
        if not row.chosen and row.absent is None:
            raise ValueError(f"row {row.title!r} chooses nothing (allowed: {', '.join(AXES)})")
        if row.block is None:
            key = (*row.chosen.items(),)
            if key in seen and row.absent is None:
                raise ValueError(f"rows lists a row twice: {row.title!r}")
            seen.add(key)
    blocks = {row.block is None for row in rows}
    if len(blocks) > 1:
        raise ValueError("some rows stand in a block, and some do not")
    methods = {row.method for row in rows}
    for row in rows:
        if row.against is not None and row.against not in methods:
            raise ValueError(f"{row.method} is set against {row.against}, which is no row")
        if row.block is not None and row.model is not None and row.recovery is not None:
            raise ValueError(f"row {row.title!r}: give model or recovery (one of the two)")
    for method in (*peak.methods, peak.best) if peak else ():
        if method not in methods:
            raise ValueError(f"peak names {method}, which is no row")


def _check_columns(columns: Sequence[Column]) -> None:
    titles = [column.title for column in columns]
    if len(set(titles)) != len(titles):
        raise ValueError("columns lists a title twice")


def _check_apart(rows: Sequence[Row], columns: Sequence[Column], cells: Selection) -> None:
    """Refuse an axis that rows and columns both choose on, and places without a measure."""
    by_row = {axis for row in rows for axis in row.chosen}
    by_column = {axis for column in columns for axis in column.chosen}
    for axis in AXES:
        if axis in by_row & by_column or (axis in cells.chosen and axis in by_row | by_column):
            raise ValueError(f"{axis} is chosen twice for one place")
    measures = {"task", "metric"}
    for choices in (rows, columns):
        if len({bool(measures & one.chosen.keys()) for one in choices if one.absent is None}) > 1:
            raise ValueError("some rows or columns say what is measured, and some do not")
    if by_row & measures and by_column & measures:
        raise ValueError("what is measured is chosen by rows and by columns")
    if columns and not measures & (by_row | by_column | {*cells.chosen}):
        raise ValueError("columns are declared, but nothing says what is measured")
    if by_row & measures and not columns:
        raise ValueError("rows say what is measured: columns must be declared")
    if by_row & measures and len({row.title for row in rows}) < len(rows):
        raise ValueError("rows lists a title twice")


def load_declaration(path: Path) -> Table:
    """Read a declaration.

    Raises:
        UserError: the file is absent or not valid; the message names the key.
    """
    try:
        return Table.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != ANY) or "the file"
        raise UserError(f"{path}: {place}: {first['msg']}") from None
