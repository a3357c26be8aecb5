"""Which cells stand where in a table, and which ones a figure of one run shows. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from adaptprune.cells import DENSE, NO_RECOVERY, Cell, split_variant
from adaptprune.errors import UserError, unknown
from adaptprune.models.catalogue import catalogue
from adaptprune.tables.declared import Selection, joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adaptprune.tables.declared import Column, Row, Table
    from adaptprune.workflow.profiles import Profile

#: The column of a line whose places all hold the same cells.
EVERY = ""


@dataclass(frozen=True)
class Line:
    """One row of a grid before its numbers are there.

    Args:
        heading: of its block; empty where there are none.
        sparsity: integer percent.
        method: the method, or the recovery of a trained model.
        title: what is printed.
        places: by column, the cells that its number is averaged over; none where there is nothing
            to show.
        against: the method of another line of the same block, that its changes are counted from.
        block: lines with the same one are ranked together; None where a line is not ranked.
        printed: what the paper prints in its place.
        bits: of a weight, where what is shown was measured with rounded ones.
    """

    heading: str
    sparsity: int
    method: str
    title: str
    places: Mapping[str, Sequence[Cell]]
    against: str = ""
    block: tuple[str, int] | None = None
    printed: str = ""
    bits: int | None = None

    def cells(self, column: str) -> Sequence[Cell]:
        """Return the cells of one column."""
        return self.places.get(column, self.places.get(EVERY, ()))


@dataclass(frozen=True)
class Axes:
    """What a table's declaration says about a profile, before any cell is looked up.

    Args:
        lines: the rows of the grid: the declared rows, or the columns where the rows say what is
            measured; it is printed the other way round then.
        across: the columns of the grid; empty where they follow from the suite.
        transposed: whether rows and columns are exchanged.
        in_blocks: whether the lines stand in named blocks.
        open: the axes whose values the profile gives: ``model``, ``sparsity``.
    """

    lines: Sequence[Row | Column]
    across: Sequence[Row | Column]
    transposed: bool
    in_blocks: bool
    open: frozenset[str]


def axes_of(table: Table, name: str) -> Axes:
    """Return the axes of a table in a profile.

    Raises:
        UserError: it has none for the profile.
    """
    rows, columns = table.rows_for(name), table.columns_for(name)
    transposed = any({"task", "metric"} & row.chosen.keys() for row in rows)
    lines, across = (columns, rows) if transposed else (rows, columns)
    in_blocks = any(row.block is not None for row in rows)
    chosen = {*table.cells.chosen, *(axis for one in (*rows, *columns) for axis in one.chosen)}
    open_axes = set()
    if not in_blocks:
        prunes = "method" in chosen
        trains_alone = "recovery" in chosen and not prunes
        if "model" not in chosen and not trains_alone:
            open_axes.add("model")
        if "sparsity" not in chosen and prunes:
            open_axes.add("sparsity")
    return Axes(lines, across, transposed, in_blocks, frozenset(open_axes))


def lines_of(table: Table, name: str, profile: Profile) -> list[Line]:
    """Return the rows of a table's grid with the cells that stand in them.

    A dense model has no sparsity: where sparsities are blocks, it stands above them.

    Raises:
        UserError: the profile lacks a variant or recovery, or the table has nothing for it.
    """
    axes = axes_of(table, name)
    models: list[str | None] = [None]
    sparsities: list[int | None] = [None]
    if "model" in axes.open:
        models = [*table.select_models(profile.models)]
    if "sparsity" in axes.open:
        profile = widened(table, profile, name)
        sparsities = [*profile.all_sparsities]
    lines = []
    for model in models:
        rest = axes.lines
        if "sparsity" in axes.open:
            dense = [line for line in axes.lines if _is_dense(table, line)]
            rest = [line for line in axes.lines if line not in dense]
            lines += [_line(table, axes, line, Selection(model=model), profile) for line in dense]
        for sparsity in sparsities:
            block = Selection(model=model, sparsity=sparsity)
            lines += [
                _line(table, axes, line, block, profile)
                for line in rest
                if sparsity is None or _reaches(table, line, sparsity, profile)
            ]
    return lines


def _reaches(table: Table, line: Row | Column, sparsity: int, profile: Profile) -> bool:
    """Say whether the profile has a line's method at a sparsity."""
    method = joined(table.cells, line).method
    return method is None or sparsity in profile.sparsities_of(method)


def _is_dense(table: Table, line: Row | Column) -> bool:
    return joined(table.cells, line).method == DENSE


