"""What a command wrote: noted before its work, told in its last line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Files and folders that the running command may write, and what lay there before.
_noted: dict[Path, tuple[int, int] | None] = {}


def _lying(path: Path) -> tuple[int, int] | None:
    """Return what tells a file or folder from the one that replaces it; None of nothing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def note(*paths: Path) -> None:
    """Note what the command is about to write."""
    for path in paths:
        _noted.setdefault(path, _lying(path))


def forget() -> None:
    """Begin anew: another command runs in this process."""
    _noted.clear()


def tell() -> None:
    """Name on stderr what is there now and was not there before, in one line."""
    written = [str(path) for path, before in _noted.items() if _lying(path) not in (None, before)]
    if written:
        print(f"wrote {', '.join(written)}", file=sys.stderr)
