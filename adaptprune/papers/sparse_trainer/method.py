"""AST: masks and weights are learnt together (arXiv 2407.20584, Algorithm 1).

Every Δt steps the masks follow the magnitudes of the weights, masked weights decay by annealing
SR-STE, and the dense model teaches the sparse one. AST-Boosted trains SLoRB's product beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.papers.sparse_trainer.parameters import SparseTrainerParameters
from adaptprune.recovery.sparse import SparseTraining

if TYPE_CHECKING:
    import torch

    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.objective import Objective
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.recipe import Preset


class SparseTrainer(SparseTraining):
    """Adaptive masks, annealed decay, distillation, and SLoRB where asked for."""

    name = "ast"
    title = "AST"
    version = 1
    citation = "AST, arXiv 2407.20584"
    parameters = SparseTrainerParameters

    def check_steps(self, preset: Preset, steps: int) -> None:
        """Refuse a T0 beyond the end."""
        increase = self.parse(preset.parameters).increase_steps
        if increase is not None and increase > steps:
            raise UserError(
                f"increase_steps {increase:,} (T0) lies beyond the end of the training, which has "
                f"{steps:,} steps"
            )

    def check_layers(self, chosen: Any, shapes: dict[str, tuple[int, int]]) -> None:
        """Refuse a k that does not divide a row."""
        from adaptprune.papers.sparse_trainer.slorb import check_group

        if chosen.slorb_k:
            check_group(chosen.slorb_k, shapes)

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Learn masks, weights and products from the teacher."""
        from adaptprune.papers.sparse_trainer.objective import AdaptiveObjective

        parameters = self.parse(folder.settings().preset.parameters)
        return AdaptiveObjective(folder, stage, device, parameters)

    def optimizer(self, preset: Preset, stage: Stage, model: Any) -> torch.optim.Optimizer:
        """Return AdamW with the decay of masked weights."""
        from adaptprune.papers.sparse_trainer.optimizer import SparseAdamW
        from adaptprune.recovery.straight_through import parameter_masks

        chosen: SparseTrainerParameters = self.parse(preset.parameters)
        trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
        return SparseAdamW(
            trained,
            parameter_masks(model),
            chosen.decay,
            chosen.factor(stage.steps).at,
            betas=(chosen.beta1, chosen.beta2),
            weight_decay=chosen.weight_decay,
        )


SPEC = SparseTrainer()
