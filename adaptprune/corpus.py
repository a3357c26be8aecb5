"""Named collections of text for calibration: one file in ``corpora/`` each."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from adaptprune.errors import UserError, unknown
from adaptprune.files import (
    cache_directory,
    is_as_sealed,
    packaged_yaml,
    sealed_file,
)
from adaptprune.hubdata import read_split
from adaptprune.jsonlines import read_rows
from adaptprune.local_data import LocalSource, ensure_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)
    name: str
    note: str


class LocalCorpus(_Closed):
    """A split of prose that this suite builds in the cache itself."""

    kind: LocalSource
    split: str
    #: Of the documents, where not all of them are meant.
    source: str | None = None


class HubCorpus(_Closed):
    """The first documents of a hub data set's split, streamed once and kept in the cache."""

    kind: Literal["hub"]
    repository: str
    configuration: str | None = None
    split: str
    column: str
    documents: int


Corpus = LocalCorpus | HubCorpus
_ADAPTER: pydantic.TypeAdapter[Corpus] = pydantic.TypeAdapter(
    Annotated[Corpus, pydantic.Field(discriminator="kind")]
)


@functools.cache
def corpora() -> dict[str, Corpus]:
    """Return all named collections of text."""
    contents = packaged_yaml("adaptprune", "corpora").values()
    entries = (_ADAPTER.validate_python(content) for content in contents)
    return {entry.name: entry for entry in entries}


def find_corpus(name: str) -> Corpus:
    """Return a named collection of text.

    Raises:
        UserError: there is none of that name.
    """
    if name not in corpora():
        raise unknown("calibration data", name, corpora())
    return corpora()[name]


def corpus_file(name: str) -> Path:
    """Return the JSON-lines file of a collection, making it in the cache when absent.

    Raises:
        UserError: the name is unknown, or the data cannot be fetched or were altered since.
    """
    corpus = find_corpus(name)
    if isinstance(corpus, HubCorpus):
        path = cache_directory() / "corpora" / f"{corpus.name}.jsonl"
        if not path.is_file():
            _stream_from_hub(corpus, path)
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


def _stream_from_hub(corpus: HubCorpus, path: Path) -> None:
    with sealed_file(path) as temporary, temporary.open("w") as stream:
        for index, text in enumerate(hub_texts(corpus)):
            stream.write(json.dumps({"document": str(index), "text": text}) + "\n")


def hub_texts(corpus: HubCorpus) -> Iterator[str]:
    """Yield the first documents of a data set of the hub.

    Raises:
        UserError: the hub cannot be read, or the data set has no such column.
    """
    import datasets

    try:
        rows: Any = datasets.load_dataset(
            corpus.repository, corpus.configuration, split=corpus.split, streaming=True
        )
        for row in rows.take(corpus.documents):
            if corpus.column not in row:
                raise UserError(
                    f"{corpus.repository}: no column {corpus.column!r} (has {sorted(row)})"
                )
            yield row[corpus.column]
    except (OSError, ValueError, RuntimeError) as error:
        # Offline modes and unreachable hubs raise subclasses of these three.
        raise UserError(
            f"calibration data {corpus.name!r}: {corpus.repository} cannot be read from the hub "
            f"({type(error).__name__}); fetch it once with network, give --local-data DIR, or "
            "token ids by --calibration FILE.json"
        ) from error
