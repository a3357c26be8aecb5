"""The result of a recovery: its model, its log, and ``recovery.json``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import (
    MANIFEST,
    atomic_directory,
    find_sealed_json,
    sha256_file,
    write_sealed_json,
)
from adaptprune.files.manifest import write_manifest
from adaptprune.pruning.masks import lost_masks
from adaptprune.pruning.stage import SCHEMA
from adaptprune.recovery.checkpoints import Progress, newest, read_progress
from adaptprune.recovery.log import read_log

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.machine.provenance import Stopwatch
    from adaptprune.recovery.folder import RunFolder

RECORD = "recovery.json"


def is_finished(output: Path, conditions: dict[str, Any]) -> bool:
    """Say whether an earlier attempt wrote this very result, and no failure."""
    record = find_sealed_json(output / RECORD)
    if record is None:
        return False
    return record["status"] == "ok" and record["conditions"] == conditions


def publish(
    last: Path, output: Path, folder: RunFolder, conditions: dict[str, Any], watch: Stopwatch
) -> None:
    """Copy the last checkpoint's model to the output and write log and record beside it."""
    with atomic_directory(output) as target:
        shutil.copytree(
            last, target, ignore=shutil.ignore_patterns("training", MANIFEST), dirs_exist_ok=True
        )
        _write_record(target, folder, conditions, watch, None)


def publish_failure(
    reason: str, output: Path, folder: RunFolder, conditions: dict[str, Any], watch: Stopwatch
) -> None:
    """Write a folder without weights whose record says why there are none."""
    with atomic_directory(output) as target:
        _write_record(target, folder, conditions, watch, reason)


def _write_record(
    target: Path,
    folder: RunFolder,
    conditions: dict[str, Any],
    watch: Stopwatch,
    reason: str | None,
) -> None:
    """Write log and record: conditions, plan, what was done and what it cost.

    ``flops`` are those of training and of the work between stages: 6N per token of training, 2N
    of a forward pass, N the parameters without the embedding that is looked up.

    Args:
        target: the folder that is being made.
        folder: the run folder; empty where the model to recover had failed already.
        conditions: of the recovery.
        watch: started with it.
        reason: why it failed, None where it did not.
    """
    rows, last = read_log(folder.log), newest(folder.checkpoints)
    progress = read_progress(last) if last else Progress(stage=1, step=0, position=0)
    (target / "log.jsonl").touch()
    if rows:
        shutil.copyfile(folder.log, target / "log.jsonl")
    final = rows[-1] if rows else {"tokens": 0, "teacher_tokens": 0}
    settings = folder.settings() if folder.is_begun(conditions) else None
    record = {
        "schema": SCHEMA,
        "status": "ok" if reason is None else "failed",
        "reason": reason,
        "conditions": conditions,
        "notes": lost_masks(settings.source) if settings else [],
        "stages": [stage.model_dump() for stage in settings.stages] if settings else [],
        "prunings": progress.prunings,
        "params": final["parameters"] if reason is None else None,
        **_counts(target),
        "tokens": final["tokens"],
        "teacher_tokens": final["teacher_tokens"],
        "flops": progress.flops,
        "steps": len(rows),
        "provenance": watch.provenance()
        | {
            "train_s": round(sum(row["seconds"] for row in rows), 3),
            "preparing_s": progress.preparing_s,
            "log_sha256": sha256_file(target / "log.jsonl"),
        },
    }
    write_sealed_json(target / RECORD, record)
    write_manifest(target)


def _counts(target: Path) -> dict[str, Any]:
    """Return what is counted of a masked model besides its parameters."""
    kept = find_sealed_json(target / "kept.json") or {}
    return {"counts": kept["counts"]} if "counts" in kept else {}
