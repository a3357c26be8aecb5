"""Training data: documents packed into rows of one length, visited once in a seeded order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from adaptprune.data.encoding import plain_batch
from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_directory, read_json, write_json
from adaptprune.files.manifest import verify_folder, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

#: A piece of a document, and whether the training loss counts its tokens.
Piece = tuple[str, bool]
#: Text that counts as a whole, or pieces of which some count (the answers of a chat).
Document = str | list[Piece]
#: Token ids of a document, and for each whether the loss counts it.
Encoded = tuple[list[int], list[bool]]
#: Documents that are tokenized at once.
_DOCUMENTS = 1000
#: Token ids on disk: four bytes each, on every machine in the same order.
_TYPE = np.dtype("<u4")


def pack(
    domains: Mapping[str, Iterable[Document]],
    tokenizer: Any,
    length: int,
    target: Path,
    cut: int | None = None,
    limits: Mapping[str, int | None] | None = None,
) -> None:
    """Tokenize documents and write them as rows of equal length.

    Each document is followed by the end-of-text token. Those of one domain are joined into one
    stream, and the stream is cut into rows, so that a row belongs to one domain; what is left at
    its end is dropped. Attention is not masked between documents.

    Args:
        domains: the documents of each source, in the order of its stream.
        tokenizer: of the model; its ``eos_token_id`` ends a document.
        length: tokens of a row.
        target: the folder to make: ``rows.bin``, ``counted.bin`` and ``rows.json``.
        cut: see ``encode``.
        limits: tokens that are taken of a domain at most, by its name.

    Raises:
        UserError: a domain is empty or holds less than one row; the tokenizer ends no text.
    """
    with atomic_directory(target) as folder:
        with (folder / "rows.bin").open("wb") as rows, (folder / "counted.bin").open("wb") as mask:
            found = [
                _write_domain(
                    name,
                    first_tokens(encode(documents, tokenizer, cut), (limits or {}).get(name)),
                    length,
                    rows,
                    mask,
                )
                for name, documents in domains.items()
            ]
        content: dict[str, Any] = {
            key: sum(domain[key] for domain in found)
            for key in ("rows", "documents", "tokens", "counted")
        }
        content |= {"length": length, "largest": max(domain.pop("largest") for domain in found)}
        write_json(folder / "rows.json", content | {"domains": found})
        write_manifest(folder)


def encode(
    documents: Iterable[Document], tokenizer: Any, cut: int | None = None
) -> Iterator[Encoded]:
    """Tokenize documents piece by piece and end each; those without any text are left out.

    The end of a document counts where its last piece does and nothing was cut off.

    Args:
        documents: in order.
        tokenizer: of the model.
        cut: tokens that are kept of a document in pieces, its end included; None keeps all. A
            document that is text is never cut.

    Raises:
        UserError: the tokenizer ends no text.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError("the model's tokenizer has no end-of-text token (eos_token)")
    remaining = iter(documents)
    while batch := list(itertools.islice(remaining, _DOCUMENTS)):
        split = [[(text, True)] if isinstance(text, str) else text for text in batch]
        texts = [text for pieces in split for text, _ in pieces]
        encoded = iter(plain_batch(tokenizer, texts))
        for document, pieces in zip(batch, split, strict=True):
            ids: list[int] = []
            counted: list[bool] = []
            for _, counts in pieces:
                tokens = next(encoded)
                ids += tokens
                counted += [counts] * len(tokens)
            if not ids:
                continue
            kept = len(ids) if cut is None or isinstance(document, str) else cut - 1
            ends = pieces[-1][1] and len(ids) <= kept
            yield [*ids[:kept], end], [*counted[:kept], ends]


def first_tokens(documents: Iterator[Encoded], limit: int | None) -> Iterator[Encoded]:
    """Yield documents up to a number of tokens, the last one cut; all where there is no limit."""
    if limit is None:
        yield from documents
        return
    for ids, counted in documents:
        yield ids[:limit], counted[:limit]
        limit -= len(ids)
        if limit <= 0:
            return


