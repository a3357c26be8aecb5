"""Named collections of text for calibration: one file in ``corpora/`` each."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from adaptprune.data.hub_rows import read_split
from adaptprune.data.hub_splits import FirstRows, Split, note_origin, remove_partial
from adaptprune.data.sources import LocalSource, ensure_source
from adaptprune.errors import UserError, unknown
from adaptprune.files.atomic import (
    cache_directory,
    is_as_sealed,
    locked,
    sealed_file,
    writing,
)
from adaptprune.files.declared import Closed, declared
from adaptprune.files.hub_client import explained
from adaptprune.files.hub_files import resolve
from adaptprune.files.jsonlines import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)


class _Corpus(Closed):
    name: str
    note: str


class LocalCorpus(_Corpus):
    """A split of prose that this suite builds in the cache itself."""

    kind: LocalSource
    split: str
    #: Of the documents, where not all of them are meant.
    source: str | None = None


class HubCorpus(_Corpus):
    """The first documents of a hub data set's split, read once and kept in the cache.

    ``files`` says which files of the repository they lie in, where these are too many to be listed
    (see ``FirstRows``). ``origin`` is the column that says where a document is from (``a.b`` for b
    inside a), where that is wanted; in the cache it is called ``source``.
    """

    kind: Literal["hub"]
    repository: str
    configuration: str | None = None
    split: str
    column: str
    documents: int
    files: str | None = None
    origin: str | None = None

    @property
    def columns(self) -> list[str]:
        """What is kept of a row."""
        return [self.column, *([self.origin] if self.origin else [])]

    @property
    def reader(self) -> str | None:
        """The module that its files take besides those that all profiles need."""
        return "zstandard" if (self.files or "").endswith(".zst") else None

    @property
    def hub_split(self) -> Split:
        """The split that they are from."""
        return Split(self.repository, self.configuration, self.split)


Corpus = LocalCorpus | HubCorpus
_CORPUS: pydantic.TypeAdapter[Corpus] = pydantic.TypeAdapter(
    Annotated[Corpus, pydantic.Field(discriminator="kind")]
)


@functools.cache
def corpora() -> dict[str, Corpus]:
    """Return all named collections of text."""
    return {entry.name: entry for entry in declared(_CORPUS, "adaptprune.data", "corpora")}


def find_corpus(name: str) -> Corpus:
    """Return a named collection of text.

    Raises:
        UserError: there is none of that name.
    """
    if name not in corpora():
        raise unknown("calibration data", name, corpora())
    return corpora()[name]


def cached_documents(corpus: HubCorpus) -> Path:
    """Return where the cache holds the documents of a collection of the hub, fetched or not."""
    return cache_directory() / "corpora" / f"{corpus.name}.jsonl"


def corpus_file(name: str) -> Path:
    """Return the JSON-lines file of a collection, making it in the cache when absent.

    Raises:
        UserError: the name is unknown, or the data cannot be fetched or were altered since.
    """
    corpus = find_corpus(name)
    if isinstance(corpus, HubCorpus):
        path = cached_documents(corpus)
        if not path.is_file():
            fetch_documents(corpus, path)
        if not is_as_sealed(path):
            raise UserError(f"{path}: altered since it was fetched; delete it and run again")
        return path
    return ensure_source(corpus.kind) / "prose" / f"{corpus.split}.jsonl"


def read_texts(name: str, local_data: Path | None = None) -> list[str]:
    """Return the documents of a collection.

    Args:
        name: of the collection.
        local_data: folder that stands for the hub's data sets, None for the hub.

    Raises:
        UserError: the name is unknown, the data cannot be had, or a line is not a document.
    """
    corpus = find_corpus(name)
    if isinstance(corpus, HubCorpus) and local_data is not None:
        where = (local_data, corpus.repository, corpus.configuration, corpus.split)
        rows = read_split(*where, [corpus.column], limit=corpus.documents)
        return [str(text) for text in rows[corpus.column]]
    source = corpus.source if isinstance(corpus, LocalCorpus) else None
    return list(iterate_texts(corpus_file(name), source))


def iterate_texts(path: Path, source: str | None = None) -> Iterator[str]:
    """Yield the documents of a JSON-lines file, one ``{"text": …}`` a line.

    Args:
        path: the file.
        source: yield those alone whose ``source`` it is; None for all.

    Raises:
        UserError: a line is not a document.
    """
    for line, document in read_rows(path):
        text = document.get("text")
        if not isinstance(text, str):
            raise UserError(f"{path}: line {line} holds no document with a 'text'")
        if source is None or document.get("source") == source:
            yield text


def fetch_documents(corpus: HubCorpus, path: Path) -> Path:
    """Write the documents of a collection of the hub, unless they are there.

    Two processes never read the same from the hub. An interrupted reading goes on where it stopped.

    Args:
        corpus: the collection.
        path: of the file to make, ``.jsonl`` of ``{"document": …, "text": …}`` or ``.parquet`` with
            the column of the hub.

    Raises:
        UserError: the hub cannot be read, or the data set has no such column.
    """
    with locked(path):
        if path.is_file():
            return path
        page = f"datasets/{corpus.repository}"
        with explained(f"text {corpus.name!r}", page), writing(path):
            commit = resolve("dataset", corpus.repository, "main")
            partial = path.with_name(f".{path.name}.{commit.id}.part")
            first = FirstRows(corpus.hub_split, corpus.documents, corpus.files)
            rows = _checked(first.rows(commit, partial), corpus)
            with sealed_file(path) as temporary:
                write = _write_parquet if path.suffix == ".parquet" else _write_lines
                write(temporary, rows, corpus)
                note_origin(path, commit, first.read, documents=first.found, bytes=first.bytes)
        remove_partial(path)
        logger.warning(
            "text %s: %d of %d documents, from %d file(s) of %s (%.1f MB) at commit %s",
            *(corpus.name, first.found, corpus.documents, len(first.read), corpus.repository),
            *(first.bytes / 1e6, commit.id[:12]),
        )
    return path


def inside(row: Mapping[str, Any], column: str) -> Any:
    """Return what a row has in a column, ``a.b`` for b inside a; None where it has none."""
    found: Any = row
    for part in column.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _checked(rows: Iterator[dict[str, Any]], corpus: HubCorpus) -> Iterator[dict[str, Any]]:
    for row in rows:
        for column in corpus.columns:
            if inside(row, column) is None:
                raise UserError(f"{corpus.repository}: no column {column!r} (has {sorted(row)})")
        yield row


def _write_lines(path: Path, rows: Iterator[dict[str, Any]], corpus: HubCorpus) -> None:
    with path.open("w") as stream:
        for index, row in enumerate(rows):
            document = {"document": str(index), "text": row[corpus.column]}
            if corpus.origin:
                document["source"] = inside(row, corpus.origin)
            stream.write(json.dumps(document) + "\n")


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], corpus: HubCorpus) -> None:
    import pyarrow
    import pyarrow.parquet

    names = [column.partition(".")[0] for column in corpus.columns]
    kept = ({name: row[name] for name in names} for row in rows)
    first = next(kept, None)
    schema = pyarrow.schema([(corpus.column, pyarrow.string())])
    if first is not None:
        schema = pyarrow.Table.from_pylist([first]).schema
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        every = kept if first is None else chain([first], kept)
        while some := list(islice(every, 1000)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema))
