"""The run folder of a recovery: its settings, packed data, checkpoints and log. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from adaptprune.errors import UserError, refusal
from adaptprune.files.atomic import read_json, remove_folder, write_json
from adaptprune.files.declared import Closed
from adaptprune.models.shapes import ModelShape
from adaptprune.recovery.plan import Stage
from adaptprune.recovery.recipe import Preset
from adaptprune.recovery.targets import Target


class Execution(Closed):
    """How a recovery is computed; may change when it is resumed.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of each process, None for torch's choice.
        micro_batch: rows of one forward pass of one process.
        checkpoint_every: steps between two checkpoints.
        activation_checkpointing: recompute activations in the backward pass.
    """

    device: str = "cpu"
    threads: int | None = None
    micro_batch: int = pydantic.Field(8, ge=1)
    checkpoint_every: int = pydantic.Field(200, ge=1)
    activation_checkpointing: bool = False


class Settings(Closed):
    """Everything that a training process is told.

    Args:
        conditions: what decides the outcome, by name; must be equal when it is resumed.
        preset: the recipe.
        stages: its plan.
        shape: of the model that the recovery begins with, where the method needs it.
        target: what it is to become.
        source: folder of the model that the recovery begins with.
        seed: of the data order and of what is random in training.
        execution: how to compute.
    """

    conditions: dict[str, Any]
    preset: Preset
    stages: list[Stage]
    shape: ModelShape | None
    target: Target | None
    source: Path
    seed: int
    execution: Execution


@dataclass(frozen=True)
class RunFolder:
    """Where the state of a recovery lies, apart from its result.

    Args:
        path: the folder.
    """

    path: Path

    @property
    def rows(self) -> Path:
        """Packed training data."""
        return self.path / "rows"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints, of which the newest counts."""
        return self.path / "checkpoints"

    @property
    def models(self) -> Path:
        """Models of the method's own, beside the one that is recovered (a teacher)."""
        return self.path / "models"

    @property
    def failure(self) -> Path:
        """Why the last training process could not go on, where its numbers were at fault."""
        return self.path / "failure.json"

    @property
    def log(self) -> Path:
        """One line per optimiser step."""
        return self.path / "log.jsonl"

    @property
    def _settings(self) -> Path:
        return self.path / "settings.json"

    def settings(self) -> Settings:
        """Read what was written by ``write_settings``.

        Raises:
            UserError: there is no recovery in this folder, or one of another version.
        """
        try:
            return Settings.model_validate(read_json(self._settings))
        except pydantic.ValidationError as error:
            raise UserError(
                f"{self._settings}: {refusal(error)}; delete {self.path} to begin anew"
            ) from None

    def write_settings(self, settings: Settings) -> None:
        """Say how the recovery goes on, or begins."""
        write_json(self._settings, settings.model_dump(mode="json"))

    def is_begun(self, conditions: dict[str, Any]) -> bool:
        """Say whether the folder holds a recovery to go on with.

        Raises:
            UserError: it holds one under other conditions.
        """
        if not self._settings.is_file():
            return False
        stored = self.settings().conditions
        for key in {**stored, **conditions}:
            before, now = stored.get(key), conditions.get(key)
            if before != now:
                raise UserError(
                    f"{self.path}: was begun with {key} {before!r}, not {now!r}; "
                    "delete it to begin anew"
                )
        return True

    def remove(self) -> None:
        """Remove what a recovery keeps here, and the folder if nothing else is in it."""
        for part in (self.rows, self.checkpoints, self.models):
            remove_folder(part)
        for file in (self.log, self.failure, self._settings):
            file.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()
