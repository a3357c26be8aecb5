"""What the task files of the offline suite call: reading local data, counting words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.data.sources import ensure_source
from adaptprune.errors import UserError
from adaptprune.files.jsonlines import read_rows

if TYPE_CHECKING:
    import datasets

    from adaptprune.data.sources import LocalSource


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
        UserError: the file does not exist, a line of it cannot be read, or the local data cannot be
            built.
    """
    import datasets

    folder = Path(local_data) if local_data else ensure_source(source)
    path = folder / file
    if not path.is_file():
        raise UserError(f"{path}: no such file of task data")
    rows = datasets.Dataset.from_list([row for _, row in read_rows(path)])
    return datasets.DatasetDict({"test": rows})


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
