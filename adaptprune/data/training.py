"""What a recovery is trained on: a mixture, a named collection of text, or a file of one's own.

Everything is looked at before anything is read whole: names, files and columns. The data sets of
the hub are fetched once into the cache, or lie in a folder that stands for the hub; documents are
read from there one by one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from adaptprune.data.formats import Adapter, PlainText
from adaptprune.data.hub_rows import check_split, iterate_rows
from adaptprune.data.hub_splits import Split, commits_of, fetch_split, hub_folder
from adaptprune.data.mixtures import CorpusSource, HubSource, Source, find_mixture, mixtures
from adaptprune.data.texts import HubCorpus, corpora, corpus_file, find_corpus, inside
from adaptprune.errors import UserError, unknown
from adaptprune.files.atomic import sha256_file, sha256_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptprune.data.packing import Document


@dataclass(frozen=True)
class Domain:
    """One source of training data: a file of rows and how they are read.

    Args:
        name: of the source.
        file: ``.jsonl`` or ``.parquet``.
        adapter: makes the documents.
        origin: where a row must be from; None takes all.
        origin_column: says where it is from, ``a.b`` for b inside a.
        share: of the rows that is drawn.
        seed: of the drawing.
        samples: rows that are taken at most.
        tokens: tokens that are taken at most.
    """

    name: str
    file: Path
    adapter: Adapter
    origin: str | None = None
    share: float = 1.0
    seed: int = 0
    samples: int | None = None
    tokens: int | None = None
    origin_column: str = "source"

    def documents(self) -> Iterator[Document]:
        """Yield the documents in the order of the file.

        Raises:
            UserError: a row lacks what the adapter reads.
        """
        draw = random.Random(f"{self.name}:{self.seed}")
        columns = [*self.adapter.columns, *([self.origin_column] if self.origin else [])]
        chosen = (
            (number, row)
            for number, row in iterate_rows(self.file, columns)
            if self.origin is None or inside(row, self.origin_column) == self.origin
        )
        drawn = chosen if self.share == 1 else (one for one in chosen if draw.random() < self.share)
        for number, row in islice(drawn, self.samples):
            try:
                yield self.adapter.document(row)
            except UserError as error:
                raise UserError(f"{self.file}: row {number}: {error}") from None


@dataclass(frozen=True)
class TrainingData:
    """The domains of what is trained on.

    Args:
        name: as it was asked for.
        domains: in order.
        cut: tokens that are kept of a chat.
    """

    name: str
    domains: tuple[Domain, ...]
    cut: int | None = None

    def describe(self) -> dict[str, str]:
        """Return the name and a hash of everything that decides the documents."""
        if len(self.domains) == 1 and self.domains[0] == _plain(self.name, self.domains[0].file):
            return {"name": self.name, "sha256": sha256_file(self.domains[0].file)}
        hashes = {domain.file: sha256_file(domain.file) for domain in self.domains}
        content = [
            {
                "name": domain.name,
                "file": hashes[domain.file],
                "format": domain.adapter.model_dump(),
                "drawn": [domain.origin, domain.share, domain.seed, domain.samples, domain.tokens],
            }
            for domain in self.domains
        ]
        return {"name": self.name, "sha256": sha256_json([self.cut, content])}

    def describe_origin(self) -> dict[str, object]:
        """Return the same, and the commits of the hub's data sets."""
        files = list(dict.fromkeys(domain.file for domain in self.domains))
        return {**self.describe(), "commits": commits_of(files)}


def data_names() -> list[str]:
    """Return the names of all mixtures and collections of text."""
    return sorted({*mixtures(), *corpora()})


def is_on_hub(name: str) -> bool:
    """Say whether training data or a collection of text lie on the hub, all or in part."""
    if name in mixtures():
        return any(
            isinstance(source, HubSource) or is_on_hub(source.corpus)
            for source in find_mixture(name).domains
        )
    return isinstance(corpora().get(name), HubCorpus)


def check_name(name: str) -> None:
    """Refuse training data that are neither known nor a ``.jsonl`` file that is there.

    Raises:
        UserError: names them.
    """
    path = Path(name).expanduser()
    if path.suffix != ".jsonl":
        if name not in data_names():
            raise unknown("training data", name, [*data_names(), "FILE.jsonl"])
    elif not path.is_file():
        raise UserError(f"training data {name}: no such file")


def find_data(name: str, local_data: Path | None = None) -> TrainingData:
    """Return training data, whose files are there and have the columns that will be read.

    Args:
        name: of a mixture or of a collection of text, or a ``.jsonl`` file, one ``{"text": …}`` a
            line.
        local_data: folder that stands for the hub's data sets, None for the hub.

    Raises:
        UserError: the name is unknown, a file cannot be had, or a source lacks a column.
    """
    check_name(name)
    path = Path(name).expanduser()
    if path.suffix == ".jsonl":
        return TrainingData(name, (_plain(name, path),))
    if name in mixtures():
        mixture = find_mixture(name)
        found = [_domain(source, mixture.seed, local_data) for source in mixture.domains]
        return TrainingData(name, tuple(found), mixture.cut)
    return TrainingData(name, (_corpus(name, name, local_data),))


def fetch_source(source: HubSource, folder: Path | None = None) -> Path:
    """Return the file of a source of the hub, fetching it when absent.

    Args:
        source: a split.
        folder: laid out as `hubdata` describes; None for the one in the cache.

    Raises:
        UserError: it cannot be fetched, or lacks a column.
    """
    folder, columns = folder or hub_folder(), source.format.columns
    split = Split(source.repository, source.configuration, source.split, source.revision)
    fetch_split(folder, split, columns=columns, only_columns=True)
    return check_split(folder, split.dataset, split.configuration, split.name, columns)


def _plain(name: str, file: Path) -> Domain:
    return Domain(name, file, PlainText(kind="text"))


def _domain(source: Source, seed: int, local_data: Path | None) -> Domain:
    """Return the domain of a source of a mixture."""
    if isinstance(source, CorpusSource):
        whole = _corpus(source.name, source.corpus, local_data)
        origin = source.origin
    else:
        whole, origin = _split(source, local_data), None
    return replace(
        whole,
        origin=origin,
        share=source.share,
        seed=seed,
        samples=_least(source.samples, whole.samples),
        tokens=source.tokens,
    )


def _split(source: HubSource, local_data: Path | None) -> Domain:
    """Return the domain of a split of the hub."""
    if local_data is None:
        return Domain(source.name, fetch_source(source), source.format)
    where = (source.repository, source.configuration, source.split)
    file = check_split(local_data, *where, source.format.columns)
    return Domain(source.name, file, source.format)


def _corpus(name: str, corpus_name: str, local_data: Path | None) -> Domain:
    """Return the domain of a named collection of text."""
    corpus = find_corpus(corpus_name)
    if isinstance(corpus, HubCorpus) and local_data is not None:
        where = (local_data, corpus.repository, corpus.configuration, corpus.split)
        adapter = PlainText(kind="text", text=corpus.column)
        file = check_split(*where, corpus.columns)
        column = corpus.origin or Domain.origin_column
        return Domain(name, file, adapter, samples=corpus.documents, origin_column=column)
    return _plain(name, corpus_file(corpus_name))


def _least(*limits: int | None) -> int | None:
    """Return the smallest limit that is set."""
    return min((limit for limit in limits if limit is not None), default=None)
