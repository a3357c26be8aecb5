"""A recovery from stage to stage: preparing the model of each one and training it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from adaptprune.models.checkpoint import load_model
from adaptprune.recovery import checkpoints
from adaptprune.recovery.checkpoints import Progress
from adaptprune.recovery.method import Beginning, Prepared
from adaptprune.recovery.objective import State
from adaptprune.recovery.registry import find_recovery

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adaptprune.pruning.method import Context
    from adaptprune.recovery.folder import RunFolder


def run_stages(folder: RunFolder, context: Context, train: Callable[[RunFolder], None]) -> Path:
    """Prepare and train stage by stage from wherever the run folder stands.

    Args:
        folder: a run folder with settings and packed rows.
        context: calibration tokens, where the method needs them, and the seed.
        train: trains the present stage to its end; in this process or in others.

    Returns:
        The last checkpoint.
    """
    settings = folder.settings()
    checkpoints.remove_leftovers(folder.checkpoints)
    for stage in settings.stages:
        newest = checkpoints.newest(folder.checkpoints)
        progress = checkpoints.read_progress(newest) if newest else None
        if progress and progress.stage > stage.number:
            continue
        if progress is None or progress.stage < stage.number:
            _begin(Beginning(folder, settings, stage, newest, context), progress)
            progress = None
        if progress is None or progress.step < stage.trained_steps:
            train(folder)
    last = checkpoints.newest(folder.checkpoints)
    assert last is not None, "every stage leaves a checkpoint"
    return last


def _begin(beginning: Beginning, progress: Progress | None) -> None:
    """Let the method prepare a stage and publish the stage's first checkpoint.

    Args:
        beginning: of the stage.
        progress: of the checkpoint that ends the stage before.
    """
    started = time.perf_counter()
    stage, settings = beginning.stage, beginning.settings
    prepared = find_recovery(settings.preset.method).prepare(beginning)
    if prepared is None:
        if progress is None:
            return  # The training begins with the model where it lies.
        model = load_model(beginning.model)
        prepared = Prepared(model, model.config, beginning.kept(), {})
    earlier = progress or Progress(stage=1, step=0, position=0)
    records = [{"stage": stage.number, **prepared.record}] if prepared.record else []
    checkpoints.write_checkpoint(
        beginning.folder.checkpoints,
        Progress(
            stage=stage.number,
            step=0,
            position=stage.start,
            prunings=[*earlier.prunings, *records],
            flops=earlier.flops + prepared.flops,
            preparing_s=round(earlier.preparing_s + time.perf_counter() - started, 3),
        ),
        model=prepared.model,
        config=prepared.config,
        source=settings.source,
        optimizer=None if prepared.moments is None else State(prepared.moments),
        kept=prepared.kept,
    )
