"""How many tokens each source of training data holds under a tokenizer: Table 2 of the paper."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from adaptprune.data.packing import encode, first_tokens
from adaptprune.files.atomic import sha256_file, sha256_json, write_sealed_json
from adaptprune.machine.provenance import Stopwatch, versions

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.data.training import TrainingData

#: Files of a model folder that decide its token ids, those of them that are there.
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def count_tokens(data: TrainingData, tokenizer: Any) -> list[dict[str, Any]]:
    """Count documents, tokens and tokens that the loss counts of every source.

    Args:
        data: what is counted; shares, limits and the cut of its chats are heeded.
        tokenizer: of a model.

    Raises:
        UserError: a row lacks what is read of it, or the tokenizer ends no text.
    """
    found = []
    for domain in data.domains:
        documents = tokens = counted = 0
        encoded = first_tokens(encode(domain.documents(), tokenizer, data.cut), domain.tokens)
        for ids, mask in tqdm(encoded, domain.name, unit=" documents", file=sys.stderr):
            documents += 1
            tokens += len(ids)
            counted += sum(mask)
        found.append(
            {"name": domain.name, "documents": documents, "tokens": tokens, "counted": counted}
        )
    return found


def write_counts(data: TrainingData, model: str, output: Path) -> None:
    """Count the tokens of training data under a model's tokenizer and write a sealed record.

    Args:
        data: what is counted.
        model: id, folder or hub id.
        output: the JSON file: ``sources``, the ``conditions`` they were counted under, provenance.

    Raises:
        UserError: see ``count_tokens``; or the model cannot be had.
    """
    from adaptprune.data.encoding import load_checked_tokenizer
    from adaptprune.models.catalogue import locate

    watch, folder = Stopwatch(), locate(model)
    tokenizer = load_checked_tokenizer(folder, "end")
    conditions = {
        "data": data.describe(),
        "cut": data.cut,
        "model": model,
        "tokenizer": sha256_json(
            {n: sha256_file(folder / n) for n in _TOKENIZER_FILES if (folder / n).is_file()}
        ),
        "versions": versions(),
    }
    sources = count_tokens(data, tokenizer)
    record = {"sources": sources, "conditions": conditions, "provenance": watch.provenance()}
    write_sealed_json(output, record)
