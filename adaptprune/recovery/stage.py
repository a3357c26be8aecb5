"""The stage recover: a model, a preset and data in, a trained checkpoint and its record out."""

from __future__ import annotations

import functools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from adaptprune.data.encoding import load_checked_tokenizer
from adaptprune.data.packing import pack
from adaptprune.data.training import TrainingData, find_data
from adaptprune.errors import NumericalError, UserError
from adaptprune.files.atomic import read_json, remove_folder
from adaptprune.files.declared import read_yaml
from adaptprune.files.manifest import verify_folder
from adaptprune.files.surroundings import expanded
from adaptprune.machine.provenance import Stopwatch, versions
from adaptprune.machine.workflow_lock import announce_workflow
from adaptprune.models import checkpoint
from adaptprune.models.catalogue import (
    locate,
    read_config,
    recorded_failure,
    shape_of,
    stated_window,
)
from adaptprune.models.runtime import Runtime
from adaptprune.pruning.masks import lost_masks
from adaptprune.pruning.method import Context
from adaptprune.pruning.stage import SCHEMA
from adaptprune.recovery.folder import RunFolder, Settings
from adaptprune.recovery.forecast import say_training
from adaptprune.recovery.loop import train_stage
from adaptprune.recovery.plan import plan_stages
from adaptprune.recovery.record import is_finished, publish, publish_failure
from adaptprune.recovery.registry import find_recovery
from adaptprune.recovery.run import run_stages
from adaptprune.recovery.targets import Target, shaped_like

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.folder import Execution
    from adaptprune.recovery.method import RecoveryMethod
    from adaptprune.recovery.recipe import Preset


@dataclass(frozen=True)
class Recovery:
    """What is to be recovered, and how.

    Args:
        model: id, folder or hub id.
        preset: the recipe.
        target: parameters to end with, or the model whose shape is the target; for a preset that
            prunes.
        data: name of a mixture or of a collection of text, or a ``.jsonl`` file.
        calibration: token ids for the prunings, or None for a preset without.
        seed: of the data order and of what is random in training.
        execution: how to compute.
        launch: config file of ``accelerate launch`` for the training processes; None trains in
            this process.
        local_data: folder that stands for the hub's data sets, None for the hub.
        begin: called before the first pass, when all that can be checked beforehand was.
    """

    model: str
    preset: Preset
    target: int | str | None
    data: str
    calibration: CalibrationSet | None
    seed: int
    execution: Execution
    launch: Path | None = None
    local_data: Path | None = None
    begin: Callable[[], None] | None = None

    @functools.cached_property
    def training_data(self) -> TrainingData:
        """What it is trained on, its files there and looked at."""
        return find_data(self.data, self.local_data)

    @property
    def method(self) -> RecoveryMethod:
        """The preset's method."""
        return find_recovery(self.preset.method)

    def check(self) -> tuple[ModelShape | None, Target | None]:
        """Refuse what cannot work, before any data are read.

        Returns:
            The model's shape, where the method or the budget needs it, and the target.

        Raises:
            UserError: naming the culprit.
        """
        if self.execution.device not in ("cpu", "cuda"):
            raise UserError(f"device {self.execution.device!r}: must be cpu or cuda")
        if self.launch is not None:
            _launched_processes(self.launch)
        folder, length = locate(self.model), self.preset.sequence_length
        load_checked_tokenizer(folder, "end")
        window = stated_window(read_config(folder))
        if window is not None and length > window:
            raise UserError(
                f"recovery preset {self.preset.name}: sequence_length {length} is beyond the "
                f"model's window of {window} tokens"
            )
        shape, target = None, None
        if self.target is not None or self.method.needs_target or self.preset.flops:
            shape = shape_of(str(folder))
        if isinstance(self.target, int):
            target = Target(parameters=self.target)
        elif self.target is not None:
            assert shape is not None, "it was read for the target"
            target = shaped_like(self.target, shape)
        self.method.check(self.preset, shape, target)
        self.method.check_model(self.preset, folder)
        return shape, target

    def conditions(self, target: Target | None) -> dict[str, Any]:
        """Return what decides the outcome; verifies the model folder."""
        used = self.calibration if self.method.needs_calibration else None
        return {
            "schema": SCHEMA,
            "model": self.model,
            "model_hash": checkpoint.revision(locate(self.model)),
            "preset": self.preset.model_dump(mode="json"),
            "method_version": self.method.version,
            "target": target.describe() if target else None,
            "data": self.training_data.describe(),
            "calibration": used.describe() if used else None,
            "seed": self.seed,
            "device": self.execution.device,
            "vector_width": torch.backends.cpu.get_cpu_capability(),
            "threads": self.execution.threads,
            "launch": self.launch.read_text() if self.launch else None,
            "versions": versions(),
        }

    @property
    def processes(self) -> int:
        """Return how many processes train, one on each GPU."""
        return 1 if self.launch is None else _launched_processes(self.launch)

    def context(self) -> Context:
        """Put the calibration tokens where the model is prepared."""
        if self.calibration is None:
            return Context(None, self.seed)
        tokens = torch.tensor(self.calibration.tokens, device=self.execution.device)
        return Context(tokens, self.seed)

    def train(self, folder: RunFolder) -> None:
        """Train the present stage, in this process or in those of ``accelerate launch``.

        Raises:
            NumericalError: a loss or gradient is not finite.
            UserError: a training process failed.
        """
        folder.failure.unlink(missing_ok=True)
        if self.launch is None:
            train_stage(folder)
            return
        announce_workflow()  # the training processes end with this one
        command = [
            *(sys.executable, "-m", "accelerate.commands.launch", "--config_file"),
            *(str(self.launch), "-m", "adaptprune", "train-stage", "--run", str(folder.path)),
        ]
        status = subprocess.run(command, stdout=sys.stderr).returncode
        if folder.failure.is_file():
            raise NumericalError(read_json(folder.failure)["reason"])
        if status:
            raise UserError(f"the training processes failed (status {status}); see above why")


