"""What a method of recovery training is: stages, what happens before each, what is minimised.

A recovery runs stage by stage. Before a stage, ``prepare`` may change the model of the newest
checkpoint (prune it, cut it to a shape, make it anew); then training processes minimise the
stage's ``objective`` by its ``optimizer`` and ``learning_rates``. The defaults are plain training
in one stage. Method modules are imported to list them, so they import torch only inside their
functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from adaptprune.errors import UserError
from adaptprune.files.atomic import find_sealed_json
from adaptprune.plugins import Plugin
from adaptprune.recovery.objective import Objective
from adaptprune.recovery.plan import Draft, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.method import Context
    from adaptprune.recovery.folder import RunFolder, Settings
    from adaptprune.recovery.recipe import Preset
    from adaptprune.recovery.targets import Target


@dataclass(frozen=True)
class Beginning:
    """What a stage begins with.

    Args:
        folder: the run folder; a method may keep models of its own in ``folder.models``.
        settings: of the recovery.
        stage: the stage.
        before: the checkpoint that ends the stage before, None for the first one.
        context: calibration tokens on the execution's device, and the seed.
    """

    folder: RunFolder
    settings: Settings
    stage: Stage
    before: Path | None
    context: Context

    @property
    def model(self) -> Path:
        """Folder of the model that the stage begins with."""
        return self.before or self.settings.source

    def load(self) -> Any:
        """Load that model in float32 on the execution's device."""
        from adaptprune.models.checkpoint import load_model

        return load_model(self.model, device=self.settings.execution.device)

    def kept(self) -> dict[str, Any] | None:
        """Return that model's ``kept.json``, None where it has none."""
        return find_sealed_json(self.model / "kept.json")


@dataclass
class Prepared:
    """The model that a stage is trained on, in place of the one it began with.

    Args:
        model: the changed model.
        config: the config that its weights belong to.
        kept: content of ``kept.json``: units that stay of the model the recovery began with.
        record: what ``recovery.json`` says about the change, JSON-able.
        flops: floating-point operations that it took.
        moments: state of AdamW to go on with; None for a fresh one.
    """

    model: Any
    config: Any
    kept: dict[str, Any] | None
    record: dict[str, Any]
    flops: int = 0
    moments: dict[str, torch.Tensor] | None = None


class RecoveryMethod(Plugin):
    """One way of training a model that recovers it; the defaults train it as it is."""

    #: What must be said of the outcome's size: nothing, a parameter count, a uniform shape; or what
    #: may be, the shape it begins with being meant otherwise.
    target: ClassVar[Literal["none", "parameters", "shape", "optional shape"]] = "none"
    needs_calibration: ClassVar[bool] = False

    def check(self, preset: Preset, shape: ModelShape | None, target: Target | None) -> None:
        """Refuse, before any data are read, what the method cannot do.

        Args:
            preset: the recipe.
            shape: of the model that the recovery begins with; None where it is not needed.
            target: what it is to become.

        Raises:
            UserError: naming the culprit.
        """
        if self.target == "none":
            if target is not None:
                raise UserError(f"recovery preset {preset.name} prunes nothing: no target")
            return
        shapeless = self.target != "parameters" and target is not None and target.shape is None
        if shapeless or (target is None and self.needs_target):
            wanted = "target parameters" if self.target == "parameters" else "a target model"
            raise UserError(f"recovery preset {preset.name} prunes: give {wanted}")

    @property
    def needs_target(self) -> bool:
        """Say whether the outcome's size must be given."""
        return self.target in ("parameters", "shape")

    def check_model(self, preset: Preset, folder: Path) -> None:
        """Refuse, before any data are read, a model that the method cannot train.

        Args:
            preset: the recipe.
            folder: of the model that the recovery begins with.

        Raises:
            UserError: naming the culprit.
        """

    def sparsity(self, preset: Preset) -> int:
        """Return the percentage of single weights that become zero; nominal."""
        return 0

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Say which stages there are and which rows of the data each one takes.

        Args:
            preset: the recipe.
            rows: rows of the data that may be used.
            shape: of the model that the recovery begins with, None where it is not needed.
            target: what it is to become.

        Raises:
            UserError: the data do not suffice.
        """
        return [Draft(stop=rows, parameters=shape.compute_parameters if shape else 0)]

    def prepare(self, beginning: Beginning) -> Prepared | None:
        """Change the model before a stage; None trains it as it is.

        Raises:
            NumericalError: a number is not finite.
        """
        return None

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Return what a training process of a stage minimises.

        Args:
            folder: the run folder, with settings, data, and the method's own models.
            stage: the stage.
            device: where the process computes.
        """
        return Objective()

    def optimizer(self, preset: Preset, stage: Stage, model: Any) -> torch.optim.Optimizer:
        """Return a fresh optimiser of a stage's model: that of the released scripts.

        That is ``adamw_torch`` without weight decay. The loop clips the gradients before each
        step and sets the learning rate of every group. What the optimiser keeps in its ``state``
        is in every checkpoint, tensors and numbers; it must keep nothing elsewhere.

        Args:
            preset: the recipe.
            stage: the stage.
            model: the model in float32, after ``Objective.attach`` and before it is distributed.
        """
        import torch

        return torch.optim.AdamW(
            model.parameters(), lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0
        )

    def learning_rates(self, preset: Preset, stage: Stage) -> Callable[[int], float]:
        """Return the learning rate of a stage's steps, counted from 0 in the stage.

        Args:
            preset: the recipe.
            stage: says which part of its schedule the stage is.
        """
        return stage.learning_rates(preset)


class PlainTraining(RecoveryMethod):
    """Training of a model as it is, pruned by whatever method."""

    name = "train"
    title = "Training"
    version = 1
    citation = "-"


SPEC = PlainTraining()
