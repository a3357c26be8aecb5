"""Splits of the hub's data sets, and the first documents of one, brought to disk once.

Which files make a split is what `datasets` says for a commit of the data set. The files themselves
come through `hubfiles`, so that their bytes are the hub's, and `datasets` reads them from the disk.
"""

from __future__ import annotations

import functools
import logging
import math
import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Any

from adaptprune.data.hub_rows import check_columns, find_split, split_stem
from adaptprune.errors import UserError, unknown
from adaptprune.files.atomic import (
    cache_directory,
    locked,
    read_json,
    sealed_file,
    write_json,
    writing,
)
from adaptprune.files.hub_client import endpoint, explained
from adaptprune.files.hub_files import AT_ONCE, Commit, RemoteFile, cache_checked, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import datasets

logger = logging.getLogger(__name__)
CARD = "README.md"


def hub_folder() -> Path:
    """Return the folder of the cache that stands for the hub, laid out as `hubdata` describes."""
    return cache_directory() / "hub"


@dataclass(frozen=True)
class Split:
    """A split of a data set of the hub.

    Attributes:
        dataset: ``owner/name``.
        configuration: of the data set, None for its only one.
        name: the hub's name of the split.
        revision: branch, tag or commit.
    """

    dataset: str
    configuration: str | None
    name: str
    revision: str = "main"

    def stem(self, folder: Path) -> Path:
        """Return where the split lies in a folder that stands for the hub, without suffix."""
        return split_stem(folder, self.dataset, self.configuration, self.name)

    @property
    def title(self) -> str:
        """What it is called in messages."""
        configuration = f" ({self.configuration})" if self.configuration else ""
        return f"data set {self.dataset}{configuration}, split {self.name}"


def fetch_split(
    folder: Path,
    split: Split,
    *,
    columns: Sequence[str] = (),
    only_columns: bool = False,
    documents: int | None = None,
) -> Path:
    """Return the file of a split, fetching it when absent; two processes never fetch the same.

    Args:
        folder: laid out as `hubdata` describes.
        split: what is fetched.
        columns: that must be there; ``a.b`` for b inside a.
        only_columns: whether the others are left out.
        documents: how many rows there must be, None for any number.

    Raises:
        UserError: it cannot be fetched, or lacks a column, or has another size.
    """
    stem = split.stem(folder)
    if (file := find_split(stem)) is not None:
        return file
    file = stem.with_name(f"{stem.name}.parquet")
    with locked(file):
        if find_split(stem) is not None:  # another process was quicker
            return file
        with explained(split.title, f"datasets/{split.dataset}"), writing(file):
            commit = _commit_of(split.dataset, split.revision, endpoint())
            partial = file.with_name(f".{file.name}.{commit.id}.part")
            reader = _Reader.of(split, commit, partial)
            hashes = commit.bring(reader.files, partial)
            rows = reader.read(partial)
            check_columns(rows.features, columns, split.dataset)
            if documents is not None and len(rows) != documents:
                raise UserError(
                    f"has {len(rows)} documents, its full set has {documents}; the data are "
                    "incomplete or of another version"
                )
            if only_columns:
                rows = rows.select_columns(
                    list(dict.fromkeys(column.partition(".")[0] for column in columns))
                )
        with sealed_file(file) as temporary:
            rows.to_parquet(temporary)
            note_origin(file, commit, hashes)
        remove_partial(file)
    return file


@functools.cache
def _commit_of(dataset: str, revision: str, address: str) -> Commit:
    """Return a data set's commit, one for all splits that a process fetches from a hub."""
    return resolve("dataset", dataset, revision)


def _origin(file: Path) -> Path:
    return file.with_name(f"{file.name}.origin.json")


def note_origin(file: Path, commit: Commit, hashes: dict[str, str], **more: Any) -> None:
    """Write beside a file of which commit and files it was made (``FILE.origin.json``)."""
    origin = {"repository": commit.repository, "revision": commit.revision, "commit": commit.id}
    write_json(_origin(file), origin | more | {"files": hashes})


def commits_of(files: Sequence[Path]) -> dict[str, str]:
    """Return the commits that files were made of, by data set, as far as they are noted."""
    noted = [read_json(_origin(file)) for file in files if _origin(file).is_file()]
    return {origin["repository"]: origin["commit"] for origin in noted}


def remove_partial(file: Path) -> None:
    """Remove what downloads of a file, of whichever commit, left beside it."""
    for other in file.parent.glob(f".{file.name}.*.part"):
        shutil.rmtree(other, ignore_errors=True)