def _write_domain(
    name: str,
    documents: Iterator[Encoded],
    length: int,
    rows: IO[bytes],
    mask: IO[bytes],
) -> dict[str, Any]:
    """Append the whole rows of one domain to the two files; return what there is of it."""
    number = tokens = counted = largest = 0
    rest_ids, rest_mask = np.empty(0, _TYPE), np.empty(0, bool)
    while batch := list(itertools.islice(documents, _DOCUMENTS)):
        ids = np.fromiter(itertools.chain.from_iterable(ids for ids, _ in batch), _TYPE)
        counts = np.fromiter(itertools.chain.from_iterable(mask for _, mask in batch), bool)
        number, tokens = number + len(batch), tokens + len(ids)
        counted, largest = counted + int(counts.sum()), max(largest, int(ids.max()))
        ids, counts = np.concatenate([rest_ids, ids]), np.concatenate([rest_mask, counts])
        whole = len(ids) // length * length
        rows.write(ids[:whole].tobytes())
        mask.write(counts[:whole].tobytes())
        rest_ids, rest_mask = ids[whole:], counts[whole:]
    if not tokens:
        raise UserError(f"training data {name}: empty, no document holds any text")
    if tokens < length:
        raise UserError(
            f"training data {name}: {tokens} tokens are there, fewer than one row of {length}"
        )
    content = {"rows": tokens // length, "documents": number, "tokens": tokens, "counted": counted}
    return {"name": name} | content | {"largest": largest}


@dataclass(frozen=True)
class Batch:
    """Some rows of the training data.

    Args:
        tokens: token ids [rows, length].
        counted: the positions whose token counts in the loss [rows, length]; the first of a row
            is never predicted, so it counts nothing either way.
    """

    tokens: torch.Tensor
    counted: torch.Tensor

    @classmethod
    def of(cls, tokens: torch.Tensor) -> Batch:
        """Return rows of which every position counts."""
        import torch

        return cls(tokens, torch.ones_like(tokens, dtype=torch.bool))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> Batch:
        """Return some of its rows."""
        return Batch(self.tokens[rows], self.counted[rows])

    @property
    def predictions(self) -> int:
        """How many tokens are predicted and count: the weight of these rows in a mean loss."""
        return int(self.counted[:, 1:].sum())

    def split(self, size: int) -> Sequence[Batch]:
        """Cut it into batches of ``size`` rows, of which the last may hold fewer."""
        return [self[start : start + size] for start in range(0, len(self), size)]

    def to(self, device: Any) -> Batch:
        """Return it on a device."""
        return Batch(self.tokens.to(device), self.counted.to(device))


@dataclass(frozen=True)
class Rows:
    """Packed rows in a seeded order; a position in it is an exact place in the data.

    Args:
        tokens: token ids [rows, length], mapped from disk.
        counted: the positions that count in the loss [rows, length], mapped from disk.
        domains: names of the sources.
        domain: index into ``domains`` of each row [rows].
        order: a permutation of the rows.
    """

    tokens: np.ndarray
    counted: np.ndarray
    domains: tuple[str, ...]
    domain: np.ndarray
    order: np.ndarray

    @classmethod
    def open(cls, folder: Path, seed: int) -> Rows:
        """Map what ``pack`` wrote and draw the order of its rows.

        Raises:
            UserError: a file is missing or damaged.
        """
        import torch

        verify_folder(folder, hashes=False, cure="run again")
        content = read_json(folder / "rows.json")
        shape = (content["rows"], content["length"])
        generator = torch.Generator().manual_seed(seed)
        sizes = [domain["rows"] for domain in content["domains"]]
        return cls(
            tokens=np.memmap(folder / "rows.bin", _TYPE, "r", shape=shape),
            counted=np.memmap(folder / "counted.bin", bool, "r", shape=shape),
            domains=tuple(domain["name"] for domain in content["domains"]),
            domain=np.repeat(np.arange(len(sizes)), sizes),
            order=torch.randperm(content["rows"], generator=generator).numpy(),
        )

    def take(self, rows: np.ndarray) -> Batch:
        """Return the rows of some indices, in that order."""
        import torch

        tokens = torch.from_numpy(self.tokens[rows].astype(np.int64))
        return Batch(tokens, torch.from_numpy(np.array(self.counted[rows])))

    def batch(self, start: int, stop: int) -> Batch:
        """Return the rows at some positions of the seeded order."""
        return self.take(self.order[start:stop])
