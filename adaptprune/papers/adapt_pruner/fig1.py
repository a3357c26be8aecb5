"""Fig. 1: how much single layers matter, and how large they are left by the methods.

Above: the increase of perplexity when one layer is cut by half, for the dense model and for models
that were cut uniformly before. Below: the parameters of each layer of the pruned models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.cells import slug
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import name_lines
from adaptprune.figures.style import PAGE, method_styles, new_figure, styled
from adaptprune.files.atomic import read_sealed_json
from adaptprune.measure.layers import UNIFORM
from adaptprune.models.catalogue import shape_of
from adaptprune.models.shapes import BlockShape
from adaptprune.pruning.registry import method_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from adaptprune.workflow.run import Source

#: Layers differ by orders of magnitude, and an increase may be negative.
_LINEAR_BELOW = 1


def draw(source: Source) -> Drawing:
    """Draw the figure for the first model of the profile."""
    model = source.profile.models[0]
    sensitivity, sizes = _sensitivity(source, model), _sizes(source, model)
    sparsities = source.profile.sparsities
    styles = method_styles(source.profile.methods)
    with styled():
        figure = new_figure(PAGE, 4.4)
        parts: Any = figure.subfigures(2, 1)
        above, below = parts
        panels: Any = above.subplots(1, len(UNIFORM), sharey=True, squeeze=False)
        for axes, uniform in zip(panels[0], UNIFORM, strict=True):
            _draw_sensitivity(axes, sensitivity[sensitivity["uniform"] == uniform], uniform)
        panels[0][0].set_ylabel(f"Increase of perplexity\n(linear below {_LINEAR_BELOW})")
        panels = below.subplots(1, len(sparsities), sharey=True, squeeze=False)
        for axes, sparsity in zip(panels[0], sparsities, strict=True):
            _draw_sizes(axes, sizes[sizes["sparsity"].isin([0, sparsity])], sparsity, styles)
        panels[0][0].set_ylabel("Parameters of the layer (M)")
        name_lines(below, panels[0])
        above.suptitle(f"One layer of {model} cut by half: token perplexity of held-out text")
    return Drawing(figure, pd.concat([sensitivity, sizes], ignore_index=True))


def _sensitivity(source: Source, model: str) -> pd.DataFrame:
    """Return one row per uniformly cut model and layer."""
    rows = []
    for uniform in UNIFORM:
        path = source.folder / "sensitivity" / slug(model) / f"u{uniform}.json"
        record = read_sealed_json(path)
        rows += [
            {
                "panel": "sensitivity",
                "model": model,
                "uniform": uniform,
                "layer": layer,
                "perplexity": perplexity,
                "increase": perplexity - record["perplexity"],
            }
            for layer, perplexity in enumerate(record["layers"])
        ]
    return pd.DataFrame(rows)


def _sizes(source: Source, model: str) -> pd.DataFrame:
    """Return one row per pruned model and layer; methods that cut no layer by itself are left out.

    Those are SliceGPT, whose layers all become narrower alike, and cells that failed.
    """
    shape = shape_of(model)
    dense = [("dense", "Dense", 0, shape.blocks)]
    for method in source.methods:
        for sparsity in source.profile.sparsities:
            kept = read_sealed_json(source.cell(model, method, sparsity) / "kept.json")
            blocks = tuple(BlockShape(len(k["kv_heads"]), len(k["mlp"])) for k in kept["layers"])
            title = method_title(method)
            dense.append((method, title, sparsity, blocks))
    return pd.DataFrame(
        {
            "panel": "size",
            "model": model,
            "method": method,
            "title": title,
            "sparsity": sparsity,
            "layer": layer,
            "kv_heads": block.kv_heads,
            "intermediate_size": block.intermediate_size,
            "params": shape.block_parameters(block),
        }
        for method, title, sparsity, blocks in dense
        for layer, block in enumerate(blocks)
    )


def _draw_sensitivity(axes: Axes, rows: pd.DataFrame, uniform: int) -> None:
    axes.bar(rows["layer"], rows["increase"], color="0.35")
    axes.set_yscale("symlog", linthresh=_LINEAR_BELOW)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.locator_params(axis="x", integer=True)
    axes.set_title(f"Uniformly pruned by {uniform} %" if uniform else "Dense")
    axes.set_xlabel("Layer")


def _draw_sizes(
    axes: Axes, rows: pd.DataFrame, sparsity: int, styles: dict[str, dict[str, Any]]
) -> None:
    for method, layers in rows.groupby("method", sort=False):
        title = layers["title"].iloc[0]
        axes.plot(layers["layer"], layers["params"] / 1e6, label=title, **styles[str(method)])
    axes.set_ylim(0, 1.1 * rows["params"].max() / 1e6)
    axes.locator_params(axis="x", integer=True)
    axes.set_title(f"Pruned to {sparsity} %")
    axes.set_xlabel("Layer")
