"""What keeps a workflow safe when it is killed: one lock per results folder, no orphaned jobs."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from filelock import FileLock, Timeout

from adaptprune.errors import UserError

_VARIABLE = "ADAPTPRUNE_WORKFLOW"
_locks: list[FileLock] = []


def hold_lock(runs: Path) -> None:
    """Hold a results folder for the life of this process; the kernel frees it even after a kill.

    Raises:
        UserError: another workflow holds the folder, or it cannot be written.
    """
    lock = FileLock(runs / ".workflow.lock", timeout=0)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"another workflow is running in {runs}; wait until it ends") from None
    except OSError as error:
        raise UserError(f"{runs}: cannot be written ({error.strerror})") from None
    _locks.append(lock)


def announce_workflow() -> None:
    """Tell the jobs that this process starts which process they belong to, and their Python.

    They find the Python that runs the workflow, wherever it was called from.
    """
    os.environ[_VARIABLE] = f"{os.uname().nodename}:{os.getpid()}"
    os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])


def is_workflow_gone() -> bool:
    """Say whether this process was started by a workflow on this machine that has ended."""
    host, _, process = os.environ.get(_VARIABLE, "").partition(":")
    if host != os.uname().nodename or not process or not os.path.isdir("/proc/self"):
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"  # ended, but its parent has not asked yet


def end_with_workflow(interval: float = 0.5) -> None:
    """End this process when the workflow that started it is gone.

    A killed workflow leaves its jobs behind; two processes must not write one cell.

    Args:
        interval: seconds between two looks.
    """
    if _VARIABLE not in os.environ:
        return

    def watch() -> None:
        while not is_workflow_gone():
            time.sleep(interval)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
