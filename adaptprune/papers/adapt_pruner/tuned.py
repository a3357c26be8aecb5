"""Prune once with Adapt-Pruner, then train low-rank adapters: the LoRA row of Table 4.

The pruning is that of Adapt-Accel's only stage, the training that of ``recovery.lora``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pydantic

from adaptprune.papers.adapt_pruner.accel import AdaptAccel, AdaptAccelParameters
from adaptprune.recovery.lora import Lora, LoraParameters

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.plan import Draft
    from adaptprune.recovery.recipe import Preset
    from adaptprune.recovery.targets import Target


class PruneThenLoraParameters(LoraParameters, AdaptAccelParameters):
    """Parameters of both; there is one stage, since merged adapters are not pruned again."""

    interleaves: int = pydantic.Field(1, ge=1, le=1)


class PruneThenLora(Lora, AdaptAccel):
    """One pruning by Adapt-Pruner, then low-rank adapters, merged."""

    name = "prune-then-lora"
    title = "Prune, then LoRA"
    version = 1
    parameters = PruneThenLoraParameters

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Prune to the target, then take the data ``epochs`` times."""
        (pruned,) = AdaptAccel.plan(self, preset, rows, shape, target)
        (trained,) = Lora.plan(self, preset, rows, shape, target)
        return [dataclasses.replace(pruned, stop=trained.stop)]


SPEC = PruneThenLora()
