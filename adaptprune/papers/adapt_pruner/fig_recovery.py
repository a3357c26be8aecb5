"""Learning curves of the recoveries of Table 4: training loss over tokens and over operations.

Tokens and operations count all that a recovery takes, a teacher's training and prunings included,
so that a curve begins where its model's own training does. A loss is what the method minimises:
Minitron's is a divergence from its teacher, the others' a cross-entropy. What compares them is
the perplexity of held-out prose after the training, in the last panel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.cells import NO_RECOVERY, Cell, cell_folder, join_variant
from adaptprune.errors import UserError
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import name_lines
from adaptprune.figures.style import PAGE, new_figure, series_style, styled
from adaptprune.recovery.log import read_log
from adaptprune.results.rows import read_results

if TYPE_CHECKING:
    from adaptprune.workflow.run import Source

#: The table whose rows are shown.
TABLE = "table4"
#: A curve is a mean over this part of its steps, those before a step.
_SMOOTHED = 32
_KEYS = ["recovery", "method", "seed"]


def draw(source: Source) -> Drawing:
    """Draw the curves with the range over seeds as a band, and where each row ends."""
    results = read_results(source.folder / f"results-{TABLE}.csv")
    trained = results[(results["recovery"] != NO_RECOVERY) & (results["status"] == "ok")]
    steps = [_curve(source, _cell(line)) for line in _distinct(trained)]
    if not steps:
        raise UserError(f"figure fig_recovery: profile {source.name!r}: no row of {TABLE} is done")
    curves = pd.concat(steps, ignore_index=True)
    ends = _ends(trained)
    with styled():
        figure = new_figure(PAGE, 2.6)
        panels: Any = figure.subplots(1, 3)
        for place, (name, rows) in enumerate(curves.groupby("recovery", sort=False)):
            style = series_style(place)
            for axes, x in zip(panels, ("tokens", "flops"), strict=False):
                over_seeds = rows.groupby("step")[[x, "loss"]]
                middle, low, high = over_seeds.mean(), over_seeds.min(), over_seeds.max()
                axes.plot(middle[x], middle["loss"], label=name, **(style | {"marker": ""}))
                axes.fill_between(
                    middle[x], low["loss"], high["loss"], color=style["color"], alpha=0.2, lw=0
                )
            reached = ends[ends["recovery"] == name]
            panels[2].plot(
                reached["flops"], reached["word_perplexity"], **(style | {"linestyle": ""})
            )
        for axes, label in zip(
            panels, ("Tokens, a teacher's included", "FLOPs", "FLOPs"), strict=True
        ):
            axes.set_xlabel(label)
        panels[0].set_ylabel("Training loss (nats)")
        panels[2].set_ylabel("Word perplexity, held out")
        panels[2].set_yscale("log")
        name_lines(figure, panels[:1])
    reached = ends[[*_KEYS, "word_perplexity"]]
    return Drawing(figure, curves.merge(reached, on=_KEYS, how="left"))


def _distinct(trained: pd.DataFrame) -> list[Any]:
    """Return one line of each cell, in the order of the file."""
    columns = ["model", "method", "variant", "sparsity", "recovery", "seed"]
    return list(trained[columns].drop_duplicates().itertuples())


def _cell(line: Any) -> Cell:
    method = join_variant(line.method, line.variant)
    return Cell(line.model, method, int(line.sparsity), line.recovery, int(line.seed))


def _curve(source: Source, cell: Cell) -> pd.DataFrame:
    """Return the steps of a training, its loss as the mean over the steps just before.

    Raises:
        UserError: the log is absent or damaged.
    """
    log = cell_folder(source.runs, source.name, cell) / "log.jsonl"
    steps = pd.DataFrame(read_log(log))
    if steps.empty:
        raise UserError(f"{log}: no step of a training is logged there")
    own = steps[steps["tokens"] > 0]  # a teacher is trained before
    return pd.DataFrame(
        {
            "recovery": cell.recovery,
            "method": cell.method,
            "seed": cell.seed,
            "step": own["step"],
            "tokens": own["tokens"] + own["teacher_tokens"],
            "flops": own["flops"].astype("float64"),
            "loss": own["loss"].rolling(max(1, len(own) // _SMOOTHED), min_periods=1).mean(),
        }
    )


def _ends(trained: pd.DataFrame) -> pd.DataFrame:
    """Return the operations of each cell and the perplexity it reached on the first prose."""
    measured = trained[trained["metric"] == "word_perplexity"].drop_duplicates(_KEYS)
    columns = {"training_flops": "flops", "value": "word_perplexity"}
    ends = measured[[*_KEYS, "variant", *columns]].rename(columns=columns)
    joined = [join_variant(m, v) for m, v in zip(ends["method"], ends["variant"], strict=True)]
    return ends.assign(method=joined)[[*_KEYS, *columns.values()]]
