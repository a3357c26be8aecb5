"""Release files of the configured package index: fetched once, checked, never installed.

A release file (wheel or sdist) is only downloaded and read: nothing in it is ever run, and no name
inside it is ever used as a path.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from adaptprune.errors import UserError
from adaptprune.files.atomic import cache_directory, locked, sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pypi_simple import DistributionPackage, PyPISimple

logger = logging.getLogger(__name__)

PYPI = "https://pypi.org/simple/"
ATTEMPTS = 3
PAUSE_S = 2.0  # between attempts
TIMEOUT_S = (15.0, 60.0)  # to connect, and between two pieces of an answer
PIECE = 1 << 16  # bytes read at a time, and lost at most when a transfer breaks off


@dataclass(frozen=True)
class Release:
    """One file of a package index, pinned by its content.

    Attributes:
        project: name of the package on the index.
        filename: name of the wheel or sdist.
        sha256: hexadecimal sha256 of its bytes.
    """

    project: str
    filename: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file lies once downloaded, and where it may be copied by hand."""
        return cache_directory() / "downloads" / self.filename


def release_file(release: Release) -> Path:
    """Return the path of a release file, downloading it unless the cache holds it.

    An interrupted download goes on where it stopped. A lock makes other processes wait, also those
    of another clone that shares the cache.

    Raises:
        UserError: no index can be reached or none has the file, its bytes are not the pinned ones,
            or the cache cannot be written.
    """
    path = release.path
    with locked(path):
        if path.exists():
            if sha256_file(path) == release.sha256:
                return path
            path.unlink()  # altered since it was placed here
        _download(release, path)
    return path


def _download(release: Release, path: Path) -> None:
    """Bring the file to ``path``: attempts over all indexes, the hash checked at the end."""
    import requests

    partial = path.with_name(f".{path.name}.part")
    settings = pip_settings()
    indexes = _indexes(settings)
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            what = f"{release.filename}: {reason}"
            logger.warning("%s; attempt %d of %d in %.0f s", what, attempt + 1, ATTEMPTS, PAUSE_S)
            time.sleep(PAUSE_S)
        try:
            with _client(settings) as client:
                package = _find(release, indexes, client)
                resumed = _transfer(client, package, partial)
        except requests.RequestException as error:
            reason = _reason(error)
            continue
        found = sha256_file(partial)
        if found == release.sha256:
            partial.replace(path)
            return
        partial.unlink()
        reason = f"its sha256 is {found}, not {release.sha256}"
        if not resumed:
            raise UserError(f"{release.filename} from the package index is refused: {reason}")
    raise UserError(
        f"{release.filename}: the package index cannot be reached ({reason}); "
        f"run once with network, or copy {release.filename} to {path}"
    )


def _indexes(settings: dict[str, str]) -> list[str]:
    return [settings.get("index-url", PYPI), *settings.get("extra-index-url", "").split()]


def index_answers(timeout_s: float = 5.0) -> bool:
    """Say whether one of the configured package indexes answers, whatever it says."""
    import requests

    settings = pip_settings()
    with _client(settings) as client:
        for index in _indexes(settings):
            try:
                client.s.head(index, timeout=timeout_s)
            except requests.RequestException:
                continue
            return True
    return False


def pip_settings() -> dict[str, str]:
    """Return what pip is configured with; environment variables beat files, as in pip itself."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings: dict[str, str] = {}
    for section in ("global", "download", ":env:"):
        for line in answer.stdout.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(f"{section}."):
                settings[name.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return settings


@contextlib.contextmanager
def _client(settings: dict[str, str]) -> Iterator[PyPISimple]:
    """Yield a client of package indexes that trusts pip's certificates."""
    from pypi_simple import PyPISimple

    with PyPISimple() as client:
        certificates = os.environ.get("REQUESTS_CA_BUNDLE") or settings.get("cert")
        if certificates:
            if not os.path.exists(certificates):
                raise UserError(f"{certificates}: no such file of certificates (pip's `cert`)")
            client.s.verify = certificates
        yield client


