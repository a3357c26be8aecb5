"""Sparse training: what the methods share that train a model under an N:M pattern.

A method says when masks change and by what; the student may learn from a teacher, the dense model
unless another is named. Torch-free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pydantic

from adaptprune.errors import UserError
from adaptprune.plugins import Parameters
from adaptprune.pruning.patterns import Pattern, PatternText
from adaptprune.recovery.distillation import DistillationLoss  # noqa: TC001 - read at runtime
from adaptprune.recovery.method import RecoveryMethod
from adaptprune.recovery.plan import Draft
from adaptprune.recovery.schedules import WarmupCosine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.recipe import Preset
    from adaptprune.recovery.targets import Target


class SparseTrainingParameters(Parameters):
    """What all methods of sparse training know.

    Args:
        pattern: what stays of the linear layers of the decoder blocks, ``N:M`` or
            ``unstructured`` (row by row).
        sparsity: percent, for an unstructured pattern.
        ties: ``corrected`` prunes the first of equal values, on every device; ``official`` leaves
            them to torch's topk.
        alpha: share of distillation in the loss (AST, Eq. 4), L = α · L_distil + (1 − α) · L_task.
            Its Table 14 means the share of the task by the same letter. 0 needs no teacher.
        loss_scale: the whole loss is multiplied by it before gradients are clipped (1.5 is the
            released LLaMA-2 code's task + 0.5 · KL, with α = 1/3).
        distillation: what is compared with the teacher.
        temperature: of the logits (released codes: 2; the paper gives none).
        feature_weight: of SquareHead, beside its KL.
        positions: where logits are compared: those that predict a token which training counts,
            or ``all`` of a row (the released LLaMA-2 code, its last one too).
        teacher: id or folder of the teacher; None is the dense model itself.
        beta1: of AdamW's first moment (released codes: 0.9).
        beta2: of its second moment (released codes: 0.95).
        warmup: share of the steps in which the learning rate rises from 0 (GPT-2 code: 5 %).
        cosine_end: share of the steps after which it is at its minimum (LLaMA-2 code: 1; GPT-2
            code: 95 %, then linear to 0).
    """

    pattern: PatternText = "2:4"
    sparsity: int = pydantic.Field(50, ge=1, le=99)
    ties: Literal["official", "corrected"] = "corrected"
    alpha: float = pydantic.Field(2 / 3, ge=0, le=1)
    loss_scale: float = pydantic.Field(1.0, gt=0)
    distillation: DistillationLoss = "kl"
    temperature: float = pydantic.Field(2.0, gt=0)
    feature_weight: float = pydantic.Field(1.0, ge=0)
    positions: Literal["predictions", "all"] = "predictions"
    teacher: str | None = None
    beta1: float = pydantic.Field(0.9, ge=0, lt=1)
    beta2: float = pydantic.Field(0.95, ge=0, lt=1)
    warmup: float = pydantic.Field(0.05, ge=0, le=1)
    cosine_end: float = pydantic.Field(1.0, ge=0, le=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SparseTrainingParameters:
        if self.warmup > self.cosine_end:
            raise ValueError("warmup must not end after cosine_end")
        return self


class SparseTraining(RecoveryMethod):
    """Training whose outcome has zeros in its linear layers."""

    parameters: ClassVar[type[SparseTrainingParameters]] = SparseTrainingParameters

    def sparsity(self, preset: Preset) -> int:
        """Return the percentage of the linear layers' weights that become zero."""
        chosen = self.parse(preset.parameters)
        pattern = Pattern.parse(chosen.pattern)
        if not pattern:
            share: int = chosen.sparsity
            return share
        return 100 * pattern.pruned // pattern.group

    def check(self, preset: Preset, shape: ModelShape | None, target: Target | None) -> None:
        """Refuse a schedule that does not fit the tokens, too, where these are known."""
        super().check(preset, shape, target)
        if preset.tokens is not None:
            self.check_steps(preset, -(-(preset.tokens // preset.sequence_length) // preset.batch))

    def check_steps(self, preset: Preset, steps: int) -> None:
        """Refuse a schedule that does not fit into so many steps.

        Raises:
            UserError: naming the parameter.
        """

    def check_model(self, preset: Preset, folder: Path) -> None:
        """Refuse a model that the pattern does not divide, or a teacher of other tokens."""
        from adaptprune.models.anatomy import weight_shapes
        from adaptprune.models.catalogue import locate, read_config
        from adaptprune.models.checkpoint import configured_skeleton

        chosen = self.parse(preset.parameters)
        shapes = weight_shapes(configured_skeleton(folder))
        Pattern.parse(chosen.pattern).check_rows(shapes)
        self.check_layers(chosen, shapes)
        if chosen.alpha and chosen.teacher is not None:
            sizes = [read_config(it)["vocab_size"] for it in (folder, locate(chosen.teacher))]
            if sizes[0] != sizes[1]:
                raise UserError(
                    f"teacher {chosen.teacher}: knows {sizes[1]:,} tokens, the model {sizes[0]:,}; "
                    "their logits cannot be compared"
                )

    def check_layers(self, chosen: Any, shapes: dict[str, tuple[int, int]]) -> None:
        """Refuse linear layers (outputs, inputs) that the method's own parameters do not fit.

        Raises:
            UserError: naming the layer.
        """

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Take all rows in one stage."""
        self.check_steps(preset, -(-rows // preset.batch))
        size = shape.compute_parameters if shape else 0
        teacher = size if self.parse(preset.parameters).alpha else 0
        return [Draft(stop=rows, kind="sparse", parameters=size, forward_parameters=teacher)]

    def optimizer(self, preset: Preset, stage: Stage, model: Any) -> torch.optim.Optimizer:
        """Return AdamW without weight decay."""
        import torch

        chosen: SparseTrainingParameters = self.parse(preset.parameters)
        betas = (chosen.beta1, chosen.beta2)
        return torch.optim.AdamW(model.parameters(), lr=0.0, betas=betas, weight_decay=0.0)

    def learning_rates(self, preset: Preset, stage: Stage) -> Callable[[int], float]:
        """Return warm-up, cosine, and the fall to 0 behind it."""
        chosen: SparseTrainingParameters = self.parse(preset.parameters)
        return WarmupCosine(
            total=stage.steps,
            warmup=round(chosen.warmup * stage.steps),
            cosine_end=round(chosen.cosine_end * stage.steps),
            peak=preset.peak_learning_rate,
            minimum=preset.minimum_learning_rate,
        ).rate
