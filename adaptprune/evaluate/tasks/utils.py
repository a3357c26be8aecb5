"""What the task files of the offline suite call: reading local data, counting words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.local_data import ensure_source

if TYPE_CHECKING:
    import datasets

    from adaptprune.local_data import LocalSource


def load_local(
    file: str, source: LocalSource = "bigbench", local_data: str | None = None, **_: Any
) -> datasets.DatasetDict:
    """Return one file of the local data as the split ``test``, read without any hub access.

    Args:
        file: path inside the folder, e.g. ``tasks/social_iqa.jsonl``; from the task file.
        source: whose folder it is in; from the task file.
        local_data: the folder, by default the one in the cache; lm-eval hands it over from the
            metadata of its task manager.

    Raises:
        UserError: the file does not exist or the local data cannot be built.
    """
    import datasets

    folder = Path(local_data) if local_data else ensure_source(source)
    path = folder / file
    if not path.is_file():
        raise UserError(f"{path}: no such file of task data")
    rows = datasets.Dataset.from_list(read_lines(path))
    return datasets.DatasetDict({"test": rows})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON-lines file.

    Raises:
        UserError: a line is not JSON.
    """
    rows = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                raise UserError(f"{path}: line {number} is not JSON") from None
    return rows


def perplexity_results(document: dict[str, Any], results: list[Any]) -> dict[str, Any]:
    """Return the log-likelihood of a document (nats) with its counts of words and UTF-8 bytes."""
    text = document["text"]
    likelihood = results[0]
    words = len(re.split(r"\s+", text.strip()))
    size = len(text.encode())
    return {
        "word_perplexity": (likelihood, words),
        "byte_perplexity": (likelihood, size),
        "bits_per_byte": (likelihood, size),
    }
