"""Minitron: cut by activations to a uniform shape, then distil the uncut model's logits.

Sources: "Compact Language Models via Pruning and Knowledge Distillation" (arXiv 2407.14679, [1])
and "LLM Pruning and Distillation in Practice: The Minitron Approach" (arXiv 2408.11796, [2]).
Three things happen: the uncut model is trained one epoch on the data ("teacher correction", [2]);
it is cut to the target's shape by importances from activations ([1], section 2.2; see
``baselines.activations``); the cut model learns the corrected teacher's logits by forward KL
alone, on the same data.

What the papers leave open, or do in several ways, is decided so:

- The cut is made in one go ("single-shot", [2]), from the *corrected* teacher; [2] finds that
  cutting the uncorrected one does as well.
- Both trainings have a learning-rate schedule of their own with the preset's rates.
- The distillation's temperature is 1, and no intermediate states are matched: [1] finds logits
  alone to suffice unless the depth shrinks much, and [2] uses logits alone.
- The loss runs over the positions that predict a token which training counts.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from adaptprune.plugins import Parameters
from adaptprune.recovery.distillation import Teacher, forward_kl, mean_over
from adaptprune.recovery.method import Beginning, Prepared, RecoveryMethod
from adaptprune.recovery.objective import Objective
from adaptprune.recovery.plan import TEACHER, Draft
from adaptprune.recovery.targets import Target, shape_to_reach

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from adaptprune.data.packing import Batch
    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.folder import RunFolder, Settings
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.recipe import Preset


class MinitronParameters(Parameters):
    """Parameters of Minitron.

    Args:
        teacher_correction: whether the uncut model is trained one epoch on the data first.
        batch_aggregation: how importances are summed up over sequences ([2]: L2 norm).
        sequence_aggregation: how they are over the tokens of a sequence ([2]: mean).
        depth: what a layer is worth: the rise of the loss without it (perplexity, [1]), or its
            block influence 1 − cos(input, output) ([1]; one pass for all layers, the default).
        calibration_batch: calibration sequences of one forward pass.
    """

    teacher_correction: bool = True
    batch_aggregation: Literal["l2", "mean"] = "l2"
    sequence_aggregation: Literal["l2", "mean"] = "mean"
    depth: Literal["block-influence", "loss"] = "block-influence"
    calibration_batch: int = pydantic.Field(8, ge=1)


class Minitron(RecoveryMethod):
    """Teacher correction, activation-based cut, logit distillation."""

    name = "minitron"
    title = "Minitron"
    version = 1
    citation = "Minitron, arXiv 2407.14679 and 2408.11796"
    parameters = MinitronParameters
    target = "shape"
    needs_calibration = True

    def check(self, preset: Preset, shape: ModelShape | None, target: Target | None) -> None:
        """Refuse a shape that cutting cannot reach."""
        from adaptprune.recovery.targets import check_cut

        super().check(preset, shape, target)
        assert shape is not None
        check_cut(self.name, shape, shape_to_reach(target))

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Take all rows for the teacher and once more for the student."""
        assert shape is not None
        wanted, teacher = shape_to_reach(target), shape.compute_parameters
        distillation = Draft(
            stop=rows,
            kind="distil",
            target=wanted.parameters,
            schedule=2,
            parameters=wanted.compute_parameters,
            forward_parameters=teacher,
        )
        if not self.parse(preset.parameters).teacher_correction:
            return [distillation]
        return [Draft(stop=rows, kind=TEACHER, parameters=teacher), distillation]

    def prepare(self, beginning: Beginning) -> Prepared | None:
        """Put the teacher aside and cut the student out of it."""
        from adaptprune.models.checkpoint import count_compute_parameters, count_parameters
        from adaptprune.recovery.cutting import cut_to_shape
        from baselines.activations import choose_units, measure

        stage, settings, context = beginning.stage, beginning.settings, beginning.context
        if stage.kind == TEACHER:
            return None
        chosen: MinitronParameters = self.parse(settings.preset.parameters)
        wanted = shape_to_reach(settings.target)
        assert settings.shape is not None
        assert context.tokens is not None
        if beginning.before is not None:
            _put_aside(beginning.before, _teacher_folder(beginning.folder, settings))
        model = beginning.load()
        found = measure(
            model,
            context.tokens,
            batch_aggregation=chosen.batch_aggregation,
            sequence_aggregation=chosen.sequence_aggregation,
            depth=chosen.depth if len(wanted.blocks) < len(settings.shape.blocks) else None,
            batch=chosen.calibration_batch,
        )
        cut = choose_units(found, settings.shape, wanted)
        student = cut_to_shape(model, cut, wanted)
        record = {
            "target": wanted.parameters,
            "params_before": count_parameters(model),
            "params": count_parameters(student),
            "layers": [layer.layer for layer in cut.layers],
            "layer_importance": found.layers,
            "calibration_loss": found.loss,
        }
        passes = found.passes * context.tokens.numel()
        flops = 2 * count_compute_parameters(model) * passes
        return Prepared(student, student.config, cut.to_json(), record, flops)

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Train the teacher by itself and the student by the teacher."""
        if stage.kind == TEACHER:
            return Objective()
        return Distillation(_teacher_folder(folder, folder.settings()), device)


class Distillation(Objective):
    """Forward KL from a frozen teacher's next-token distributions to the model's.

    Args:
        teacher: the teacher's folder.
        device: where the process computes; on a GPU the teacher is held in bfloat16.
    """

    def __init__(self, teacher: Path, device: torch.device):
        self.teacher = Teacher(teacher, device)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the mean divergence (nats) over the predictions that count."""
        taught = self.teacher.look(batch.tokens).logits
        learnt = model(input_ids=batch.tokens, use_cache=False).logits
        return mean_over(forward_kl(learnt[:, :-1], taught[:, :-1]), batch.counted[:, 1:])

    def flops(self, parameters: int, tokens: int) -> int:
        """Add the teacher's forward pass to the student's training."""
        return super().flops(parameters, tokens) + 2 * self.teacher.compute_parameters * tokens


def _teacher_folder(folder: RunFolder, settings: Settings) -> Path:
    """Return where the teacher lies once it need not be trained any more."""
    corrected = SPEC.parse(settings.preset.parameters).teacher_correction
    return folder.models / "teacher" if corrected else settings.source


def _put_aside(checkpoint: Path, target: Path) -> None:
    """Copy a checkpoint's model; the checkpoint goes when the next stage has one."""
    from adaptprune.files.atomic import MANIFEST, atomic_directory
    from adaptprune.files.manifest import write_manifest

    with atomic_directory(target) as temporary:
        left_out = shutil.ignore_patterns("training", MANIFEST)
        shutil.copytree(checkpoint, temporary, ignore=left_out, dirs_exist_ok=True)
        write_manifest(temporary)


SPEC = Minitron()
