"""Under which conditions a number came about, and what it cost."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import resource
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from adaptprune import __version__


@functools.cache
def suite_commit() -> str:
    """Return the commit of the suite's checkout, ``+dirty`` when it has changes, else unknown."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
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


class Stopwatch:
    """Measures a stage from its construction to ``provenance()``."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def provenance(self) -> dict[str, Any]:
        """Return wall time of the stage and CPU time of the whole process (s), peak memory (MB).

        Also host, date and commit.
        """
        return {
            "wall_s": round(time.perf_counter() - self._start, 3),
            "cpu_s": round(time.process_time(), 3),
            "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "host": socket.gethostname(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": suite_commit(),
        }
