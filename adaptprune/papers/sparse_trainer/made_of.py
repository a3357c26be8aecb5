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


def retraining_cells(profile: Profile) -> dict[str, list[Cell]]:
    """Return the cells of one shape trained from random weights, and from its own without teacher.

    Raises:
        UserError: the profile has no such two recoveries.
    """
    for name, scratch in profile.recoveries.items():
        if scratch.recipe.method != "from-scratch":
            continue
        for other, retrained in profile.recoveries.items():
            recipe = retrained.recipe
            begun = scratch.target or scratch.model
            same = (recipe.method, retrained.model) == ("ast", begun)
            if same and recipe.parameters["alpha"] == 0:
                return {
                    "pretraining": profile.recovery_cells(name),
                    "retraining": profile.recovery_cells(other),
                }
    raise UserError(
        f"profile {profile.title!r}: no model is both trained from scratch and retrained by AST "
        "without a teacher"
    )


def retraining_logs(source: Source) -> list[str]:
    """Return what Fig. 2 is drawn from: the logs of both trainings at every seed."""
    cells = retraining_cells(source.profile)
    run = Run(source.name)
    return [run.cell(cell.key, "log.jsonl") for group in cells.values() for cell in group]


SOURCES: dict[str, Callable[[Source], list[str]]] = {
    "ast_fig2": retraining_logs,
    "ast_fig4": flip_logs,
}
#: The figures and all tables.
TARGETS: dict[str, tuple[str, ...]] = {
    "ast_all": (*(f"ast_table{number}" for number in range(1, 15)), "ast_fig2", "ast_fig4"),
}
