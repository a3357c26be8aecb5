"""Time and memory of pruned checkpoints against their size, as ratios to the dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.figures.catalog import Drawing, Source
from adaptprune.figures.style import PAGE, new_figure, series_style, styled
from adaptprune.speedtable import read_measures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_TITLES = {"prefill": "Prefill", "decode": "Decoding", "memory": "Peak memory"}


def draw(source: Source) -> Drawing:
    """Draw one line of panels per model: prefill, decoding, memory."""
    measures = read_measures(source)
    models = list(dict.fromkeys(measures["model"])) or [""]
    with styled():
        figure = new_figure(PAGE, 0.5 + 2.2 * len(models))
        panels: Any = figure.subplots(len(models), len(_TITLES), squeeze=False)
        for line, model in zip(panels, models, strict=True):
            for axes, (measure, title) in zip(line, _TITLES.items(), strict=True):
                chosen = (measures["model"] == model) & (measures["measure"] == measure)
                _draw_panel(axes, measures[chosen])
                axes.set_title(f"{title}, {model}")
            line[0].set_ylabel("Tokens/s, dense = 1")
            line[2].set_ylabel("Memory, dense = 1")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return Drawing(figure, measures)


def _draw_panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Show medians with the range over rounds; the line at 1 is the dense model."""
    axes.axhline(1, color="0.4", linewidth=0.8)
    for place, (_, points) in enumerate(rows.groupby("method", sort=False)):
        points = points.dropna(subset=["ratio"]).sort_values("params")
        size = 100 * points["params"] / points["params_dense"]
        below = (points["ratio"] - points["ratio_least"]).fillna(0)
        above = (points["ratio_most"] - points["ratio"]).fillna(0)
        axes.errorbar(
            size,
            points["ratio"],
            yerr=[below, above],
            capsize=2,
            label=points["title"].iloc[0] if len(points) else None,
            **series_style(place),
        )
    axes.set_xlabel("Parameters (% of dense)")
