"""What pruning costs in time, measured and as the paper claims it.

Paper, section 4 ("Computation Cost"): "An 8B-sized model can be pruned adaptively in 2 to 5 minutes
on a single NVIDIA A40 GPU, and in 15 to 30 minutes on an Intel(R) Xeon(R) Gold 6346 CPU." Sparsity
and number of steps are not stated. Time is set in relation to 10⁹ parameters of the dense model and
tokens of the calibration set, in which a gradient pass is nearly linear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from adaptprune.cells import join_variant
from adaptprune.models.catalogue import shape_of
from adaptprune.pruning.registry import method_title
from adaptprune.results.matrix import said_of_stored
from adaptprune.results.rows import read_provenance, read_results
from adaptprune.tables.grid import Grid, TableRow, entry_of
from adaptprune.tables.measures import Measure
from adaptprune.tables.panels import MISSING, Heading, Panel, Text, lay_out, panels_of
from adaptprune.tables.render import write_panels

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source

_RELATIVE = ["ms per billion parameters and token", "8B, minutes"]
_COLUMNS = [
    Measure("score_s", "Scores s", "seconds", ""),
    Measure("cut_s", "Cut s", "seconds", ""),
    Measure("total_s", "Together s", "seconds", ""),
    *(Measure(header, header, "digits", "") for header in _RELATIVE),
]
_KEY = ["model", "method", "variant", "sparsity", "recovery", "seed"]

#: The model of the claim, and its calibration set: "512 sequences with a maximum length of 64
#: tokens" (appendix A).
CLAIMED_MODEL, CLAIMED_TOKENS = "meta-llama/Llama-3.1-8B", 512 * 64


class Claim(NamedTuple):
    """A claimed range of seconds for one pruned model."""

    device: str
    least: float
    most: float


CLAIMS = (
    Claim("NVIDIA A40", 2 * 60, 5 * 60),
    Claim("Intel Xeon Gold 6346", 15 * 60, 30 * 60),
)


def measure_costs(source: Source) -> pd.DataFrame:
    """Return one row per model, method and sparsity.

    Columns: model, method, title, sparsity, cells, score_s (mean seconds of the scores that all
    sparsities share, which for Adapt-Pruner is the walk to the largest one), cut_s (mean seconds of
    what is done per cell), total_s, params_dense, tokens (of the calibration set; missing for
    methods that need none), relative (total seconds per 10⁹ parameters and token).

    Raises:
        UserError: results or provenance cannot be read.
    """
    cells = read_results(source.results).drop_duplicates(_KEY)
    stages = read_provenance(source.provenance)
    stages = stages[stages["stage"] == "prune"]
    cells = cells[(cells["status"] == "ok") & (cells["method"] != "dense")]
    merged = cells[[*_KEY, "params_dense", "calibration"]].merge(
        stages[[*_KEY, "wall_s", "score_wall_s"]], on=_KEY, validate="one_to_one"
    )
    rows = []
    for (model, method, variant, sparsity), group in merged.groupby(_KEY[:4], sort=False):
        name = join_variant(str(method), variant)
        score, cut = group["score_wall_s"].fillna(0).mean(), group["wall_s"].mean()
        params = int(group["params_dense"].iloc[0])
        tokens = _tokens(group["calibration"].iloc[0])
        total = score + cut
        rows.append(
            {
                "model": model,
                "method": name,
                "title": method_title(name),
                "sparsity": sparsity,
                "cells": len(group),
                "score_s": score,
                "cut_s": cut,
                "total_s": total,
                "params_dense": params,
                "tokens": tokens,
                "relative": total / (params / 1e9) / tokens if tokens else None,
            }
        )
    return pd.DataFrame(rows)


def _tokens(calibration: str) -> int | None:
    """Return the tokens of a calibration set, written as ``NAME SEQUENCESxLENGTH``."""
    if not calibration:
        return None
    sequences, length = calibration.rsplit(" ", 1)[1].split("x")
    return int(sequences) * int(length)


def render_costs(source: Source, stem: Path) -> None:
    """Render the table to ``<stem>.tex``, ``<stem>.csv`` and ``<stem>.md``.

    Raises:
        UserError: see ``measure_costs``.
    """
    costs = measure_costs(source)
    grid = Grid(_COLUMNS)
    for _, cost in costs.iterrows():
        relative = None if pd.isna(cost["relative"]) else cost["relative"]
        seconds = [cost[key] for key in ("score_s", "cut_s", "total_s")]
        numbers = zip(_COLUMNS, [*seconds, *_set_in_relation(relative)], strict=True)
        entries = {column.key: entry_of(number) for column, number in numbers}
        place = (cost["model"], cost["sparsity"], cost["method"], cost["title"])
        grid.rows.append(TableRow(*place, "", entries, cost["cells"], cost["cells"]))
    remark = f" {said_of_stored(source.stored)}" if source.stored else ""
    heading = Heading(
        "cost",
        f"What pruning costs in time, measured and as the paper claims.{remark}",
        "tab:cost",
        source.name,
        len(costs),
    )
    panels = [*panels_of(grid), _claimed_panel()]
    write_panels(stem, panels, _notes(source, costs), heading, costs)


def _set_in_relation(relative: float | None) -> list[float | None]:
    """Return ms per 10⁹ parameters and token, and the minutes of the model of the claim."""
    if relative is None:
        return [None, None]
    on_claimed = relative * shape_of(CLAIMED_MODEL).parameters / 1e9 * CLAIMED_TOKENS
    return [relative / 1e-3, on_claimed / 60]


def _claimed_panel() -> Panel:
    """Return the paper's claim in the same unit."""
    unit = shape_of(CLAIMED_MODEL).parameters / 1e9 * CLAIMED_TOKENS
    lines = []
    for claim in CLAIMS:
        relative = f"{1e3 * claim.least / unit:.3g} to {1e3 * claim.most / unit:.3g}"
        minutes = f"{claim.least / 60:.0f} to {claim.most / 60:.0f}"
        texts = [Text(relative), Text(minutes)]
        label = f"Adapt-Pruner, {claim.device}"
        lines.append((CLAIMED_MODEL, (MISSING, label), texts))
    return Panel("As the paper claims (Computation Cost)", _RELATIVE, lay_out(lines))


def _notes(source: Source, costs: pd.DataFrame) -> list[str]:
    profile = source.profile
    notes = [
        (
            f"Measured with {profile.dtype} on {profile.device}, {profile.threads} CPU thread(s), "
            "jobs side by side; means over seeds, loading the model included. Scores serve all "
            "sparsities of a method; for Adapt-Pruner they are the walk to the largest one."
        ),
        (
            "8B: what the measured rate makes of LLaMA-3.1-8B and 512 sequences of 64 tokens on "
            "this hardware, if time is linear in parameters and calibration tokens. SliceGPT's "
            "is not (its eigenvectors grow with the cube of the width)."
        ),
        "The paper states neither sparsity nor number of steps of its claim.",
    ]
    if costs.empty:
        notes.append("No cell of this profile was pruned.")
    return notes
