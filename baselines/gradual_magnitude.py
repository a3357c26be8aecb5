"""Gradual magnitude pruning with distillation (Zhu and Gupta 2018; Kurtic and Alistarh 2022).

The share of pruned groups follows the cubic schedule, 1 − (1 − t)³ with t from 0 at the first
step to 1 at ``end`` of the steps; what is left trains the finished masks. AST's Table 1 does not
state where its baseline ends; half of the steps is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydantic

from adaptprune.recovery.sparse import SparseTraining, SparseTrainingParameters

if TYPE_CHECKING:
    import torch

    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.objective import Objective
    from adaptprune.recovery.plan import Stage


class GradualMagnitudeParameters(SparseTrainingParameters):
    """Parameters of gradual magnitude pruning.

    Args:
        end: share of the steps at which all groups are pruned (ours).
        update_every: steps between two prunings (AST's Δt).
    """

    end: float = pydantic.Field(0.5, gt=0, lt=1)
    update_every: int = pydantic.Field(10, ge=1)


def cubic_share(step: int, steps: int, end: float, every: int) -> float:
    """Return the share of groups that are pruned in a step, counted from 0.

    Args:
        step: whose share it is.
        steps: of the training.
        end: see ``GradualMagnitudeParameters``.
        every: steps between two prunings.
    """
    last = max(1, int(end * steps))
    if step >= last:
        return 1.0
    return 1 - (1 - step // every * every / last) ** 3


class GradualMagnitude(SparseTraining):
    """A growing share of groups loses its smallest weights."""

    name = "gradual-magnitude"
    title = "Gradual magnitude"
    version = 1
    citation = "Zhu and Gupta 2018, arXiv 1710.01878; Kurtic and Alistarh 2022, arXiv 2210.06384"
    parameters = GradualMagnitudeParameters

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Prune by the cubic schedule."""
        from baselines.magnitude_schedule import MagnitudeSchedule

        chosen: GradualMagnitudeParameters = self.parse(folder.settings().preset.parameters)
        steps = stage.trained_steps
        return MagnitudeSchedule(
            folder,
            stage,
            device,
            chosen,
            lambda step: cubic_share(step, steps, chosen.end, chosen.update_every),
        )


SPEC = GradualMagnitude()
