"""Files of one commit of a hub repository, brought to disk and compared with the hub's hashes."""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adaptprune.errors import UserError
from adaptprune.files.atomic import sha256_file
from adaptprune.files.hub_client import SILENCE_S, check_reachable, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from huggingface_hub.hf_api import RepoFile, RepoFolder

logger = logging.getLogger(__name__)

#: Files that are fetched side by side.
AT_ONCE = 8
#: Times that a file is fetched whose bytes are not the hub's.
ATTEMPTS = 3


@dataclass(frozen=True)
class RemoteFile:
    """What the hub says of a file.

    Attributes:
        name: path inside the repository.
        size: in bytes.
        sha256: of a large file (LFS), None for another.
        blob: git's hash of a file that is not large.
    """

    name: str
    size: int
    sha256: str | None
    blob: str

    def found_sha256(self, path: Path) -> str | None:
        """Return the sha256 of a file on disk; None where it is not this one."""
        if not path.is_file() or path.stat().st_size != self.size:
            return None
        digest = sha256_file(path)
        same = digest == self.sha256 if self.sha256 else git_hash(path) == self.blob
        return digest if same else None


def git_hash(path: Path) -> str:
    """Return what git calls a file of this content (the sha1 of a blob)."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Commit:
    """One commit of a repository of the hub.

    Attributes:
        kind: of the repository.
        repository: ``owner/name``.
        revision: branch, tag or commit that was asked for.
        id: the commit.
    """

    kind: Literal["model", "dataset"]
    repository: str
    revision: str
    id: str

    @property
    def page(self) -> str:
        """Path of the repository's page."""
        return self.repository if self.kind == "model" else f"datasets/{self.repository}"

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return title_of(self.kind, self.repository, self.revision)

    def listing(self, folder: str = "") -> dict[str, RemoteFile]:
        """Return the files that lie in a folder, not below it, by name.

        Raises:
            UserError: the hub does not answer, or there is no such folder.
        """
        return _files(self._entries(folder))

    def walk(self, folder: str) -> Iterator[RemoteFile]:
        """Yield the files of a folder and those below it, in the order of their names.

        A folder is listed when it is reached.

        Raises:
            UserError: the hub does not answer, or there is no such folder.
        """
        entries = sorted(self._entries(folder), key=lambda entry: entry.path)
        for entry in entries:
            found = _files([entry])
            yield from found.values() if found else self.walk(entry.path)

    def _entries(self, folder: str) -> list[RepoFile | RepoFolder]:
        from huggingface_hub import HfApi

        with explained(self.title, self.page):
            return list(
                HfApi().list_repo_tree(
                    self.repository, folder or None, repo_type=self.kind, revision=self.id
                )
            )

    def find(self, names: Iterable[str]) -> dict[str, RemoteFile]:
        """Return those files that are there by name.

        Raises:
            UserError: the hub does not answer.
        """
        from huggingface_hub import HfApi

        wanted = sorted(set(names))
        with explained(self.title, self.page):
            entries = HfApi().get_paths_info(
                self.repository, wanted, repo_type=self.kind, revision=self.id
            )
            return _files(entries)

    def bring(self, files: Iterable[RemoteFile], folder: Path) -> dict[str, str]:
        """Bring files to a folder, as ``folder/name``; what is there already and right is kept.

        Returns:
            The sha256 of each file by name.

        Raises:
            UserError: a file cannot be had, or has other bytes than the hub says.
        """
        wanted = list(files)
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            hashes = list(pool.map(lambda file: self._bring_one(file, folder), wanted))
        finally:
            pool.shutdown(cancel_futures=True)
        return {file.name: digest for file, digest in zip(wanted, hashes, strict=True)}

    def _bring_one(self, file: RemoteFile, folder: Path) -> str:
        path, what = folder / file.name, f"{self.title}: {file.name}"
        wrong = ""
        for attempt in range(ATTEMPTS + 1):
            if (digest := file.found_sha256(path)) is not None:
                return digest
            if path.is_file():
                wrong = "its bytes are not those of the hub's hash"
                path.unlink()
            if attempt == ATTEMPTS:
                break
            if wrong:
                logger.warning("%s: %s; attempt %d of %d", what, wrong, attempt + 1, ATTEMPTS)
            wrong = self._download(file, folder, what)
        raise UserError(f"{what}: {wrong}, {ATTEMPTS} times; nothing of it is kept")

    def _download(self, file: RemoteFile, folder: Path, what: str) -> str:
        """Download a file; return what is wrong with an answer that ended too early, or nothing."""
        from huggingface_hub import hf_hub_download

        try:
            with explained(what, self.page):
                hf_hub_download(
                    self.repository,
                    file.name,
                    repo_type=self.kind,
                    revision=self.id,
                    local_dir=folder,
                )
        except UserError as error:
            if "Consistency check failed" not in str(error):  # of the client
                raise
            return "it ended too early"
        return ""


def cache_checked(commit: Commit, name: str) -> None:
    """Bring a file to the client's own cache, where `datasets` looks for it, if there is one.

    Raises:
        UserError: it cannot be had, or has other bytes than the hub says.
    """
    from huggingface_hub import hf_hub_download

    for file in commit.find([name]).values():
        for attempt in range(ATTEMPTS):
            with explained(f"{commit.title}: {name}", commit.page):
                path = hf_hub_download(
                    commit.repository,
                    name,
                    repo_type=commit.kind,
                    revision=commit.id,
                    force_download=attempt > 0,
                )
            if file.found_sha256(Path(path)) is not None:
                return
        raise UserError(f"{commit.title}: {name}: its bytes are not those of the hub's hash")


def title_of(kind: str, repository: str, revision: str) -> str:
    """Return what a revision of a repository is called in messages."""
    name = repository if revision == "main" else f"{repository}@{revision}"
    return f"{'model' if kind == 'model' else 'data set'} {name}"


def _files(entries: Iterable[RepoFile | RepoFolder]) -> dict[str, RemoteFile]:
    from huggingface_hub.hf_api import RepoFile

    return {
        entry.path: RemoteFile(
            entry.path, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id
        )
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def resolve(kind: Literal["model", "dataset"], repository: str, revision: str) -> Commit:
    """Return the commit that a branch, tag or commit is now.

    Raises:
        UserError: the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import HfApi

    unknown = Commit(kind, repository, revision, "")
    with explained(unknown.title, unknown.page):
        check_reachable()
        about = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=SILENCE_S)
    return Commit(kind, repository, revision, str(about.sha))