def _builder(
    partial: Path,
    path: str,
    name: str | None = None,
    *,
    revision: str | None = None,
    data_files: dict[str, list[str]] | None = None,
) -> datasets.DatasetBuilder:
    """Return a builder of `datasets` whose use is not counted on another host than the hub."""
    import datasets

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return datasets.load_dataset_builder(
        path,
        name,
        revision=revision,
        data_files=data_files,
        cache_dir=str(partial / "cache"),
    )


@dataclass(frozen=True)
class _Reader:
    """The files of a split at a commit, and the builder of `datasets` that reads them."""

    split: Split
    files: list[RemoteFile]
    builder: datasets.DatasetBuilder

    @classmethod
    def of(cls, split: Split, commit: Commit, partial: Path) -> _Reader:
        """Ask the hub which files make a split.

        Raises:
            UserError: there is no such split, or its data lie elsewhere.
        """
        cache_checked(commit, CARD)
        builder = _builder(partial, split.dataset, split.configuration, revision=commit.id)
        listed: Any = builder.config.data_files or {}
        if split.name not in listed:
            raise unknown("split", split.name, listed)
        root = f"hf://datasets/{commit.repository}@{commit.id}/"
        names = [str(url).removeprefix(root) for url in listed[split.name]]
        found = commit.find(names)
        if lost := next((name for name in names if name not in found), None):
            raise UserError(f"its data lie elsewhere ({lost})")
        return cls(split, [found[name] for name in names], builder)

    def _aim(self, paths: list[Path]) -> None:
        """Let the builder read these files."""
        from datasets.data_files import DataFilesDict, DataFilesList

        places = [str(path.absolute()) for path in paths]
        local = DataFilesList(places, [(place,) for place in places])
        self.builder.config.data_files = DataFilesDict({self.split.name: local})

    def read(self, partial: Path) -> datasets.Dataset:
        """Return the rows of the split, whose files lie in a folder."""
        self._aim([partial / file.name for file in self.files])
        place = partial / "cache" / "rows"
        shutil.rmtree(place, ignore_errors=True)
        # The hub's card may list other splits and no longer true sizes: the bytes are checked.
        self.builder.download_and_prepare(output_dir=str(place), verification_mode="no_checks")
        rows: Any = self.builder.as_dataset(split=self.split.name)
        return rows

    def iterate(self, paths: list[Path]) -> Iterator[dict[str, Any]]:
        """Yield the rows of some files of the split."""
        self._aim(paths)
        yield from self.builder.as_streaming_dataset(split=self.split.name)


@dataclass
class FirstRows:
    """The first rows of a split, in the order of the names of its files.

    Attributes:
        split: that is read.
        count: how many rows.
        files: pattern of the files inside the repository, of JSON lines, whose ``*`` stands for
            folders too; they are listed no further than they are read. None for what the data set
            says, which takes a listing of all its files.
        read: what was read so far: sha256 by name.
        bytes: of those files.
        found: rows so far.
    """

    split: Split
    count: int
    files: str | None = None
    read: dict[str, str] = field(default_factory=dict)
    bytes: int = 0
    found: int = 0

    def rows(self, commit: Commit, partial: Path) -> Iterator[dict[str, Any]]:
        """Yield the rows; no more files are fetched than hold them, and stay in ``partial``.

        Raises:
            UserError: the hub cannot be read.
        """
        reader, left = self._reader(commit, partial)
        while self.found < self.count:
            # As many files as will be needed, to judge by those before.
            lacking = self.count - self.found
            needed = math.ceil(lacking * len(self.read) / self.found) if self.found else 1
            some = list(islice(left, min(needed, AT_ONCE)))
            if not some:
                return
            self.read |= commit.bring(some, partial)
            self.bytes += sum(file.size for file in some)
            for row in islice(reader.iterate([partial / file.name for file in some]), lacking):
                self.found += 1
                yield row

    def _reader(self, commit: Commit, partial: Path) -> tuple[_Reader, Iterator[RemoteFile]]:
        """Return what reads the files, and the files."""
        if self.files is None:
            reader = _Reader.of(self.split, commit, partial)
            return reader, iter(reader.files)
        pattern = self.files
        folder = pattern.partition("*")[0].rpartition("/")[0]
        builder = _builder(partial, "json", data_files={self.split.name: []})
        left = (file for file in commit.walk(folder) if fnmatchcase(file.name, pattern))
        return _Reader(self.split, [], builder), left
