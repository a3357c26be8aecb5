"""Under which conditions a number came about, and what it cost."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from adaptprune import __version__

#: All of the checkout but the stored matrices, as git wants it.
CODE = (":(top)", ":(top,exclude)results")


@functools.cache
def suite_commit() -> str:
    """Return the commit of the suite's checkout, ``+dirty`` when it has changes, else unknown.

    Stored matrices do not count: storing the cells of one method changes nothing of the next.
    """
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", *CODE],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+dirty" if status.strip() else "")


def versions() -> dict[str, str]:
    """Return the versions that decide a pruned model."""
    return {
        "adaptprune": __version__,
        "torch": importlib.metadata.version("torch"),
        "transformers": importlib.metadata.version("transformers"),
        "python": platform.python_version(),
    }


@functools.cache
def cpu_model() -> str:
    """Return the model of the CPU as Linux tells it, elsewhere its architecture."""
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.is_file() else []:
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return host, model and cores of its CPU, and its memory (MB)."""
    import psutil

    return {
        "host": socket.gethostname(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
    }


def used_gpu() -> dict[str, Any]:
    """Return name and peak memory (MB, as torch allocates it) of the GPU that this process used.

    Of several the one that held most; both are None where none was used.
    """
    torch = sys.modules.get("torch")  # a process without it has used none
    if torch is None or not torch.cuda.is_initialized():
        return {"gpu": None, "peak_device_mb": None}
    peaks = [torch.cuda.max_memory_allocated(number) for number in range(torch.cuda.device_count())]
    largest = max(peaks)
    return {
        "gpu": torch.cuda.get_device_name(peaks.index(largest)),
        "peak_device_mb": round(largest / 2**20, 1),
    }


class Stopwatch:
    """Measures a stage from its construction to ``provenance()``."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def provenance(self) -> dict[str, Any]:
        """Return wall time of the stage and CPU time of the whole process (s), peak memory (MB).

        Also the machine, date and commit. ``peak_rss_mb`` is memory of the host, on a GPU too.
        """
        return {
            "wall_s": round(time.perf_counter() - self._start, 3),
            "cpu_s": round(time.process_time(), 3),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            **used_gpu(),
            **machine(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": suite_commit(),
        }
