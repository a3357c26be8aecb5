"""Fig. 3: what Adapt-Accel did on a real run: sizes, shares of the data, learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.cells import cell_folder
from adaptprune.errors import UserError
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.style import COLUMN, new_figure, series_style, styled
from adaptprune.files.atomic import read_sealed_json, sha256_file
from adaptprune.recovery.log import read_log
from adaptprune.tables.select import run_in_stages

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source

#: Column of the data, what stands at its axis, and the unit that it is divided by.
_PANELS = (
    ("parameters", "Parameters (M)", 1e6),
    ("stage_share", "Share of the data (%)", 1.0),
    ("learning_rate", "Learning rate", 1.0),
)


def draw(source: Source) -> Drawing:
    """Draw the run of the profile's first recovery that prunes and trains in turns."""
    cell = run_in_stages(source.profile)
    steps = steps_of(cell_folder(source.runs, source.name, cell))
    tokens = steps["tokens"] / 1e6
    with styled():
        figure = new_figure(COLUMN, 4.4)
        panels: Any = figure.subplots(len(_PANELS), 1, sharex=True)
        for axes, (column, label, unit) in zip(panels, _PANELS, strict=True):
            axes.plot(tokens, steps[column] / unit, **(series_style(0) | {"marker": ""}))
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            axes.locator_params(nbins=5)
        panels[-1].set_xlabel("Training tokens (M)")
        figure.suptitle(f"{cell.recovery} from {cell.model}, seed {cell.seed}")
    return Drawing(figure, steps)


def steps_of(cell: Path) -> pd.DataFrame:
    """Return what a recovery did: one row per optimiser step.

    ``stage_share`` is the percentage of all trained tokens that fall to the step's stage.

    Raises:
        UserError: the log is absent, empty, or not what the recovery wrote.
    """
    log = cell / "log.jsonl"
    rows = read_log(log)
    if not rows:
        raise UserError(f"{log}: no step of a training is logged there")
    record = read_sealed_json(cell / "recovery.json")
    if record["provenance"].get("log_sha256") != sha256_file(log):
        raise UserError(f"{log}: altered since it was written (its sha256 does not fit)")
    steps = pd.DataFrame(rows)
    # Tokens are counted from the first step on; what a step adds belongs to its stage.
    added = steps["tokens"].diff().fillna(steps["tokens"])
    share = 100 * added.groupby(steps["stage"]).transform("sum") / added.sum()
    columns = ["step", "stage", "tokens", "parameters", "learning_rate", "loss"]
    return steps[columns].assign(stage_share=share)
