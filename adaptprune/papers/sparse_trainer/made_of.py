"""What the paper's figures are made of, for the graph. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.errors import UserError
from adaptprune.workflow.paths import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.cells import Cell
    from adaptprune.workflow.profiles import Profile
    from adaptprune.workflow.run import Source

#: The two schedules of the decay that Figure 4 sets side by side.
SCHEDULES = ("annealed", "static")


def scheduled_cells(profile: Profile) -> dict[str, list[Cell]]:
    """Return the cells of AST with each schedule of the decay, and nothing else that differs.

    Raises:
        UserError: the profile has no such two recoveries.
    """
    found: dict[str, dict[str, list[Cell]]] = {}
    for name, recovery in profile.recoveries.items():
        recipe = recovery.recipe
        if recipe.method != "ast" or recipe.parameters["annealing"] not in SCHEDULES:
            continue
        parameters = dict(recipe.parameters)
        annealing = parameters.pop("annealing")
        same = recipe.model_copy(update={"name": "", "title": "", "parameters": parameters})
        key = f"{recovery.model}:{recovery.data}:{same.model_dump_json()}"
        found.setdefault(key, {}).setdefault(annealing, profile.recovery_cells(name))
    for cells in found.values():
        if cells.keys() == set(SCHEDULES):
            return cells
    raise UserError(
        f"profile {profile.title!r}: no two recoveries of AST that differ in annealing alone "
        f"({', '.join(SCHEDULES)})"
    )


def flip_logs(source: Source) -> list[str]:
    """Return what Fig. 4 is drawn from: the logs of both schedules at every seed."""
    cells = scheduled_cells(source.profile)
    run = Run(source.name)
    return [run.cell(cell.key, "log.jsonl") for group in cells.values() for cell in group]


SOURCES: dict[str, Callable[[Source], list[str]]] = {"ast_fig4": flip_logs}
TARGETS: dict[str, tuple[str, ...]] = {}
