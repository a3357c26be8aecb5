"""What a profile says of its recoveries: which model is trained into what, and how. Torch-free."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

import pydantic

from adaptprune.cells import NO_RECOVERY
from adaptprune.data.training import check_name
from adaptprune.errors import UserError
from adaptprune.files.declared import Closed
from adaptprune.models.catalogue import find_entry, shape_of
from adaptprune.recovery.presets import find_preset
from adaptprune.recovery.registry import find_recovery
from adaptprune.recovery.targets import Target, shaped_like

if TYPE_CHECKING:
    from adaptprune.recovery.method import RecoveryMethod
    from adaptprune.recovery.recipe import Preset


class RecoveryConfig(Closed):
    """One recovery: a trained cell of the profile for each of its seeds.

    Args:
        preset: name of a recovery preset.
        model: that the recovery begins with.
        target: what it is to become: the name of a model, whose shape or size is meant, or a
            number of parameters; None where the preset prunes nothing.
        data: what it is trained on: a mixture, a collection of text, or a ``.jsonl`` file.
        overrides: values of the preset, or of its method, that differ here.
    """

    preset: str
    model: str
    target: int | str | None = None
    data: str
    overrides: dict[str, Any] = pydantic.Field(default={})

    @functools.cached_property
    def recipe(self) -> Preset:
        """The preset with its overrides."""
        return find_preset(self.preset, self.overrides)

    @property
    def method(self) -> RecoveryMethod:
        """The preset's method of recovery."""
        return find_recovery(self.recipe.method)

    @functools.cached_property
    def outcome(self) -> Target | None:
        """What the model is to become."""
        if self.target is None:
            return None
        if isinstance(self.target, int):
            return Target(parameters=self.target)
        return shaped_like(self.target, shape_of(self.model))

    @property
    def sparsity(self) -> int:
        """Nominal sparsity: percent of the model's parameters that the target is without.

        Of a training that zeroes single weights, percent of the linear layers' weights.
        """
        if self.outcome is None:
            return self.method.sparsity(self.recipe)
        return round(100 * (1 - self.outcome.parameters / shape_of(self.model).parameters))

    @property
    def models(self) -> list[str]:
        """Names of the models it has to do with."""
        return [self.model, *([self.target] if isinstance(self.target, str) else [])]

    def check(self, name: str) -> None:
        """Refuse what cannot be trained.

        Args:
            name: of the recovery in its profile.

        Raises:
            UserError: names the recovery and the culprit.
        """
        if name == NO_RECOVERY or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise UserError(
                f"recovery {name!r}: a name is made of a-z, 0-9 and -, and is not {NO_RECOVERY!r}"
            )
        try:
            for model in self.models:
                find_entry(model)
            if not self.data.endswith(".jsonl"):
                check_name(self.data)
            shape = shape_of(self.model) if self.outcome else None
            self.method.check(self.recipe, shape, self.outcome)
        except UserError as error:
            raise UserError(f"recovery {name}: {error}") from None


class TrainingConfig(Closed):
    """How a profile's recoveries are computed.

    Args:
        micro_batch: rows of one forward pass of one process.
        checkpoint_every: steps between two checkpoints.
        activation_checkpointing: recompute activations in the backward pass.
        launch: config file of ``accelerate launch``; None trains in one process.
        gpus: how many GPUs one recovery occupies.
    """

    micro_batch: int = pydantic.Field(default=8, ge=1)
    checkpoint_every: int = pydantic.Field(default=200, ge=1)
    activation_checkpointing: bool = False
    launch: str | None = None
    gpus: int = pydantic.Field(default=1, ge=1)
