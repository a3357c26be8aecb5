"""What generated files were made from, so that a table is never that of something else.

Beside every results file, table, figure and page lies a record: a digest of what it was asked to
show, and the hashes of the files that were written. The workflow looks at it whenever it builds its
graph, so it needs none of Snakemake's own notes, which are lost with the folder ``.snakemake``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import find_sealed_json, sha256_file, write_sealed_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def write_made_from(record: Path, digest: str, files: Sequence[Path]) -> None:
    """Note what files that have just been written were made from.

    Args:
        record: the file to write.
        digest: of what they were asked to show.
        files: the files.
    """
    hashes = {str(file): sha256_file(file) for file in files}
    write_sealed_json(record, {"made_from": digest, "files": hashes})


def is_made_from(record: Path, digest: str, inputs: Iterable[str]) -> bool:
    """Say whether files were made from what is wanted now, and are still what was written.

    Inputs that came to lie here after the record was written count as others. Their change time
    tells: unlike the modification time, it cannot be copied along.

    Args:
        record: what ``write_made_from`` wrote.
        digest: of what is wanted.
        inputs: paths of the files that they are made of; those that are absent are to be made.
    """
    try:
        content: dict[str, Any] | None = find_sealed_json(record)
    except UserError:
        return False
    if content is None or content.get("made_from") != digest:
        return False
    try:
        written = os.stat(record).st_ctime_ns
        if any(_changed(path) > written for path in inputs):
            return False
        hashes = content["files"].items()
        return all(sha256_file(Path(file)) == written_hash for file, written_hash in hashes)
    except OSError:
        return False


def _changed(path: str) -> int:
    """Return when a file came to be what it is (ns); 0 for one that is absent."""
    try:
        return os.stat(path).st_ctime_ns
    except FileNotFoundError:
        return 0
