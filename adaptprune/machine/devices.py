"""One job per GPU: a job holds the lock of each device that it computes on.

Snakemake counts GPUs and assigns none. A job therefore takes the lock of a free device, a file on
this machine, and sees no other one from then on. The kernel frees the lock however the job ends.
The locks are those of one user. Slurm gives its jobs devices of their own, which each may call by
the same number: nothing is locked there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from adaptprune.errors import UserError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
#: Says to the processes of a job that what they see has been taken for them.
_TAKEN = "ADAPTPRUNE_DEVICES"
#: How cuBLAS is told to compute the same sums every time.
_WORKSPACE, _REPEATABLE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
#: Asks the driver (NVIDIA's, else AMD's) how many GPUs there are.
_COUNT = """
import ctypes
for library, start, count in (
    ("libcuda.so.1", "cuInit", "cuDeviceGetCount"),
    ("libamdhip64.so", "hipInit", "hipGetDeviceCount"),
):
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        continue
    number = ctypes.c_int(0)
    if driver[start](0) == 0:
        driver[count](ctypes.byref(number))
    print(number.value)
    break
else:
    print(0)
"""
_held = ExitStack()


def visible_devices() -> list[str]:
    """Return the GPUs that this process may use: numbers, or names as in the variable."""
    if _VISIBLE in os.environ:
        return [name.strip() for name in os.environ[_VISIBLE].split(",") if name.strip()]
    return [str(number) for number in range(_count_devices())]


def _count_devices() -> int:
    """Count the GPUs in another process: one that has asked the driver hides none any more."""
    answer = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True)
    return int(answer.stdout) if answer.returncode == 0 else 0


def choose_repeatable_products() -> None:
    """Have matrix products on a GPU come out equal bit for bit, whenever they are computed.

    Must be called before CUDA is used. What the user has set stays.
    """
    os.environ.setdefault(_WORKSPACE, _REPEATABLE)


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"adaptprune-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def hold_devices(count: int = 1, interval: float = 1.0) -> list[str]:
    """Take free GPUs for the life of this process, and hide all others from it.

    Must be called before CUDA is used. Waits while too few are free.

    Args:
        count: how many.
        interval: seconds between two looks.

    Returns:
        The devices, as ``CUDA_VISIBLE_DEVICES`` now names them.

    Raises:
        UserError: there are not so many.
    """
    offered = visible_devices()
    if len(offered) < count:
        raise UserError(f"{count} GPU(s) are asked for, this process sees {len(offered)}")
    if "SLURM_JOB_ID" in os.environ or os.environ.get(_TAKEN) == ",".join(offered):
        return offered
    while (taken := _try_to_take(offered, count)) is None:
        time.sleep(interval)
    os.environ[_VISIBLE] = os.environ[_TAKEN] = ",".join(taken)
    return taken


def _try_to_take(offered: list[str], count: int) -> list[str] | None:
    """Lock the first free devices, or none where they are too few.

    Of two jobs that want several each, one gets all it wants: they look one after the other.
    """
    folder = _lock_folder()
    with FileLock(folder / "choosing.lock"), ExitStack() as stack:
        taken: list[str] = []
        for name in offered:
            try:
                lock = FileLock(folder / f"{name.replace('/', '_')}.lock", timeout=0)
                stack.enter_context(lock)
            except Timeout:
                continue
            taken.append(name)
            if len(taken) == count:
                _held.enter_context(stack.pop_all())
                return taken
    return None
