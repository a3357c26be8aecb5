"""How long a comparison will take, said before it begins, by what the stored cells took."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptprune.cells import split_variant
from adaptprune.errors import UserError
from adaptprune.results.matrix import provenance_file
from adaptprune.results.notrun import expected_minutes
from adaptprune.results.rows import read_provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from adaptprune.cells import Cell


def _scoring_minutes(provenance: pd.DataFrame, method: str) -> float:
    """Return the minutes of scores that serve all sparsities of a seed: of the method, or all."""
    pruned = provenance[(provenance["stage"] == "prune") & (provenance["sparsity"] > 0)]
    own = pruned[pruned["method"] == method]
    seconds = (pruned if own.empty else own)["score_wall_s"].fillna(0.0)
    return 0.0 if seconds.empty else float(seconds.mean()) / 60


def say_beforehand(cells: Sequence[Cell], baseline: Path, at_once: int) -> str:
    """Return one line on the cells that are still to be computed, and how long they will take.

    Args:
        cells: of the new method; one at least.
        baseline: the stored results that they are to be compared with.
        at_once: how many are computed at the same time.
    """
    label, (method, _) = cells[0].method, split_variant(cells[0].method)
    count = f"compare: {len(cells)} cell{'s' if len(cells) > 1 else ''} of {label} to compute"
    try:
        provenance = read_provenance(provenance_file(baseline))
        each = expected_minutes(provenance)(method)
    except UserError as error:
        return f"{count}; how long that takes is not known ({error})"
    scoring = _scoring_minutes(provenance, method)
    scored = len({(cell.model, cell.recovery, cell.seed) for cell in cells})
    minutes = (len(cells) * each + scored * scoring) / min(at_once, len(cells))
    return (
        f"{count}, about {math.ceil(minutes)} min with {at_once} at once; the stored ones took a "
        f"core {each:.1f} min each, and {scoring:.1f} min for the scores of a seed"
    )
