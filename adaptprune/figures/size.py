"""Accuracy and perplexity of all methods against the size that they really reach.

Accuracies are means over seeds, plus or minus their standard deviation. Perplexities, on a
logarithmic axis, are geometric means, times or divided by the geometric standard deviation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from adaptprune.cells import DENSE
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import FRONT, name_lines
from adaptprune.figures.style import (
    PAGE,
    draw_chance,
    method_styles,
    new_figure,
    styled,
)
from adaptprune.pruning.registry import method_title
from adaptprune.results.rows import read_results
from adaptprune.results.stats import summarize
from adaptprune.tables.arrange import build_grid
from adaptprune.tables.declared import Row
from adaptprune.tables.measures import OF_CELL, chance_of, columns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from matplotlib.axes import Axes

    from adaptprune.workflow.run import Source

#: Said of a panel that shows points over fewer seeds than the profile has.
FEWER = ": points of fewer seeds off the front"
#: Marks a method whose zeros are stored: it is as large as the dense model.
MASKED = ", masked"


class Center(NamedTuple):
    """A measure over seeds: which mean that is, the mean, and one standard deviation to each side.

    One seed has no deviation: both ends are NaN then.
    """

    statistic: str
    value: float
    low: float
    high: float


def center_of(values: Collection[float], kind: str) -> Center:
    """Return what is shown of one value per seed.

    Args:
        values: at least one; positive where they are perplexities.
        kind: "accuracy" or "perplexity".
    """
    is_geometric = kind == "perplexity"
    summary = summarize([math.log(value) if is_geometric else value for value in values])
    spread = math.nan if summary.std is None else summary.std
    interval = (summary.mean, summary.mean - spread, summary.mean + spread)
    if is_geometric:
        return Center("geometric mean", *(math.exp(end) for end in interval))
    return Center("mean", *interval)


def draw(source: Source) -> Drawing:
    """Draw one line of panels per model: average accuracy, and perplexity where it is measured."""
    points = quality_of(source)
    models = list(dict.fromkeys(points["model"]))
    measures = list(dict.fromkeys(points["measure"]))
    styles = method_styles(source.profile.methods)
    with styled():
        figure = new_figure(PAGE, 0.5 + 2.4 * len(models))
        panels: Any = figure.subplots(len(models), len(measures), squeeze=False)
        for line, model in zip(panels, models, strict=True):
            for axes, measure in zip(line, measures, strict=True):
                chosen = (points["model"] == model) & (points["measure"] == measure)
                _draw_panel(axes, points[chosen], styles)
                axes.set_title(model + ("" if points[chosen]["all_seeds"].all() else FEWER))
        name_lines(figure, panels.flat)
    return Drawing(figure, points)


def quality_of(source: Source) -> pd.DataFrame:
    """Return one row per model, method, sparsity and measure, as it is shown.

    Raises:
        UserError: there is none, or the results cannot be used.
    """
    profile = source.profile
    suite = load_suite(profile.evaluation.suite)
    columns, chance = columns_of(suite), chance_of(suite)
    lines = [Row(method=method, title=method_title(method)) for method in profile.methods]
    grid = build_grid(
        read_results(source.results),
        [*columns, OF_CELL["nonzeros"]],
        lines,
        models=profile.models,
        sparsities=profile.all_sparsities,
        seeds=profile.seeds,
        has=profile.has,
    )
    shown = [column for column in columns if column.key == "average" or column.kind == "perplexity"]
    points = pd.DataFrame(
        {
            "model": row.model,
            "method": row.method,
            "title": row.title,
            "sparsity": row.sparsity,
            "measure": column.key,
            "label": "Average accuracy (%)" if column.kind == "accuracy" else column.header,
            "better": "higher" if column.kind == "accuracy" else "lower",
            "chance": chance if column.key == "average" else None,
            "params": row.entries["params"].value,
            "nonzeros": row.entries["nonzeros"].value,
            **center_of(row.entries[column.key].by_seed.values(), column.kind)._asdict(),
            "n_seeds": row.entries[column.key].n_seeds,
            "seeds": " ".join(map(str, row.entries[column.key].by_seed)),
        }
        for row in grid.rows
        for column in shown
        if row.entries["params"].value is not None and row.entries[column.key].value is not None
    )
    if points.empty:
        raise UserError(f"figure size: profile {source.name!r} holds nothing that it shows")
    # The dense model depends on no seed.
    whole = (points["method"] == DENSE) | (points["n_seeds"] == len(profile.seeds))
    return with_front(points.assign(all_seeds=whole), ["model", "measure"], on_front)


def with_front(
    points: pd.DataFrame, panel: list[str], rule: Callable[[pd.DataFrame], pd.Series]
) -> pd.DataFrame:
    """Return points with the column ``on_front``: of each panel, among those over all seeds.

    Args:
        points: as they are shown, with the column ``all_seeds``.
        panel: the columns that tell a panel's points.
        rule: says of points which are on the front.
    """
    fronts = [rule(rows) for _, rows in points[points["all_seeds"]].groupby(panel)]
    found = pd.concat(fronts) if fronts else pd.Series(dtype="bool")
    return points.assign(on_front=found.reindex(points.index, fill_value=False).astype("bool"))


def on_front(points: pd.DataFrame) -> pd.Series:
    """Say of each point whether none that is smaller or as small is better (Pareto).

    Args:
        points: ``nonzeros``, ``value`` and ``better`` ("higher" or "lower") of one measure.
    """
    quality = points["value"].where(points["better"] == "higher", -points["value"])
    return pd.Series(
        [
            not ((points["nonzeros"] <= size) & (quality > value)).any()
            and not ((points["nonzeros"] < size) & (quality >= value)).any()
            for size, value in zip(points["nonzeros"], quality, strict=True)
        ],
        index=points.index,
    )


def chance_shown(points: pd.DataFrame) -> float | None:
    """Return what guessing gives in a panel, None where it is not known, or no accuracy."""
    known = points["chance"].dropna()
    return float(known.iloc[0]) if len(known) else None


def _draw_panel(axes: Axes, points: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    any_masked = (points["nonzeros"] < points["params"]).any()
    front = points[points["on_front"]].sort_values("nonzeros")
    if len(front):
        axes.step(
            front["nonzeros"] / 1e6,
            front["value"],
            where="post",
            color="0.75",
            linewidth=3,
            zorder=1,
            gid=FRONT,
            label="Pareto front",
        )
    for method, rows in points.groupby("method", sort=False):
        ordered = rows.sort_values("nonzeros")
        masked = (ordered["nonzeros"] < ordered["params"]).any()
        below = (ordered["value"] - ordered["low"]).fillna(0)
        above = (ordered["high"] - ordered["value"]).fillna(0)
        axes.errorbar(
            ordered["nonzeros"] / 1e6,
            ordered["value"],
            yerr=[below, above],
            capsize=2,
            label=f"{rows['title'].iloc[0]}{MASKED if masked else ''}",
            **styles[str(method)],
        )
    draw_chance(axes, chance_shown(points))
    if (points["better"] == "lower").all():
        axes.set_yscale("log")
    axes.set_xlabel("Parameters that no mask set to zero (M)" if any_masked else "Parameters (M)")
    axes.set_ylabel(points["label"].iloc[0] if len(points) else "")