def _launched_processes(launch: Path) -> int:
    """Return how many processes a config file of ``accelerate launch`` asks for.

    Raises:
        UserError: there is no such file, or it does not say so.
    """
    if not launch.is_file():
        raise UserError(f"launch config {launch}: no such file")
    number = read_yaml(launch).get("num_processes", 1)
    if type(number) is not int or number < 1:
        raise UserError(f"{launch}: num_processes must be a positive whole number, not {number!r}")
    return number


def recover_stage(job: Recovery, output: Path, run: Path, *, record_failure: bool = False) -> None:
    """Recover a model, from wherever an earlier attempt stopped, and write its folder.

    Args:
        job: what to do.
        output: the folder to write: an HF folder, ``recovery.json`` and ``log.jsonl``, and
            ``kept.json`` of a pruned model.
        run: where checkpoints and log lie until then; removed at the end.
        record_failure: write a folder without weights whose ``recovery.json`` says why, and leave
            ``run`` with the last good checkpoint, where numbers are not finite; or where the
            model is the record of such a failure itself.

    Raises:
        UserError: something cannot work, or ``run`` was begun under other conditions.
        NumericalError: a loss or gradient is not finite, and that is not to be recorded.
    """
    watch, folder = Stopwatch(), RunFolder(run)
    reason = recorded_failure(expanded(Path(job.model)))
    if reason is not None and record_failure:
        conditions = {"model": job.model, "preset": job.preset.model_dump(mode="json")}
        publish_failure(reason, output, folder, conditions, watch)
        return
    shape, target = job.check()
    execution = job.execution
    Runtime(device=execution.device, threads=execution.threads, gpus=job.processes).apply()
    conditions = job.conditions(target)
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.with_name(f".{run.name}.lock"), timeout=0):
            if not is_finished(output, conditions):
                last = _work(job, folder, conditions, shape, target)
                publish(last, output, folder, conditions, watch)
            folder.remove()
    except NumericalError as error:
        if not record_failure:
            raise
        publish_failure(str(error), output, folder, conditions, watch)
    except Timeout:
        raise UserError(f"another process is working in {run}; wait until it ends") from None


def _work(
    job: Recovery,
    folder: RunFolder,
    conditions: dict[str, Any],
    shape: ModelShape | None,
    target: Target | None,
) -> Path:
    """Pack the data, plan the stages, and do what is left of them; return the last checkpoint."""
    source = locate(job.model)
    if not folder.is_begun(conditions):
        # Rows of an attempt that was refused or killed here may be of another length.
        remove_folder(folder.rows)
    if folder.rows.is_dir():
        verify_folder(folder.rows, cure="run again")
    else:
        tokenizer = checkpoint.load_tokenizer(source)
        data = job.training_data
        pack(
            {domain.name: domain.documents() for domain in data.domains},
            tokenizer,
            job.preset.sequence_length,
            folder.rows,
            data.cut,
            {domain.name: domain.tokens for domain in data.domains},
        )
    packed = read_json(folder.rows / "rows.json")
    vocabulary = read_config(source)["vocab_size"]
    if packed["largest"] >= vocabulary:
        raise UserError(
            f"the tokenizer of {job.model} makes token id {packed['largest']}, its model knows "
            f"0..{vocabulary - 1}"
        )
    stages = plan_stages(
        job.preset,
        packed["rows"],
        lambda rows: job.method.plan(job.preset, rows, shape, target),
    )
    folder.write_settings(
        Settings(
            conditions=conditions,
            preset=job.preset,
            stages=stages,
            shape=shape,
            target=target,
            source=source,
            seed=job.seed,
            execution=job.execution,
        )
    )
    if job.begin is not None:
        job.begin()
    for note in lost_masks(source):
        print(f"note: {note}", file=sys.stderr)
    say_training(job.preset, stages, source, job.execution, job.processes)
    return run_stages(folder, job.context(), job.train)
