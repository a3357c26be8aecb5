"""Calibration sets: token ids drawn once per (model, data set, seed), shared by all methods."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.data.encoding import plain_ids
from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json, sha256_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class CalibrationSet:
    """Token ids of equal-length sequences, with where they came from.

    Args:
        tokens: [sequences][length] token ids.
        dataset: name of the data set, or the file they were read from.
        seed: seed of the draw, None for a file.
    """

    tokens: list[list[int]]
    dataset: str
    seed: int | None

    def describe(self) -> dict[str, Any]:
        """Return the conditions a result row needs: source, size, seed and content hash."""
        return {
            "dataset": self.dataset,
            "hash": sha256_json(self.tokens),
            "sequences": len(self.tokens),
            "length": len(self.tokens[0]),
            "seed": self.seed,
        }


def read_tokens(path: Path, vocab_size: int, minimum_length: int = 2) -> list[list[int]]:
    """Read a JSON list of equal-length lists of token ids.

    Raises:
        UserError: not such a list, ragged, empty, too short, or ids outside the vocabulary.
    """
    rows = read_json(path)
    if isinstance(rows, dict):
        rows = rows.get("tokens")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise UserError(f"{path}: must be a non-empty JSON list of lists of token ids")
    length = len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != length:
            raise UserError(
                f"{path}: sequence {index} has {len(row)} tokens, the first has {length}; "
                "all must be equally long"
            )
        for token in row:
            if type(token) is not int or not 0 <= token < vocab_size:
                raise UserError(
                    f"{path}: sequence {index} holds {token!r}; token ids must be integers in "
                    f"0..{vocab_size - 1}"
                )
    if length < minimum_length:
        raise UserError(f"{path}: sequences of {length} tokens; at least {minimum_length} needed")
    return rows


def read_calibration(path: Path, vocab_size: int) -> CalibrationSet:
    """Read token ids from a file: a plain list, or a set that ``calibrate`` wrote.

    Raises:
        UserError: see ``read_tokens``; or a set's tokens are not the ones that were drawn.
    """
    tokens, content = read_tokens(path, vocab_size), read_json(path)
    if not isinstance(content, dict):
        return CalibrationSet(tokens, path.name, None)
    if content.get("hash", sha256_json(tokens)) != sha256_json(tokens):
        raise UserError(f"{path}: altered since it was drawn; delete it and run again")
    return CalibrationSet(tokens, content.get("dataset", path.name), content.get("seed"))


def draw(
    texts: Iterable[str], tokenizer: Any, dataset: str, sequences: int, length: int, seed: int
) -> CalibrationSet:
    """Draw sequences from documents long enough to hold one, at most one per document.

    Documents are visited in an order shuffled by the seed; of each the window is chosen at
    random, as LLM-Pruner's and Adapt-Pruner's codes do.

    Args:
        texts: the documents.
        tokenizer: of the model.
        dataset: name of the data set, part of the draw's seed.
        sequences: how many sequences.
        length: tokens of each.
        seed: of the draw.

    Raises:
        UserError: there are fewer long enough documents than sequences.
    """
    documents = list(texts)
    key = hashlib.sha256(f"calibration:{dataset}:{length}:{seed}".encode()).hexdigest()
    generator = random.Random(key)
    generator.shuffle(documents)
    rows: list[list[int]] = []
    for text in documents:
        if len(rows) == sequences:
            break
        ids = plain_ids(tokenizer, text)
        if len(ids) >= length:
            start = generator.randint(0, len(ids) - length)
            rows.append(ids[start : start + length])
    if len(rows) < sequences:
        raise UserError(
            f"calibration data {dataset!r} holds {len(rows)} documents of at least {length} "
            f"tokens; {sequences} sequences were asked for"
        )
    return CalibrationSet(rows, dataset, seed)
