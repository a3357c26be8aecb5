"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import platformdirs
from filelock import FileLock
from psutil import pid_exists

from adaptprune.errors import UserError
from adaptprune.files.surroundings import NO_HOME, expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What the system answers where a path cannot be written, whatever is being written.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG}
#: Lists the files of a folder that the suite wrote.
MANIFEST = "manifest.json"
#: This machine, in the names of temporary files.
_HOST = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:6]
#: Hashes of files that this process has read: by device, inode, size and time of the last change.
_hashes: dict[tuple[int, int, int, int], str] = {}
#: How old a change must be for the next one to have another time; clocks of files are coarse.
_SETTLED_NS = 100_000_000


def cache_directory() -> Path:
    """Return the folder of downloaded models and data: ``ADAPTPRUNE_CACHE`` or the user's cache.

    Raises:
        UserError: there is neither.
    """
    if configured := os.environ.get("ADAPTPRUNE_CACHE"):
        return expanded(Path(configured))
    folder = Path(platformdirs.user_cache_dir("adaptprune"))
    if folder.is_relative_to(NO_HOME):
        raise UserError("this account has no home folder; set ADAPTPRUNE_CACHE, or HOME")
    return folder


def sha256_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes.

    A process reads a file again only where it was written to since: the time of its last change
    tells, unless that was just now or is told in whole seconds.
    """
    with path.open("rb") as stream:
        state = _state(stream)
        if state in _hashes:
            return _hashes[state]
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        changed = state[-1]
        if changed % 10**9 and time.time_ns() - changed > _SETTLED_NS and state == _state(stream):
            _hashes[state] = digest
        return digest


def _state(stream: BinaryIO) -> tuple[int, int, int, int]:
    """Return what changes when a file is replaced or written to; the time of the change last."""
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def sha256_json(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(path: Path) -> None:
    """Flush a file to disk, so that the rename that follows never publishes empty data."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def writing(path: Path, *, alone: bool = False) -> Iterator[None]:
    """Tell in one line that a path cannot be written: the disk is full, or read-only.

    Args:
        path: what is written.
        alone: whether nothing else is done meanwhile, so that any error of the system counts.

    Raises:
        UserError: names the path and the reason.
    """
    try:
        yield
    except Exception as error:
        # The cause: a file inside of a folder that is being written has told it already.
        number = _refusal(error) or _refusal(error.__cause__)
        if alone and isinstance(error, OSError):
            number = error.errno
        if number is None:
            raise
        raise UserError(
            f"{path}: cannot be written ({os.strerror(number)}); what was there is unchanged"
        ) from error


def _refusal(error: BaseException | None) -> int | None:
    """Return the error number with which the system refused to write, None for another error.

    Libraries that are not written in Python tell it in the text of errors of their own.
    """
    told = re.search(r"\(os error (\d+)\)", str(error))
    number = int(told[1]) if told else getattr(error, "errno", None)
    return number if number in _UNWRITABLE else None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a path that several processes may want to make; its folder is made.

    Raises:
        UserError: the path cannot be written.
    """
    with writing(path, alone=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path.with_name(f".{path.name}.lock")).acquire()
    with held, writing(path):
        yield


def _temporary_prefix(path: Path, kind: str = "") -> str:
    """Return how the names of this process's temporary siblings of a path begin."""
    return f".{path.name}.{kind}{_HOST}-{os.getpid()}-"


def remove_leftovers(path: Path, *, only_writer: bool = False) -> None:
    """Remove the temporary siblings of a path whose writers were killed.

    Args:
        path: a file or folder that is written atomically.
        only_writer: whether no other process can be writing it (a lock is held), or else only
            those siblings are removed whose process on this machine is gone.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.(?:old\.)?([0-9a-f]{{6}})-(\d+)-\w{{8}}")
    for sibling in path.parent.iterdir():
        match = name.fullmatch(sibling.name)
        if match and (only_writer or (match[1] == _HOST and not pid_exists(int(match[2])))):
            if sibling.is_dir():
                shutil.rmtree(sibling, ignore_errors=True)
            else:
                sibling.unlink(missing_ok=True)


def _make_temporary(path: Path, *, folder: bool) -> Path:
    """Make an empty temporary sibling of a path, and remove those that killed writers left.

    Raises:
        UserError: that cannot be.
    """
    with writing(path, alone=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        if path.exists() and not (path.is_dir() or path.is_file()):
            raise UserError(f"{path}: is no regular file")
        if path.exists() and path.is_dir() != folder:
            is_there, wanted = ("file", "folder") if folder else ("folder", "file")
            raise UserError(f"{path}: is a {is_there}, a {wanted} is to be written there")
        prefix = _temporary_prefix(path)
        if folder:
            return Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
        os.close(descriptor)
        return Path(name)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it when the block ends well.

    Raises:
        UserError: the path cannot be written, or is that of a folder.
    """
    temporary = _make_temporary(path, folder=False)
    with writing(path):
        try:
            yield temporary
            temporary.chmod(0o644)
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def foreign_files(folder: Path) -> list[str]:
    """Return what lies in a folder that its manifest does not list, sorted by name.

    A folder without a manifest is foreign with all that it holds; so is every link.
    """
    listed: Any = {}
    if (folder / MANIFEST).is_file():
        with contextlib.suppress(UserError, KeyError, TypeError):
            listed = read_json(folder / MANIFEST)["files"]
    names = {MANIFEST, *listed} if isinstance(listed, dict) and listed else set()
    return sorted(
        name
        for path in folder.rglob("*")
        if (name := path.relative_to(folder).as_posix()) not in names
        and (path.is_symlink() or not path.is_dir())
    )


