"""What the paper's figures and measured tables are made of, for the graph. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.cells import DENSE, NO_RECOVERY, Cell, slug
from adaptprune.measure.layers import UNIFORM
from adaptprune.tables.select import run_in_stages
from adaptprune.workflow.paths import Run
from adaptprune.workflow.presented import collected_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.workflow.run import Source


def layer_files(source: Source) -> list[str]:
    """Return what Fig. 1 is drawn from: single layers cut, and what every pruned cell kept."""
    chosen, run = source.profile, Run(source.name)
    model, seed = chosen.models[0], chosen.seeds[0]
    pruned = [
        cell
        for cell in chosen.cells()
        if cell.model == model and cell.method != DENSE and cell.seed == seed
    ]
    return [
        *(run.sensitivity(slug(model), uniform) for uniform in UNIFORM),
        *(run.cell(cell.key, "kept.json") for cell in pruned),
    ]


def trajectory_file(source: Source) -> list[str]:
    """Return what Fig. 2 is drawn from: the record of the largest sparsity."""
    chosen = source.profile
    sparsity, seed = max(chosen.sparsities), chosen.seeds[0]
    cell = Cell(chosen.models[0], "adapt-pruner", sparsity, NO_RECOVERY, seed)
    return [Run(source.name).cell(cell.key, "pruning.json")]


def shown_log(source: Source) -> list[str]:
    """Return what Fig. 3 is drawn from: the log of a training in stages.

    Raises:
        UserError: the profile has none.
    """
    return [Run(source.name).cell(run_in_stages(source.profile).key, "log.jsonl")]


def interleaving_results(source: Source) -> list[str]:
    """Return what Fig. 4 is drawn from: the results of the table of the same cells."""
    return [Run(source.name).collected(selection="-ablation_interleave")]


def recovery_results(source: Source) -> list[str]:
    """Return what learning curves are drawn from: the results of Table 4, logs lie in its cells."""
    return [Run(source.name).collected(selection="-table4")]


SOURCES: dict[str, Callable[[Source], list[str]]] = {
    "fig1": layer_files,
    "fig2": trajectory_file,
    "fig3": shown_log,
    "fig4": interleaving_results,
    "fig_recovery": recovery_results,
    "cost": collected_files,
}

#: Targets that ask for other tables and figures than the one of their name.
TARGETS: dict[str, tuple[str, ...]] = {
    "table4": ("table4", "table4_flops"),
    "ablation_amplitude": ("table8",),
    "ablation_interleave": ("ablation_interleave", "fig4"),
}
