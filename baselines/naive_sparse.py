"""Naive sparse training: a fixed magnitude mask and the task's loss (AST, Figure 1, left)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.recovery.sparse import SparseTraining, SparseTrainingParameters

if TYPE_CHECKING:
    import torch

    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.objective import Objective
    from adaptprune.recovery.plan import Stage


class NaiveSparseParameters(SparseTrainingParameters):
    """Parameters of naive sparse training: no teacher, unless ``alpha`` asks for one."""

    alpha: float = 0.0


class NaiveSparse(SparseTraining):
    """The weights that one-shot magnitude pruning keeps are trained on."""

    name = "naive-sparse"
    title = "Naive sparse training"
    version = 1
    citation = "AST, arXiv 2407.20584, section 3.1"
    parameters = NaiveSparseParameters

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Train the kept weights alone."""
        from baselines.magnitude_schedule import MagnitudeSchedule

        chosen = self.parse(folder.settings().preset.parameters)
        return MagnitudeSchedule(folder, stage, device, chosen, lambda step: 1.0)


SPEC = NaiveSparse()