def refuse_foreign(folder: Path, is_known: Callable[[str], bool] | None = None) -> None:
    """Refuse to replace what is no folder, or holds anything but what the suite wrote there.

    Args:
        folder: where something may lie.
        is_known: says of a file that the manifest does not list whether it may be replaced.

    Raises:
        UserError: names the folder, and a file in it.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder}: is no folder, a folder is to be written there; move it away")
    names = foreign_files(folder) if folder.is_dir() else []
    for name in names:
        if is_known is None or not is_known(name):
            raise UserError(
                f"{folder}: holds {name!r}, which this suite did not write there; move it away"
            )


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that replaces ``path`` when the block ends well.

    A link to a folder counts as that folder.

    Raises:
        UserError: the path cannot be written, is that of a file, or of a folder that holds what
            the suite did not write there.
    """
    path = Path(os.path.realpath(path))
    refuse_foreign(path)
    temporary = _make_temporary(path, folder=True)
    with writing(path):
        try:
            yield temporary
            temporary.chmod(0o755)
            for file in temporary.rglob("*"):
                if file.is_file():
                    file.chmod(0o644)  # some libraries write for the owner alone
                    _sync(file)
            refuse_foreign(path)  # once more: the block may have taken hours
            publish_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def publish_folder(complete: Path, path: Path) -> None:
    """Give a complete folder its name, in the place of one that may be there."""
    if path.exists():
        old = _put_aside(path)
        complete.replace(path)
        shutil.rmtree(old)
    else:
        complete.replace(path)


def remove_folder(path: Path) -> None:
    """Remove a folder that the suite wrote, if it is there: at once, so that a kill leaves no half.

    What a removal that was killed left beside it goes too.
    """
    if path.is_dir():
        shutil.rmtree(_put_aside(path), ignore_errors=True)
    if path.parent.is_dir():
        remove_leftovers(path)


def _put_aside(path: Path) -> Path:
    """Move a folder into a temporary one beside it; return that one."""
    old = Path(tempfile.mkdtemp(prefix=_temporary_prefix(path, "old."), dir=path.parent))
    path.replace(old / path.name)
    return old


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity are refused."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def seal(value: dict[str, Any]) -> dict[str, Any]:
    """Return a record with a hash over its content, so that a later change of it shows."""
    return value | {"sha256": sha256_json(value)}


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Write a sealed record."""
    write_json(path, seal(value))


def unseal(path: Path, content: Any) -> dict[str, Any]:
    """Return a sealed record that was read from ``path``, without its hash.

    Raises:
        UserError: it is not what was written.
    """
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping with its sha256")
    record = {key: value for key, value in content.items() if key != "sha256"}
    if content.get("sha256") != sha256_json(record):
        raise UserError(f"{path}: altered since it was written (its sha256 does not fit)")
    return record


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read a sealed record.

    Raises:
        UserError: it is absent, unreadable, or not what was written.
    """
    return unseal(path, read_json(path))


def find_sealed_json(path: Path) -> dict[str, Any] | None:
    """Read a sealed record, None where there is none."""
    return read_sealed_json(path) if path.is_file() else None


def write_texts(stem: Path, texts: dict[str, str]) -> None:
    """Write one thing in several forms, atomically: ``<stem><suffix>`` for each suffix."""
    for suffix, text in texts.items():
        with atomic_file(stem.with_name(stem.name + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


@contextlib.contextmanager
def sealed_file(path: Path) -> Iterator[Path]:
    """Write a file as ``atomic_file`` does, with its sha256 beside it (``FILE.sha256``).

    The hash is as ``sha256sum`` writes it. It is there first, so that the file is never without.
    """
    with atomic_file(path) as temporary:
        yield temporary
        with atomic_file(_seal_of(path)) as hash_file:
            hash_file.write_text(f"{sha256_file(temporary)}  {path.name}\n")


def is_as_sealed(path: Path) -> bool:
    """Say whether a file is what its seal says; one that has none is taken as it is."""
    seal = _seal_of(path)
    return not (seal.is_file() and path.is_file()) or (
        seal.read_bytes().split()[:1] == [sha256_file(path).encode()]
    )


def nearest_folder(path: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is absent, unreadable, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from None


def record_hash(content: dict[str, Any]) -> str:
    """Return a hash of a record as it comes out again on any machine: without its provenance."""
    return sha256_json({key: value for key, value in content.items() if key != "provenance"})
