"""What a comparison shows at a place: of every method the seeds that are compared there, no others.

Baselines are stored with all their seeds; a new method may have run at one. A mean over three seeds
beside a single one is another quantity, so whatever stands beside a difference is over its seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.cells import DENSE
from adaptprune.comparison.paired import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from adaptprune.comparison.paired import Pairing

#: By place, the seeds at which anything is compared there.
Seeds = dict[Place, list[int]]


def compared_seeds(pairings: Iterable[Pairing]) -> Seeds:
    """Return the seeds at which anything is compared, by place, in the order of the pairings."""
    found: dict[Place, set[int]] = {}
    for pairing in pairings:
        if pairing.seeds:
            found.setdefault(pairing.place, set()).update(pairing.seeds)
    return {place: sorted(seeds) for place, seeds in found.items()}


def only_compared(rows: pd.DataFrame, seeds: Seeds) -> pd.DataFrame:
    """Return the rows (results or provenance) of cells at compared seeds, and those of dense."""
    cells = zip(
        *(rows[key] for key in ("model", "recovery", "sparsity", "method", "seed")), strict=True
    )
    kept = [
        method == DENSE or int(seed) in seeds.get(Place(model, recovery, int(sparsity)), ())
        for model, recovery, sparsity, method, seed in cells
    ]
    return rows[kept].reset_index(drop=True)


def describe_seeds(seeds: Seeds) -> str:
    """Say over which seeds scores are: ``seeds 0, 1``, or by place where these differ."""
    places: dict[str, list[str]] = {}
    models = {place.model for place in seeds}
    for place, found in seeds.items():
        listed = ", ".join(map(str, found))
        where = f"{place.sparsity} %" if len(models) == 1 else f"{place.model} {place.sparsity} %"
        places.setdefault(f"seed{'s' if len(found) > 1 else ''} {listed}", []).append(where)
    if len(places) == 1:
        return next(iter(places))
    return "; ".join(f"{said} at {', '.join(where)}" for said, where in places.items())
