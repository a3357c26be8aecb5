"""Fig. 2: what Adapt-Pruner did on a real run, step by step and layer by layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.colors import FuncNorm, Normalize

from adaptprune.errors import UserError
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.style import PAGE, new_figure, styled
from adaptprune.files.atomic import read_sealed_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from adaptprune.workflow.run import Source

METHOD = "adapt-pruner"


def draw(source: Source) -> Drawing:
    """Draw the run to the largest sparsity of the profile's first model and seed."""
    model, sparsity = source.profile.models[0], max(source.profile.sparsities)
    path = source.cell(model, METHOD, sparsity) / "pruning.json"
    record = read_sealed_json(path)
    if not record.get("steps"):
        raise UserError(f"{path}: holds no steps ({record['reason'] or 'not an iterative run'})")
    rows = _rows(record)
    with styled():
        figure = new_figure(PAGE, 2.9)
        panels: Any = figure.subplots(1, 2, sharey=True)
        title = "Importance of the layer (Eq. 5), by rank"
        importance = _heat_map(panels[0], rows, "importance", title)
        sparsities = _heat_map(panels[1], rows, "sparsity", "Assigned sparsity (%)")
        # One layer stands at 1 and most of the others close to 0.
        importance.set_norm(_evenly(rows["importance"]))
        sparsities.set_clim(0, None)
        panels[0].set_ylabel("Layer")
        ticks = rows["importance"].quantile(np.linspace(0, 1, 6)).unique()
        figure.colorbar(importance, ax=panels[0], pad=0.02, ticks=ticks, format="%.3f")
        figure.colorbar(sparsities, ax=panels[1], pad=0.02)
        figure.suptitle(f"Adapt-Pruner on {model}, to {sparsity} % in {len(record['steps'])} steps")
    return Drawing(figure, rows)


def _rows(record: dict[str, Any]) -> pd.DataFrame:
    """Return one row per step and pruned layer."""
    first = record["parameters"]["layer_start"]
    return pd.DataFrame(
        {
            "model": record["model"],
            "sparsity_goal": record["sparsity"],
            "step": step["step"],
            "layer": layer,
            "importance_raw": step["layer_importance_raw"][layer - first],
            "importance": step["layer_importance"][layer - first],
            "sparsity": 100 * step["target_sparsity"][layer - first],
            "kv_heads": step["kv_heads"][layer],
            "intermediate_size": step["intermediate_size"][layer],
            "loss_before": step["loss_before"],
            "params": step["params"],
        }
        for step in record["steps"]
        for layer in range(first, first + len(step["layer_importance"]))
    )


def _evenly(values: pd.Series) -> Normalize:
    """Return a scale on which each tenth of the values has as many colours as any other."""
    marks = values.quantile(np.linspace(0, 1, 11)).unique()
    places = np.linspace(0, 1, len(marks))
    if len(marks) < 2:
        return Normalize()
    both = (partial(np.interp, xp=marks, fp=places), partial(np.interp, xp=places, fp=marks))
    return FuncNorm(both, vmin=marks[0], vmax=marks[-1])


def _heat_map(axes: Axes, rows: pd.DataFrame, column: str, title: str) -> AxesImage:
    """Show a column by layer (upwards) and step."""
    grid = rows.pivot(index="layer", columns="step", values=column)
    layers, steps = grid.index, grid.columns
    axes.grid(False)
    axes.set_title(title)
    axes.set_xlabel("Step")
    axes.locator_params(integer=True)
    extent = (steps[0] - 0.5, steps[-1] + 0.5, layers[0] - 0.5, layers[-1] + 0.5)
    return axes.imshow(
        grid.to_numpy(), aspect="auto", origin="lower", extent=extent, interpolation="nearest"
    )