def _line(table: Table, axes: Axes, line: Row | Column, block: Selection, profile: Profile) -> Line:
    shared = joined(table.cells, block, line)
    if line.absent is not None:
        places: dict[str, Sequence[Cell]] = {EVERY: ()}
    elif axes.across:
        places = {
            other.title: () if other.absent else cells_at(joined(shared, other), profile)
            for other in axes.across
        }
    else:
        places = {EVERY: cells_at(shared, profile)}
    first = next((cell for cells in places.values() for cell in cells), None)
    own_block = getattr(line, "block", None)
    heading = own_block or block.model or ""
    sparsity = block.sparsity or (first.sparsity if first else 0)
    method = shared.recovery or shared.method or DENSE
    ranked = axes.in_blocks or method != DENSE
    return Line(
        heading=heading,
        sparsity=sparsity,
        method=method,
        title=line.title,
        places=places,
        against=getattr(line, "against", None) or "",
        block=(heading, block.sparsity or 0) if ranked else None,
        printed=line.printed or "",
        bits=shared.bits,
    )


def cells_at(chosen: Selection, profile: Profile) -> list[Cell]:
    """Return the cells of a selection: a dense model once, all else at every seed that it has.

    Args:
        chosen: a recovery of the profile; or a model, with a method and a sparsity unless it is
            dense.
        profile: the profile.

    Raises:
        UserError: the profile has no such recovery.
    """
    if chosen.recovery is not None:
        return _trained_cells(chosen, profile)
    model = str(chosen.model)
    if chosen.method in (None, DENSE):
        return [Cell(model, DENSE, 0, NO_RECOVERY, profile.seeds[0])]
    method, sparsity = str(chosen.method), int(chosen.sparsity or 0)
    return [Cell(model, method, sparsity, NO_RECOVERY, seed) for seed in profile.seeds_of(method)]


def _trained_cells(chosen: Selection, profile: Profile) -> list[Cell]:
    """Return the cells of the one recovery that a name, or a pattern of names, stands for."""
    pattern = str(chosen.recovery)
    names = [pattern]
    if "*" in pattern:
        names = [name for name in profile.recoveries if fnmatchcase(name, pattern)]
    cells = [
        cell
        for name in names
        for cell in profile.recovery_cells(name)
        if chosen.model in (None, cell.model) and chosen.sparsity in (None, cell.sparsity)
    ]
    if len(found := {cell.recovery for cell in cells}) > 1:
        raise UserError(f"recovery {pattern!r} stands for several: {', '.join(sorted(found))}")
    return cells


def cells_of(table: Table, profile: Profile, name: str) -> list[Cell]:
    """Return the cells of a table in a profile.

    A table of methods has those of the profile's matrix as well: both share their results.

    Args:
        table: its declaration.
        profile: the profile.
        name: of the profile.

    Raises:
        UserError: the profile lacks a variant, recovery or model, or the table has nothing for it.
    """
    axes = axes_of(table, name)
    if {"model", "sparsity"} == axes.open:
        return widened(table, profile, name).cells()
    lines = lines_of(table, name, profile)
    cells = dict.fromkeys(
        cell for line in lines for place in line.places.values() for cell in place
    )
    known = [*catalogue(), *profile.all_models]
    for cell in cells:
        if cell.model not in known:
            raise unknown(f"model in table {table.name}", cell.model, known)
    for method, sparsity in dict.fromkeys((cell.method, cell.sparsity) for cell in _pruned(cells)):
        chosen = profile.model_copy(update={"methods": [split_variant(method)[0]]})
        if sparsity in profile.sparsities:
            chosen.with_variants([method])
        else:
            chosen.with_sparsities([method], [sparsity])
    return list(cells)


def _pruned(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells that are pruned and not trained."""
    return [cell for cell in cells if cell.method != DENSE and cell.recovery == NO_RECOVERY]


def widened(table: Table, profile: Profile, name: str) -> Profile:
    """Return the profile with the cells of a table's methods, at the table's sparsities.

    Raises:
        UserError: a method is unknown or cannot reach a sparsity.
    """
    axes = axes_of(table, name)
    choices = (*axes.lines, *axes.across, table.cells)
    methods = list(dict.fromkeys(one.method for one in choices if one.method is not None))
    if table.sparsities is None:
        return profile.with_variants(methods, table.adds.get(name, []))
    return profile.with_sparsities(methods, table.sparsities)


def run_in_stages(profile: Profile) -> Cell:
    """Return a profile's first recovery that prunes and trains in turns, at its first seed.

    Raises:
        UserError: the profile has none.
    """
    for name, recovery in profile.recoveries.items():
        if recovery.recipe.parameters.get("interleaves", 0) > 1:
            return profile.recovery_cells(name)[0]
    raise UserError(f"profile {profile.title!r}: no recovery prunes and trains in turns")
