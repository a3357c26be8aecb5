"""Time and memory of pruned checkpoints against their size, as ratios to the dense model.

Those of the first seed, none of them trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import name_lines
from adaptprune.figures.style import PAGE, method_styles, new_figure, styled
from adaptprune.tables.speed import read_measures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from adaptprune.workflow.run import Source

_TITLES = {"prefill": "Prefill", "decode": "Decoding", "memory": "Peak memory"}


def draw(source: Source) -> Drawing:
    """Draw one line of panels per model: prefill, decoding, memory."""
    measures = read_measures(source)
    models = list(dict.fromkeys(measures["model"])) or [""]
    styles = method_styles(source.profile.methods)
    with styled():
        figure = new_figure(PAGE, 0.5 + 2.2 * len(models))
        panels: Any = figure.subplots(len(models), len(_TITLES), squeeze=False)
        for line, model in zip(panels, models, strict=True):
            for axes, (measure, title) in zip(line, _TITLES.items(), strict=True):
                chosen = (measures["model"] == model) & (measures["measure"] == measure)
                _draw_panel(axes, measures[chosen], styles)
                axes.set_title(f"{title}, {model}")
            line[0].set_ylabel("Tokens/s, dense = 1")
            line[2].set_ylabel("Memory, dense = 1")
        name_lines(figure, panels.flat)
    return Drawing(figure, measures)


def _draw_panel(axes: Axes, rows: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    """Show medians with the range over rounds; the line at 1 is the dense model."""
    axes.axhline(1, color="0.4", linewidth=0.8)
    for method, points in rows.dropna(subset=["ratio"]).groupby("method", sort=False):
        points = points.sort_values("params")
        size = 100 * points["params"] / points["params_dense"]
        below = (points["ratio"] - points["ratio_least"]).fillna(0)
        above = (points["ratio_most"] - points["ratio"]).fillna(0)
        axes.errorbar(
            size,
            points["ratio"],
            yerr=[below, above],
            capsize=2,
            label=points["title"].iloc[0],
            **styles[str(method)],
        )
    axes.set_xlabel("Parameters (% of dense)")
