"""What the paper's figures and measured tables are made of, for the graph. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.cells import DENSE, cell_folder, slug
from adaptprune.measure.layers import UNIFORM
from adaptprune.tables.select import run_in_stages
from adaptprune.workflow.presented import collected_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adaptprune.workflow.run import Source


def layer_files(source: Source) -> list[Path]:
    """Return what Fig. 1 is drawn from: single layers cut, and what every pruned cell kept."""
    chosen = source.profile
    model, seed = chosen.models[0], chosen.seeds[0]
    measured = source.folder / "sensitivity" / slug(model)
    pruned = [
        cell_folder(source.runs, source.name, cell)
        for cell in chosen.cells()
        if cell.model == model and cell.method != DENSE and cell.seed == seed
    ]
    return [
        *(measured / f"u{uniform}.json" for uniform in UNIFORM),
        *(folder / "kept.json" for folder in pruned),
    ]


def trajectory_file(source: Source) -> list[Path]:
    """Return what Fig. 2 is drawn from: the record of the largest sparsity."""
    chosen = source.profile
    folder = source.cell(chosen.models[0], "adapt-pruner", max(chosen.sparsities))
    return [folder / "pruning.json"]


def shown_log(source: Source) -> list[Path]:
    """Return what Fig. 3 is drawn from: the log of a training in stages.

    Raises:
        UserError: the profile has none.
    """
    cell = run_in_stages(source.profile)
    return [cell_folder(source.runs, source.name, cell) / "log.jsonl"]


def interleaving_results(source: Source) -> list[Path]:
    """Return what Fig. 4 is drawn from: the results of the table of the same cells."""
    return [source.folder / "results-ablation_interleave.csv"]


SOURCES: dict[str, Callable[[Source], list[Path]]] = {
    "fig1": layer_files,
    "fig2": trajectory_file,
    "fig3": shown_log,
    "fig4": interleaving_results,
    "cost": collected_files,
}

#: Targets that ask for other tables and figures than the one of their name.
TARGETS: dict[str, tuple[str, ...]] = {
    "table4": ("table4", "table4_flops"),
    "ablation_amplitude": ("table8",),
    "ablation_interleave": ("ablation_interleave", "fig4"),
}
