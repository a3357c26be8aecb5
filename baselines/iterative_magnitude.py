"""Iterative magnitude pruning with distillation (Han et al. 2015; Frankle and Carbin 2019).

Prune a part, train, prune the next part: equal shares of the groups, equally many steps each, and
the last share is trained too. AST's Table 1 does not state the number of rounds (four is ours) nor
whether weights were rewound; here they are not, for the model is pretrained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pydantic

from adaptprune.errors import UserError
from adaptprune.recovery.sparse import SparseTraining, SparseTrainingParameters

if TYPE_CHECKING:
    import torch

    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.objective import Objective
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.recipe import Preset


class IterativeMagnitudeParameters(SparseTrainingParameters):
    """Parameters of iterative magnitude pruning.

    Args:
        rounds: of pruning and training (ours).
    """

    rounds: int = pydantic.Field(4, ge=1)


class IterativeMagnitude(SparseTraining):
    """Equal shares of the groups lose their smallest weights, with training in between."""

    name = "iterative-magnitude"
    title = "Iterative magnitude"
    version = 1
    citation = "Han et al. 2015, arXiv 1506.02626; Frankle and Carbin 2019, arXiv 1803.03635"
    parameters = IterativeMagnitudeParameters

    def check_steps(self, preset: Preset, steps: int) -> None:
        """Refuse more rounds than steps."""
        rounds = self.parse(preset.parameters).rounds
        if rounds > steps:
            raise UserError(f"rounds {rounds:,}: more than the training's {steps:,} steps")

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Prune at the beginning of every round."""
        from baselines.magnitude_schedule import MagnitudeSchedule

        chosen: IterativeMagnitudeParameters = self.parse(folder.settings().preset.parameters)
        steps, rounds = stage.trained_steps, chosen.rounds
        return MagnitudeSchedule(
            folder, stage, device, chosen, lambda step: (1 + step * rounds // steps) / rounds
        )


SPEC = IterativeMagnitude()
