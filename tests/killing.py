"""Kills that hit: of a process that has not ended by itself."""

from __future__ import annotations

import psutil


def kill_running(process: psutil.Process) -> bool:
    """Kill a process; say whether it was still running, and not about to be forgotten."""
    try:
        process.suspend()  # from here on it cannot end by itself
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True
