"""What folders of the suite say of themselves: manifests of files, records of their making."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import (
    MANIFEST,
    find_sealed_json,
    locked,
    read_json,
    remove_leftovers,
    sha256_file,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def write_manifest(
    folder: Path, origin: dict[str, str] | None = None, known: dict[str, str] | None = None
) -> None:
    """Record size (bytes) and sha256 of every file under a folder in its ``manifest.json``.

    Args:
        folder: whose files are listed.
        origin: where they come from, recorded beside them and no part of any hash.
        known: sha256 of files that were read a moment ago, by name.
    """
    known = known or {}
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    files = {
        name: {"bytes": path.stat().st_size, "sha256": known.get(name) or sha256_file(path)}
        for name, path in paths.items()
        if path.is_file() and path.name != MANIFEST
    }
    write_json(folder / MANIFEST, (origin or {}) | {"files": files})


def verify_folder(
    path: Path, *, hashes: bool = True, cure: str = "fetch it again"
) -> dict[str, Any]:
    """Check a folder's files against its manifest; return what it says of each, by name.

    Args:
        path: a folder that has a ``manifest.json``.
        hashes: whether to read every file; without, only presence and size are checked.
        cure: what to do after deleting a damaged folder.

    Raises:
        UserError: the manifest or a file is missing, or a file differs from the manifest.
    """
    manifest = read_json(path / MANIFEST)
    again = f"delete {path} and {cure}"
    listed = _listed_files(manifest)
    if not listed:
        raise UserError(f"{path / MANIFEST}: not a list of files; {again}")
    for name, size, digest in listed:
        file = path / name
        if not file.is_file():
            raise UserError(f"{file}: missing; {again}")
        if file.stat().st_size != size:
            raise UserError(f"{file}: has {file.stat().st_size} bytes, not {size}; {again}")
        if hashes and sha256_file(file) != digest:
            raise UserError(f"{file}: its content was altered; {again}")
    files: dict[str, Any] = manifest["files"]
    return files


def _listed_files(manifest: Any) -> list[tuple[str, int, str]]:
    """Return name, size and hash of a manifest's files; nothing where it is not a manifest."""
    try:
        return [(str(n), int(e["bytes"]), str(e["sha256"])) for n, e in manifest["files"].items()]
    except (TypeError, KeyError, AttributeError, ValueError):
        return []


def _has_manifest(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


@contextlib.contextmanager
def only_maker(target: Path, is_made: Callable[[Path], bool] = _has_manifest) -> Iterator[bool]:
    """Hold the lock of a cache folder; yield whether the folder is still to be made.

    A folder appears whole, so one that exists needs no lock (and may be read-only). What a killed
    maker left beside the folder is removed.

    Args:
        target: the folder.
        is_made: says whether a folder needs nothing more.

    Raises:
        UserError: the folder cannot be written.
    """
    if is_made(target):
        yield False
        return
    with locked(target):
        remove_leftovers(target, only_writer=True)
        yield not is_made(target)


#: What a folder says of how its model came about; a trained model's recovery comes first.
RECORDS = ("recovery.json", "pruning.json")


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what a folder says of how its model came about; a recovery comes first."""
    for name in RECORDS:
        if record := find_sealed_json(folder / name):
            yield record
