"""Pretraining on a text that is too short for one pass: epochs, weight decay, a long cool-down.

The pocket family's recipe. Its data are read again and again, each time in another seeded order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pydantic

from adaptprune.plugins import Parameters, seed_for
from adaptprune.recovery.method import RecoveryMethod
from adaptprune.recovery.objective import Objective
from adaptprune.recovery.plan import Draft

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from adaptprune.data.packing import Batch, Rows
    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.recipe import Preset
    from adaptprune.recovery.targets import Target


class PretrainingParameters(Parameters):
    """How a model is trained from random weights.

    Args:
        epochs: passes over the data; ``tokens`` of the preset are those of one pass.
        weight_decay: of the matrices, the embedding included; norms and biases have none. It is
            decoupled, and multiplied by the learning rate (AdamW).
        beta2: decay of AdamW's second moment; smaller than 0.999 where batches are small and few.
        warm_up: steps until the learning rate is at its peak.
        cool_down: the share of all steps over which it falls linearly to its minimum at the end.
            Until then a training does not depend on its length.
        precision: what the finished weights are rounded to, so that a file of half the size
            holds them exactly; they are float32 during training.
    """

    epochs: int = pydantic.Field(1, ge=1)
    weight_decay: float = pydantic.Field(0.1, ge=0, lt=1)
    beta2: float = pydantic.Field(0.99, gt=0, lt=1)
    warm_up: int = pydantic.Field(100, ge=1)
    cool_down: float = pydantic.Field(0.5, gt=0, le=1)
    precision: Literal["float32", "float16"] = "float16"


class Pretraining(RecoveryMethod):
    """Training from random weights in one stage of several epochs."""

    name = "pretrain"
    title = "Pretraining"
    version = 1
    citation = "-"
    parameters = PretrainingParameters

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Take the data ``epochs`` times."""
        return plan_epochs(rows, self._chosen(preset).epochs, shape)

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Return next-token training on the rows of every epoch."""
        settings = folder.settings()
        return Repeated(stage.stop // self._chosen(settings.preset).epochs, settings.seed)

    def optimizer(self, preset: Preset, stage: Stage, model: Any) -> torch.optim.Optimizer:
        """Return AdamW with decay of the matrices alone."""
        import torch

        chosen = self._chosen(preset)
        parameters = list(model.parameters())
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": chosen.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, chosen.beta2), eps=1e-8)

    def learning_rates(self, preset: Preset, stage: Stage) -> Callable[[int], float]:
        """Return warm-up, peak and a long linear cool-down."""
        peak, least = preset.peak_learning_rate, preset.minimum_learning_rate
        chosen = self._chosen(preset)
        falling = max(1, round(chosen.cool_down * stage.steps))

        def rate(step: int) -> float:
            left = min(1.0, (stage.steps - step) / falling)
            return min(peak * (step + 1) / chosen.warm_up, least + (peak - least) * left)

        return rate

    def _chosen(self, preset: Preset) -> PretrainingParameters:
        chosen: PretrainingParameters = self.parse(preset.parameters)
        return chosen


def plan_epochs(rows: int, epochs: int, shape: ModelShape | None) -> list[Draft]:
    """Take all rows in one stage, ``epochs`` times."""
    return [Draft(stop=rows * epochs, parameters=shape.compute_parameters if shape else 0)]


class Repeated(Objective):
    """Next-token training on the same rows again and again, each epoch in an order of its own.

    Args:
        rows: of an epoch, the first ones of the seeded order.
        seed: of the later epochs' orders.
    """

    def __init__(self, rows: int, seed: int):
        self.rows, self.seed = rows, seed
        self._epoch = -1
        self._order: Any = None

    def take(self, rows: Rows, start: int, stop: int) -> Batch:
        """Return the rows at some positions of all epochs' orders, one after another."""
        import numpy as np

        parts = []
        while start < stop:
            epoch, first = divmod(start, self.rows)
            last = min(self.rows, first + stop - start)
            parts.append(self._order_of(rows, epoch)[first:last])
            start += last - first
        return rows.take(np.concatenate(parts))

    def _order_of(self, rows: Rows, epoch: int) -> Any:
        """Return the indices of an epoch's rows; the first epoch's are the data's own order."""
        if epoch != self._epoch:
            import torch

            order = rows.order[: self.rows]
            if epoch:
                generator = torch.Generator().manual_seed(seed_for(f"epoch:{epoch}", self.seed))
                order = order[torch.randperm(self.rows, generator=generator).numpy()]
            self._epoch, self._order = epoch, order
        return self._order


SPEC = Pretraining()
