"""A folder in which little can be written: a small file system in memory, or a limit on files."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def mount(folder: Path, options: str) -> bool:
    """Mount a file system in memory on a folder; say whether that is allowed here."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


class SmallDisk:
    """A folder that holds a few KiB, until it is made larger.

    Args:
        path: the folder.
        kib: what it holds; where nothing can be mounted, what a single file may hold.
    """

    def __init__(self, path: Path, kib: int):
        path.mkdir()
        self.path = path
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.is_mounted = mount(path, f"size={kib}k")
        if not self.is_mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, self._limits[1]))

    def enlarge(self, kib: int = 1 << 20) -> None:
        """Let it hold more (KiB), and be written again; by default more than is ever written."""
        if self.is_mounted:
            self._remount(f"rw,size={kib}k")
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)

    def protect(self) -> None:
        """Let nothing be written any more; where it is mounted."""
        self._remount("ro")

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.path)], check=True)

    def close(self) -> None:
        """Take it away, with what it holds."""
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@contextlib.contextmanager
def small_disk(path: Path, kib: int) -> Iterator[SmallDisk]:
    """Yield a small disk on a folder that is made for it."""
    disk = SmallDisk(path, kib)
    try:
        yield disk
    finally:
        disk.close()
