"""Quality against measured speed: what a method gives up for how much faster it makes a model.

Speed is the ratio to the dense model at prefill and at decoding, one sequence at once and eight;
quality is that of figure ``size``. A mask leaves all weights in their places, so a masked model is
as fast as the dense one wherever no kernel makes use of the zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import FRONT, name_lines
from adaptprune.figures.size import chance_shown, quality_of, with_front
from adaptprune.figures.style import (
    PAGE,
    draw_chance,
    method_styles,
    new_figure,
    styled,
)
from adaptprune.tables.speed import read_measures
from adaptprune.workflow.run import TRADEOFF_BATCHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from adaptprune.workflow.run import Source

_PHASES = {"prefill": "Prefill", "decode": "Decoding"}


def draw(source: Source) -> Drawing:
    """Draw a row of panels per model and measure of quality: one per phase and batch."""
    points = _points(source)
    styles = method_styles(source.profile.methods)
    rows = list(points.groupby(["model", "measure"], sort=False))
    columns = [(phase, batch) for batch in TRADEOFF_BATCHES for phase in _PHASES]
    with styled():
        figure = new_figure(PAGE, 0.5 + 2.0 * len(rows))
        panels: Any = figure.subplots(len(rows), len(columns), squeeze=False, sharey="row")
        for line, ((model, _), of_row) in zip(panels, rows, strict=True):
            for axes, (phase, batch) in zip(line, columns, strict=True):
                shown = of_row[(of_row["phase"] == phase) & (of_row["batch"] == batch)]
                _draw_panel(axes, shown, styles)
                axes.set_title(f"{_PHASES[phase]}, batch {batch}")
            line[0].set_ylabel(f"{model}\n{of_row['label'].iloc[0]}")
        name_lines(figure, panels.flat)
    return Drawing(figure, points)


def _points(source: Source) -> pd.DataFrame:
    """Return one row per checkpoint, measure of quality, phase and batch."""
    quality = quality_of(source).drop(columns="on_front")
    keys = ["model", "method", "sparsity"]
    found = []
    for batch in TRADEOFF_BATCHES:
        speed = read_measures(source, batch)
        for phase in _PHASES:
            rates = speed[speed["measure"] == phase]
            ratios = rates[[*keys, "ratio", "ratio_least", "ratio_most"]]
            # The dense model is what the others are measured against.
            joined = quality.merge(ratios, on=keys, how="left")
            dense = joined["method"] == "dense"
            joined.loc[dense, ["ratio", "ratio_least", "ratio_most"]] = 1.0
            found.append(joined.assign(phase=phase, batch=batch))
    points = pd.concat(found).dropna(subset=["ratio"]).reset_index(drop=True)
    return with_front(points, ["model", "measure", "phase", "batch"], on_front)


def on_front(points: pd.DataFrame) -> pd.Series:
    """Say of each point whether none that is faster or as fast is better (Pareto).

    Args:
        points: ``ratio``, ``value`` and ``better`` ("higher" or "lower") of one measure.
    """
    quality = points["value"].where(points["better"] == "higher", -points["value"])
    return pd.Series(
        [
            not ((points["ratio"] >= ratio) & (quality > value)).any()
            and not ((points["ratio"] > ratio) & (quality >= value)).any()
            for ratio, value in zip(points["ratio"], quality, strict=True)
        ],
        index=points.index,
    )


def _draw_panel(axes: Axes, points: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    """Show medians with the range over rounds; the line at 1 is the dense model's speed."""
    axes.axvline(1, color="0.4", linewidth=0.8)
    front = points[points["on_front"]].sort_values("ratio")
    if len(front):
        axes.step(
            front["ratio"],
            front["value"],
            where="pre",
            color="0.75",
            linewidth=3,
            zorder=1,
            gid=FRONT,
            label="Pareto front",
        )
    for method, rows in points.groupby("method", sort=False):
        ordered = rows.sort_values("sparsity")
        below = ordered["ratio"] - ordered["ratio_least"]
        above = ordered["ratio_most"] - ordered["ratio"]
        axes.errorbar(
            ordered["ratio"],
            ordered["value"],
            xerr=[below, above],
            capsize=2,
            label=rows["title"].iloc[0],
            **styles[str(method)],
        )
    draw_chance(axes, chance_shown(points))
    if (points["better"] == "lower").all():
        axes.set_yscale("log")
    axes.set_xlabel("Tokens/s, dense = 1")
