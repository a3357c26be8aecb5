"""Training data: documents packed into rows of one length, visited once in a seeded order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptprune.corpus import corpora, corpus_file
from adaptprune.errors import UserError, unknown
from adaptprune.fetch import verify_folder, write_manifest
from adaptprune.files import atomic_directory, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

#: Documents that are tokenized at once.
_DOCUMENTS = 1000
#: Token ids on disk: four bytes each, on every machine in the same order.
_TYPE = np.dtype("<u4")


def data_file(source: str) -> Path:
    """Return the JSON-lines file of training documents.

    Args:
        source: name of a collection of text, or a ``.jsonl`` file of ``{"text": …}`` lines.

    Raises:
        UserError: there is no such file or collection.
    """
    path = Path(source).expanduser()
    if path.suffix != ".jsonl":
        if source not in corpora():
            raise unknown("training data", source, [*corpora(), "FILE.jsonl"])
        return corpus_file(source)
    if not path.is_file():
        raise UserError(f"training data {source}: no such file")
    return path


def pack(texts: Iterable[str], tokenizer: Any, length: int, target: Path) -> None:
    """Tokenize documents and write them as rows of equal length.

    Each document is followed by the end-of-text token, all are joined into one stream, and the
    stream is cut into rows; what is left at its end is dropped. Attention is not masked between
    documents.

    Args:
        texts: the documents, in the order of the stream.
        tokenizer: of the model; its ``eos_token_id`` ends a document.
        length: tokens of a row.
        target: the folder to make: ``rows.bin`` and ``rows.json``.

    Raises:
        UserError: the data are empty or hold less than one row; the tokenizer ends no text.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError("the model's tokenizer has no end-of-text token (eos_token)")
    documents = tokens = largest = 0
    remaining = iter(texts)
    with atomic_directory(target) as folder:
        with (folder / "rows.bin").open("wb") as stream:
            while batch := list(itertools.islice(remaining, _DOCUMENTS)):
                encoded = tokenizer(batch, add_special_tokens=False, verbose=False)["input_ids"]
                filled = [ids for ids in encoded if ids]
                joined = np.asarray([token for ids in filled for token in (*ids, end)], _TYPE)
                stream.write(joined.tobytes())
                documents, tokens = documents + len(filled), tokens + len(joined)
                largest = max(largest, int(joined.max(initial=0)))
        if not tokens:
            raise UserError("the training data are empty: no document holds any text")
        rows = tokens // length
        if not rows:
            raise UserError(
                f"the training data hold {tokens} tokens, fewer than one row of {length}"
            )
        content = {"rows": rows, "length": length, "documents": documents, "tokens": tokens}
        write_json(folder / "rows.json", content | {"largest": largest})
        write_manifest(folder)


@dataclass(frozen=True)
class Rows:
    """Packed rows in a seeded order; a position in it is an exact place in the data.

    Args:
        tokens: token ids [rows, length], mapped from disk.
        order: a permutation of the rows.
    """

    tokens: np.ndarray
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
        tokens = np.memmap(folder / "rows.bin", _TYPE, "r", shape=shape)
        generator = torch.Generator().manual_seed(seed)
        return cls(tokens, torch.randperm(len(tokens), generator=generator).numpy())

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Return the rows at some positions of the seeded order [stop - start, length]."""
        import torch

        return torch.from_numpy(self.tokens[self.order[start:stop]].astype(np.int64))
