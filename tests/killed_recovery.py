"""A recovery that is killed (SIGKILL) at a chosen moment; to be run in a process of its own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from recovery_examples import recovery

from adaptprune.papers.adapt_pruner.method import Trajectory
from adaptprune.recovery import checkpoints
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.stage import recover_stage
from baselines import activations

if TYPE_CHECKING:
    from pathlib import Path


def kill_at_call(owner: Any, name: str, number: int) -> None:
    """Let the process die at the start of a function's call of some number."""
    function, calls = getattr(owner, name), [0]

    def wrapper(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    setattr(owner, name, wrapper)


#: What is called, and at which call the process dies.
MOMENTS = {
    "first-stage": (_Training, "_step", 2),  # before there is a training checkpoint
    "second-stage": (_Training, "_step", 12),
    "pruning": (Trajectory, "advance", 5),  # the second one of the second pruning
    "checkpoint": (checkpoints, "write_manifest", 3),  # its files are written, not published
    "teacher": (_Training, "_step", 5),
    "cut": (activations, "measure", 1),
    "distillation": (_Training, "_step", 11),
}


def run_until_killed(moment: str, source: Path, work: Path, **changes: Any) -> None:
    """Recover the model in ``source`` and die at one of ``MOMENTS``."""
    kill_at_call(*MOMENTS[moment])
    recover_stage(recovery(source, **changes), work / "out", work / "run")