def _find(release: Release, indexes: list[str], client: PyPISimple) -> DistributionPackage:
    """Return the index entry of a release file, from the first index that has it.

    Raises:
        UserError: every index answered, and none has the file.
        requests.RequestException: the last index that could not be asked.
    """
    import requests
    from pypi_simple import NoSuchProjectError, PyPISimple, UnsupportedContentTypeError

    failure: requests.RequestException | None = None
    for index in indexes:
        if urlsplit(index).scheme not in {"http", "https"}:
            continue  # a folder of this machine: a file in it is as easily copied by hand
        try:
            page = PyPISimple(index, session=client.s).get_project_page(
                release.project, timeout=TIMEOUT_S
            )
        except (NoSuchProjectError, UnsupportedContentTypeError):
            continue  # the second: a page that is no package index, such as a log-in page
        except requests.RequestException as error:
            failure = error
            continue
        for package in page.packages:
            if package.filename == release.filename:
                return package
    if failure is not None:
        raise failure
    hosts = ", ".join(str(urlsplit(index).hostname) for index in indexes)
    raise UserError(
        f"no configured package index ({hosts}) has {release.filename}; copy it to {release.path}"
    )


def _transfer(client: PyPISimple, package: DistributionPackage, partial: Path) -> bool:
    """Append what is still missing to ``partial`` and say whether it had a beginning already."""
    from tqdm import tqdm

    start = partial.stat().st_size if partial.exists() else 0
    # Compressed on the way, the byte positions would not be those of the file.
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with client.s.get(package.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        resumed = answer.status_code == 206
        if answer.status_code == 416:  # nothing follows: the beginning is the whole
            return True
        answer.raise_for_status()
        size = int(answer.headers.get("Content-Length", 0)) + (start if resumed else 0)
        progress: Any = tqdm(
            desc=package.filename,
            total=size or None,
            initial=start if resumed else 0,
            unit="B",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
        )
        with progress, partial.open("ab" if resumed else "wb") as stream:
            for piece in answer.iter_content(PIECE):
                stream.write(piece)
                progress.update(len(piece))
    return resumed


def _reason(error: Exception) -> str:
    """Return a few words about a network error, without addresses that may hold a password."""
    answer = getattr(error, "response", None)
    return type(error).__name__ if answer is None else f"HTTP status {answer.status_code}"


def members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content stream of the wanted files of an archive, in one pass.

    Args:
        archive: a wheel (zip) or an sdist (tar.gz).
        wanted: says of a member's name whether it is asked for.

    Raises:
        UserError: the archive cannot be read, or a wanted member is a link, a device, or has a
            name that leads out of the archive.
    """
    reader = _zip_members if archive.suffix in {".whl", ".zip"} else _tar_members
    try:
        yield from reader(archive, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise UserError(f"{archive}: not a readable archive ({error})") from None


def _zip_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as container:
        for entry in container.infolist():
            if entry.is_dir() or not wanted(entry.filename):
                continue
            kind = entry.external_attr >> 28  # the type bits of a Unix mode; 0 where none is given
            _refuse_unsafe(archive, entry.filename, regular=kind in {0, 0o10})
            with container.open(entry) as stream:
                yield entry.filename, stream


def _tar_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, mode="r|gz") as container:
        for entry in container:
            if entry.isdir() or not wanted(entry.name):
                continue
            _refuse_unsafe(archive, entry.name, regular=entry.isreg())
            stream = container.extractfile(entry)
            assert stream is not None  # a regular file has content
            yield entry.name, stream


def _refuse_unsafe(archive: Path, name: str, *, regular: bool) -> None:
    """Raise a UserError for a member that is not a plain file inside the archive."""
    parts = name.replace("\\", "/").split("/")
    if not regular or ".." in parts or parts[0] == "" or ":" in parts[0]:
        raise UserError(f"{archive}: member {name!r} is a link or leads out of the archive")
