"""What the hub of the tests says of a commit: its files, their sizes and their hashes."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

#: What the hub keeps in its store of large files.
LARGE = (".safetensors", ".parquet", ".zst", ".bin", ".pth", "tokenizer.model")


class Commit:
    """The files of one commit of a repository, and what the hub says of them."""

    def __init__(self, folder: Path) -> None:
        self.files = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        entries = {name: _file_entry(name, path) for name, path in self.files.items()}
        listed = "".join(f"{entry['oid']} {name}\n" for name, entry in entries.items())
        self.id = _git_hash(listed.encode())
        for name in self.files:
            for parent in Path(name).parents[:-1]:
                entries[parent.as_posix()] = {
                    "type": "directory",
                    "path": parent.as_posix(),
                    "oid": _git_hash(parent.as_posix().encode()),
                    "size": 0,
                }
        self.entries = dict(sorted(entries.items()))

    def etag(self, name: str) -> str:
        """Return sha256 of a large file, git's hash of another."""
        entry = self.entries[name]
        return str(entry.get("lfs", entry)["oid"])

    def listing(self, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        start = f"{folder}/" if folder else ""
        inside = [(name, e) for name, e in self.entries.items() if name.startswith(start)]
        return [entry for name, entry in inside if recursive or "/" not in name[len(start) :]]


def _git_hash(content: bytes) -> str:
    """Return what git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@functools.cache
def _hashes(path: Path) -> tuple[str, str]:
    """Return git's hash and sha256 of a file; repositories are not changed once served."""
    content = path.read_bytes()
    return _git_hash(content), hashlib.sha256(content).hexdigest()


def _file_entry(name: str, path: Path) -> dict[str, Any]:
    blob, sha256 = _hashes(path.resolve())
    size = path.stat().st_size
    entry = {"type": "file", "path": name, "oid": blob, "size": size}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
    return entry
