"""The log of a training: one JSON line per optimiser step, exact also after a kill."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_file, writing

if TYPE_CHECKING:
    from pathlib import Path


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log, without a last line that a kill cut short.

    Raises:
        UserError: a line is no row of a log.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    whole = enumerate((line for line in lines if line.endswith(b"\n")), start=1)
    return [_read_row(path, number, line) for number, line in whole]


def _read_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    """Read one line, which says at least which step it is of."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    keys = ("stage", "stage_step")
    if not isinstance(row, dict) or any(type(row.get(key)) is not int for key in keys):
        raise UserError(f"{path}: line {number} is no step of a training; the log is damaged")
    return row


class TrainingLog:
    """Appends rows to a log that holds nothing beyond a checkpoint.

    Args:
        path: a JSON-lines file.
        stage: of the checkpoint that training goes on from.
        step: of that checkpoint, within its stage; rows after it are dropped, for their steps are
            taken again.
    """

    def __init__(self, path: Path, stage: int, step: int):
        kept = [row for row in read_log(path) if (row["stage"], row["stage_step"]) <= (stage, step)]
        with atomic_file(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self.path = path
        self._stream = path.open("a")

    def append(self, row: dict[str, Any]) -> None:
        """Add one step.

        Raises:
            UserError: the disk is full.
        """
        with writing(self.path):
            self._stream.write(json.dumps(row, allow_nan=False) + "\n")
            self._stream.flush()

    def sync(self) -> None:
        """Bring all rows to disk; to be called before a checkpoint says that they are there."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
