"""What gradual and iterative magnitude pruning share: more and more groups follow the pattern.

AST's Table 1 has both "with distillation" and cites the works they come from, without schedules.
These choices are ours: N:M is approached by the share of groups that follow it, and in every
matrix those groups go first that lose the least magnitude. A pruned weight is zero, gets no
gradient, and stays pruned; nothing is rewound; one learning-rate schedule runs through all steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from adaptprune.pruning import choice
from adaptprune.recovery.sparse_objective import SparseObjective

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.sparse import SparseTrainingParameters


class MagnitudeSchedule(SparseObjective):
    """Sparse training whose masks grow with a share of groups; else as ``SparseObjective``.

    Args:
        folder: the run folder.
        stage: that is trained.
        device: where the process computes.
        parameters: of the method.
        share: of the groups that are pruned in a step, counted from 0; it never falls.
    """

    through = False

    def __init__(
        self,
        folder: RunFolder,
        stage: Stage,
        device: torch.device,
        parameters: SparseTrainingParameters,
        share: Callable[[int], float],
    ):
        super().__init__(folder, stage, device, parameters)
        self.share = share

    def updates_before(self, step: int) -> bool:
        """Say whether the share rises with this step."""
        return step > 0 and self.share(step) > self.share(step - 1)

    def choose(self, name: str, matrix: torch.Tensor) -> torch.Tensor:
        """Prune the share of groups, or of each row, that loses the least."""
        share, metric = self.share(self.step), matrix.float().abs()
        if not self.pattern:
            count = int(share * choice.share(matrix.shape[1], self.parameters.sparsity))
            order = metric.sort(dim=1, stable=True).indices[:, :count]
            return torch.ones_like(metric, dtype=torch.bool).scatter_(1, order, False)
        pruned = ~self.smallest_pruned(metric)
        lost = (metric * pruned).view(-1, self.pattern.group).sum(1)
        first = lost.sort(stable=True).indices[: round(share * len(lost))]
        chosen = torch.zeros_like(lost, dtype=torch.bool)
        chosen[first] = True
        return ~(pruned.view(-1, self.pattern.group) & chosen[:, None]).view_as(metric)
