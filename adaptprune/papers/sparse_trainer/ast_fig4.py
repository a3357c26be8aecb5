"""Fig. 4 of AST: how much of the masks changes, under an annealed and under a static decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.cells import cell_folder
from adaptprune.errors import UserError
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import name_lines
from adaptprune.figures.style import COLUMN, new_figure, series_style, styled
from adaptprune.files.atomic import read_sealed_json, sha256_file
from adaptprune.papers.sparse_trainer.made_of import scheduled_cells
from adaptprune.recovery.log import read_log

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source

_PANELS = (("flip_rate", "Flip rate (%)"), ("initial_flip_rate", "Initial flip rate (%)"))
_COLUMNS = ["annealing", "seed", "step", "flip_rate", "initial_flip_rate"]


def draw(source: Source) -> Drawing:
    """Draw both rates by the step, the mean over seeds."""
    data = pd.concat(
        [
            flips_of(cell_folder(source.runs, source.name, cell)).assign(
                annealing=annealing, seed=cell.seed
            )
            for annealing, cells in scheduled_cells(source.profile).items()
            for cell in cells
        ]
    )[_COLUMNS]
    with styled():
        figure = new_figure(COLUMN, 3.4)
        panels: Any = figure.subplots(len(_PANELS), 1, sharex=True)
        for axes, (column, label) in zip(panels, _PANELS, strict=True):
            for place, (annealing, rows) in enumerate(data.groupby("annealing")):
                means = 100 * rows.groupby("step")[column].mean()
                style = series_style(place) | {"marker": ""}
                axes.plot(means.index, means, label=f"{annealing} decay", **style)
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
        panels[-1].set_xlabel("Step")
        name_lines(figure, panels)
    return Drawing(figure, data)


def flips_of(cell: Path) -> pd.DataFrame:
    """Return step, flip rate and initial flip rate of every choice of the masks.

    Raises:
        UserError: the log holds none, or is not what the recovery wrote.
    """
    log = cell / "log.jsonl"
    rows = [row for row in read_log(log) if "flip_rate" in row]
    if not rows:
        raise UserError(f"{log}: no change of masks is logged there")
    record = read_sealed_json(cell / "recovery.json")
    if record["provenance"].get("log_sha256") != sha256_file(log):
        raise UserError(f"{log}: altered since it was written (its sha256 does not fit)")
    return pd.DataFrame(rows)[["step", "flip_rate", "initial_flip_rate"]]
