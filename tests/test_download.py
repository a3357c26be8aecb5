"""Release files: found on the configured index, whole or refused, read without being trusted."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
from package_index import Index, serve, sha256

from adaptprune.errors import UserError
from adaptprune.files import releases as download
from adaptprune.files.releases import Release, members, pip_settings, release_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "thing-1.0.tar.gz"
CONTENT = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setattr(download, "PAUSE_S", 0.0)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with serve(Index({NAME: CONTENT})) as running:
        monkeypatch.setenv("PIP_INDEX_URL", running.url)
        yield running


@pytest.fixture
def release() -> Release:
    return Release("thing", NAME, sha256(CONTENT))


def _unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://user:secret@127.0.0.1:{probe.getsockname()[1]}/simple/"


def test_download_is_whole_and_done_once(index: Index, release: Release) -> None:
    path = release_file(release)
    assert path.read_bytes() == CONTENT
    asked = len(index.requests)
    assert release_file(release) == path
    assert len(index.requests) == asked


def test_broken_download_goes_on_where_it_stopped(index: Index, release: Release) -> None:
    index.cut = [300_000, 200_000]
    assert release_file(release).read_bytes() == CONTENT
    starts = [start for path, start in index.requests if path.startswith("/files/")]
    pieces = [300_000 // download.PIECE, 300_000 // download.PIECE + 200_000 // download.PIECE]
    assert starts == [None, *(f"bytes={count * download.PIECE}-" for count in pieces)]


def test_broken_download_is_never_used(index: Index, release: Release) -> None:
    index.cut = [100_000] * download.ATTEMPTS
    with pytest.raises(UserError, match=f"copy {NAME} to"):
        release_file(release)
    assert not release.path.exists()
    assert release_file(release).read_bytes() == CONTENT


def test_spoilt_beginning_is_downloaded_again(index: Index, release: Release) -> None:
    release.path.parent.mkdir(parents=True)
    release.path.with_name(f".{NAME}.part").write_bytes(b"spoilt" * 100)
    assert release_file(release).read_bytes() == CONTENT


def test_altered_file_is_downloaded_again(index: Index, release: Release) -> None:
    release_file(release).write_bytes(CONTENT[:-1])
    assert release_file(release).read_bytes() == CONTENT


def test_wrong_hash_is_refused(index: Index) -> None:
    release = Release("thing", NAME, "0" * 64)
    with pytest.raises(UserError, match="is refused: its sha256 is"):
        release_file(release)
    assert not release.path.exists()


def test_file_that_no_index_has(index: Index) -> None:
    with pytest.raises(UserError, match=r"no configured package index .* has thing-2.0.tar.gz"):
        release_file(Release("thing", "thing-2.0.tar.gz", "0" * 64))


def test_unreachable_index_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, release: Release
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", _unused_url())
    with pytest.raises(UserError, match="package index cannot be reached") as caught:
        release_file(release)
    assert str(release.path) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_copied_file_needs_no_index(monkeypatch: pytest.MonkeyPatch, release: Release) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", _unused_url())
    release.path.parent.mkdir(parents=True)
    release.path.write_bytes(CONTENT)
    assert release_file(release) == release.path


def test_extra_index_is_asked_when_the_first_lacks_the_file(
    monkeypatch: pytest.MonkeyPatch, release: Release
) -> None:
    with serve(Index()) as first, serve(Index({NAME: CONTENT})) as second:
        monkeypatch.setenv("PIP_INDEX_URL", first.url)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", second.url)
        assert release_file(release).read_bytes() == CONTENT


def test_pip_settings_come_from_files_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://a/\ncert = /b\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://c/")
    monkeypatch.delenv("PIP_CERT", raising=False)
    settings = pip_settings()
    assert settings["index-url"] == "http://c/"
    assert settings["cert"] == "/b"


def test_two_processes_at_once_download_once(index: Index, release: Release) -> None:
    code = (
        "from adaptprune.files.releases import Release, release_file;"
        f"release_file(Release('thing', {NAME!r}, {release.sha256!r}))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert len([path for path, _ in index.requests if path.startswith("/files/")]) == 1
    assert release.path.read_bytes() == CONTENT


def _tar(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as container:
        for entry in entries:
            container.addfile(entry, io.BytesIO(b"x" * entry.size))
    return path


def _entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.linkname = "/etc/passwd"
    entry.size = 3 if kind == tarfile.REGTYPE else 0
    return entry


def test_members_of_both_kinds_of_archive(tmp_path: Path) -> None:
    sdist = _tar(tmp_path / "a.tar.gz", _entry("a/b.json"), _entry("a/c.py"))
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as container:
        container.writestr("a/b.json", "xxx")
        container.writestr("a/c.py", "xxx")
    for archive in (sdist, wheel):
        found = [(name, stream.read()) for name, stream in members(archive, lambda n: "json" in n)]
        assert found == [("a/b.json", b"xxx")]


@pytest.mark.parametrize(
    "entry",
    [
        _entry("../a"),
        _entry("/a"),
        _entry("a/../../b"),
        _entry("a", tarfile.SYMTYPE),
        _entry("a", tarfile.LNKTYPE),
        _entry("a", tarfile.FIFOTYPE),
        _entry("a", tarfile.CHRTYPE),
        _entry("a", tarfile.BLKTYPE),
        _entry("C:/a"),
        _entry("a\\..\\..\\b"),
    ],
    ids=lambda entry: f"{entry.name}-{entry.type!r}",
)
def test_unsafe_tar_members_are_refused(tmp_path: Path, entry: tarfile.TarInfo) -> None:
    with pytest.raises(UserError, match="is a link or leads out"):
        list(members(_tar(tmp_path / "a.tar.gz", entry), lambda _: True))


def test_unsafe_zip_members_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("a")
    link.external_attr = 0o120777 << 16
    device = zipfile.ZipInfo("a")
    device.external_attr = 0o020666 << 16
    names = ("../a", "/a", "a/../../b", "C:/a")
    for entry in (link, device, *map(zipfile.ZipInfo, names)):
        with zipfile.ZipFile(tmp_path / "a.whl", "w") as container:
            container.writestr(entry, "xxx")
        with pytest.raises(UserError, match="is a link or leads out"):
            list(members(tmp_path / "a.whl", lambda _: True))


@pytest.mark.parametrize("name", ["a.whl", "a.tar.gz"])
def test_truncated_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not an archive")
    with pytest.raises(UserError, match="not a readable archive"):
        list(members(tmp_path / name, lambda _: True))
