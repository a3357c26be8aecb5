"""The stage recover: a model, a preset and data in, a trained checkpoint and its record out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from adaptprune import checkpoint
from adaptprune.corpus import iterate_texts
from adaptprune.errors import NumericalError, UserError
from adaptprune.fetch import MANIFEST, write_manifest
from adaptprune.files import atomic_directory, read_json, sha256_file, unseal, write_sealed_json
from adaptprune.method import Context
from adaptprune.models import locate, shape_of
from adaptprune.provenance import Stopwatch, versions
from adaptprune.recover.checkpoints import read_progress
from adaptprune.recover.folder import RunFolder, Settings
from adaptprune.recover.log import read_log
from adaptprune.recover.loop import train_stage
from adaptprune.recover.method import Target
from adaptprune.recover.packing import data_file, pack
from adaptprune.recover.plan import plan_stages
from adaptprune.recover.run import run_stages
from adaptprune.recover.targets import shaped_like
from adaptprune.registry import find_recovery
from adaptprune.stages import SCHEMA, Runtime
from adaptprune.workflow import announce_workflow

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.calibration import CalibrationSet
    from adaptprune.recover.folder import Execution
    from adaptprune.recover.method import RecoveryMethod
    from adaptprune.recover.presets import Preset
    from adaptprune.shapes import ModelShape

RECORD = "recovery.json"


@dataclass(frozen=True)
class Recovery:
    """What is to be recovered, and how.

    Args:
        model: id, folder or hub id.
        preset: the recipe.
        target: parameters to end with, or the model whose shape is the target; for a preset that
            prunes.
        data: name of a collection of text, or a ``.jsonl`` file.
        calibration: token ids for the prunings, or None for a preset without.
        seed: of the data order and of what is random in training.
        execution: how to compute.
        launch: config file of ``accelerate launch`` for the training processes; None trains in
            this process.
    """

    model: str
    preset: Preset
    target: int | str | None
    data: str
    calibration: CalibrationSet | None
    seed: int
    execution: Execution
    launch: Path | None = None

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
        if self.launch is not None and not self.launch.is_file():
            raise UserError(f"launch config {self.launch}: no such file")
        folder, length = locate(self.model), self.preset.sequence_length
        window = read_json(folder / "config.json").get("max_position_embeddings")
        if window is not None and length > window:
            raise UserError(
                f"recovery preset {self.preset.name}: sequence_length {length} is beyond the "
                f"model's window of {window} tokens"
            )
        shape, target = None, None
        if self.target is not None or self.method.target != "none" or self.preset.flops:
            shape = shape_of(str(folder))
        if isinstance(self.target, int):
            target = Target(parameters=self.target)
        elif self.target is not None:
            assert shape is not None, "it was read for the target"
            target = shaped_like(self.target, shape)
        self.method.check(self.preset, shape, target)
        return shape, target

    def conditions(self) -> dict[str, Any]:
        """Return what decides the outcome; verifies the model folder."""
        used = self.calibration if self.method.needs_calibration else None
        data = data_file(self.data)
        return {
            "schema": SCHEMA,
            "model": self.model,
            "model_hash": checkpoint.revision(locate(self.model)),
            "preset": self.preset.model_dump(mode="json"),
            "method_version": self.method.version,
            "target": self.target,
            "data": {"name": self.data, "sha256": sha256_file(data)},
            "calibration": used.describe() if used else None,
            "seed": self.seed,
            "device": self.execution.device,
            "vector_width": torch.backends.cpu.get_cpu_capability(),
            "threads": self.execution.threads,
            "launch": self.launch.read_text() if self.launch else None,
            "versions": versions(),
        }

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


def recover_stage(job: Recovery, output: Path, run: Path) -> None:
    """Recover a model, from wherever an earlier attempt stopped, and write its folder.

    Args:
        job: what to do.
        output: the folder to write: an HF folder, ``recovery.json`` and ``log.jsonl``, and
            ``kept.json`` of a pruned model.
        run: where checkpoints and log lie until then; removed at the end.

    Raises:
        UserError: something cannot work, or ``run`` was begun under other conditions.
        NumericalError: a loss or gradient is not finite.
    """
    watch = Stopwatch()
    shape, target = job.check()
    Runtime(device=job.execution.device, threads=job.execution.threads).apply()
    conditions, folder = job.conditions(), RunFolder(run)
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run.with_name(f".{run.name}.lock"), timeout=0):
            if not _is_finished(output, conditions):
                last = _work(job, folder, conditions, shape, target)
                _publish(last, output, folder, conditions, watch)
            folder.remove()
    except Timeout:
        raise UserError(f"another process is working in {run}; wait until it ends") from None


def write_failure(job: Recovery, output: Path, run: Path, reason: str) -> None:
    """Write that a recovery failed in the place of its result; its checkpoints are kept.

    Args:
        job: what was to be done.
        output: the folder to write: ``recovery.json`` and ``log.jsonl``, no weights.
        run: where its state lies.
        reason: what is not finite, and where.
    """
    watch, folder = Stopwatch(), RunFolder(run)
    with atomic_directory(output) as target:
        (target / "log.jsonl").touch()
        if folder.log.is_file():
            shutil.copyfile(folder.log, target / "log.jsonl")
        record = {
            "schema": SCHEMA,
            "status": "failed",
            "reason": reason,
            "conditions": job.conditions(),
            "provenance": watch.provenance(),
        }
        write_sealed_json(target / RECORD, record)


def _is_finished(output: Path, conditions: dict[str, Any]) -> bool:
    """Say whether an earlier attempt wrote this very result."""
    path = output / RECORD
    if not path.is_file():
        return False
    record = unseal(path, read_json(path))
    return record["status"] == "ok" and record["conditions"] == conditions


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
        shutil.rmtree(folder.rows, ignore_errors=True)
        tokenizer = checkpoint.load_tokenizer(source)
        texts = iterate_texts(data_file(job.data))
        pack(texts, tokenizer, job.preset.sequence_length, folder.rows)
    packed = read_json(folder.rows / "rows.json")
    vocabulary = read_json(source / "config.json")["vocab_size"]
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
    return run_stages(folder, job.context(), job.train)


def _publish(
    last: Path, output: Path, folder: RunFolder, conditions: dict[str, Any], watch: Stopwatch
) -> None:
    """Copy the last checkpoint's model to the output and write the record beside it."""
    rows, progress = read_log(folder.log), read_progress(last)
    with atomic_directory(output) as target:
        shutil.copytree(
            last, target, ignore=shutil.ignore_patterns("training", MANIFEST), dirs_exist_ok=True
        )
        shutil.copyfile(folder.log, target / "log.jsonl")
        record = {
            "schema": SCHEMA,
            "status": "ok",
            "reason": None,
            "conditions": conditions,
            "stages": [stage.model_dump() for stage in folder.settings().stages],
            "prunings": progress.prunings,
            "params": rows[-1]["parameters"],
            "tokens": rows[-1]["tokens"],
            "teacher_tokens": rows[-1]["teacher_tokens"],
            "flops": progress.flops,
            "steps": len(rows),
            "provenance": watch.provenance()
            | {
                "train_s": round(sum(row["seconds"] for row in rows), 3),
                "preparing_s": progress.preparing_s,
            },
        }
        write_sealed_json(target / RECORD, record)
        write_manifest(target)
