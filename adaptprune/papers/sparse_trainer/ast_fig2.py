"""Fig. 2 of AST, its lower half: the loss of pretraining, and of retraining a pruned model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.cells import cell_folder
from adaptprune.errors import UserError
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import name_lines
from adaptprune.figures.style import COLUMN, new_figure, series_style, styled
from adaptprune.files.atomic import read_sealed_json, sha256_file
from adaptprune.papers.sparse_trainer.made_of import retraining_cells
from adaptprune.recovery.log import read_log

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source


def draw(source: Source) -> Drawing:
    """Draw the cross-entropy of both by trained tokens, the mean over seeds."""
    data = pd.concat(
        [
            losses_of(cell_folder(source.runs, source.name, cell)).assign(
                training=training, seed=cell.seed
            )
            for training, cells in retraining_cells(source.profile).items()
            for cell in cells
        ]
    )
    with styled():
        figure = new_figure(COLUMN, 2.4)
        axes = figure.subplots()
        for place, (training, rows) in enumerate(data.groupby("training", sort=False)):
            means = rows.groupby("tokens")["loss"].mean()
            style = series_style(place) | {"marker": ""}
            axes.plot(means.index / 1e3, means, label=str(training), **style)
        axes.set_xlabel("Training tokens (thousands)")
        axes.set_ylabel("Training loss (nats)")
        name_lines(figure, [axes])
    return Drawing(figure, data[["training", "seed", "step", "tokens", "loss"]])


def losses_of(cell: Path) -> pd.DataFrame:
    """Return step, tokens and loss of every step of a training.

    Raises:
        UserError: the log is empty, or is not what the recovery wrote.
    """
    log = cell / "log.jsonl"
    rows = read_log(log)
    if not rows:
        raise UserError(f"{log}: no step of a training is logged there")
    record = read_sealed_json(cell / "recovery.json")
    if record["provenance"].get("log_sha256") != sha256_file(log):
        raise UserError(f"{log}: altered since it was written (its sha256 does not fit)")
    return pd.DataFrame(rows)[["step", "tokens", "loss"]]
