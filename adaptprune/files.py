"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import yaml

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


def cache_directory() -> Path:
    """Return the folder of downloaded models and data: ``ADAPTPRUNE_CACHE`` or the user's cache."""
    configured = os.environ.get("ADAPTPRUNE_CACHE")
    return Path(configured) if configured else Path(platformdirs.user_cache_dir("adaptprune"))


def sha256_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sync(path: Path) -> None:
    """Flush a file to disk, so that the rename that follows never publishes empty data."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        _sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that replaces ``path`` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity are refused."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """Write a record with a hash over its content, so that a later change of it shows."""
    write_json(path, value | {"sha256": sha256_json(value)})


def unseal(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Return a record that ``write_sealed_json`` wrote to ``path``, without its hash.

    Raises:
        UserError: it is not what was written.
    """
    record = {key: value for key, value in content.items() if key != "sha256"}
    if content.get("sha256") != sha256_json(record):
        raise UserError(f"{path}: altered since it was written (its sha256 does not fit)")
    return record


def write_texts(stem: Path, texts: dict[str, str]) -> None:
    """Write one thing in several forms, atomically: ``<stem><suffix>`` for each suffix."""
    for suffix, text in texts.items():
        with atomic_file(stem.with_name(stem.name + suffix)) as temporary:
            temporary.write_text(text, encoding="utf-8")


def packaged_yaml(package: str, folder: str) -> dict[str, Any]:
    """Return the content of the YAML files in a folder of a package, by name without suffix."""
    files = {file.name: file for file in (resources.files(package) / folder).iterdir()}
    return {
        name.removesuffix(".yaml"): yaml.safe_load(files[name].read_text(encoding="utf-8"))
        for name in sorted(files)
        if name.endswith(".yaml")
    }


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is absent, unreadable, or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from None
