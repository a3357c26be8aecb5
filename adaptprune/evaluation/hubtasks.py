"""Which splits of which data set of the hub an lm-eval task reads, and reading them from a folder.

The task stays lm-eval's own: its prompt, metric and processing of documents. Only the place where
its rows come from changes, and splits that it would load and not use are left out.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.data.hub_rows import find_split, read_split, split_file, split_stem
from adaptprune.data.hub_splits import Split, fetch_split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import datasets

# Names of `datasets` builders, whose files the task names itself.
FILE_FORMATS = {"json", "csv", "parquet", "text", "arrow"}
SPLIT_KEYS = ("training_split", "validation_split", "test_split", "fewshot_split")


@dataclass(frozen=True)
class HubSource:
    """What a task reads from the hub.

    Attributes:
        dataset: ``owner/name``.
        configuration: of the data set; None for its only one.
        split: whose documents are evaluated.
        examples: the split that examples in the prompt come from, where it is another one.
    """

    dataset: str
    configuration: str | None
    split: str
    examples: str | None

    @property
    def splits(self) -> list[str]:
        """All splits that are read."""
        return [self.split, *([self.examples] if self.examples else [])]

    def is_in(self, folder: Path) -> bool:
        """Say whether a folder that stands for the hub has all splits."""
        where = (folder, self.dataset, self.configuration)
        return all(find_split(split_stem(*where, split)) for split in self.splits)

    def files(self, folder: Path, columns: Sequence[str] = ()) -> list[Path]:
        """Return the files of the splits in a folder that stands for the hub.

        Raises:
            UserError: one is absent or altered.
        """
        where = (folder, self.dataset, self.configuration)
        return [split_file(*where, split, columns) for split in self.splits]


def fetch_splits(
    source: HubSource,
    folder: Path,
    columns: Sequence[str] = (),
    documents: int | None = None,
) -> list[Path]:
    """Return the files of the splits of a task in a folder, fetching those that are absent.

    Args:
        source: what the task reads.
        folder: that stands for the hub.
        columns: that the task reads, as far as they are known.
        documents: size of the split that is evaluated, None for any.

    Raises:
        UserError: one cannot be fetched, lacks a column or has another size.
    """
    return [
        fetch_split(
            folder,
            Split(source.dataset, source.configuration, split),
            columns=columns,
            documents=documents if split == source.split else None,
        )
        for split in source.splits
    ]


def hub_source(config: dict[str, Any]) -> HubSource | None:
    """Return what the content of a task file says about its data; None for a task of no data set.

    lm-eval evaluates the test split, or else the validation split; examples come from the few-shot
    split, from the task file itself, or from the first of training, validation and test split.
    """
    dataset = config.get("dataset_path")
    if not isinstance(dataset, str) or dataset in FILE_FORMATS or config.get("custom_dataset"):
        return None
    if set(config.get("dataset_kwargs") or {}) - {"trust_remote_code"}:
        return None  # data files or a revision of the task's own
    evaluated = config.get("test_split") or config.get("validation_split")
    if not isinstance(evaluated, str):
        return None
    settings = config.get("fewshot_config") or {}
    examples = config.get("fewshot_split") or settings.get("split")
    if not config.get("num_fewshot") or (not examples and settings.get("samples")):
        examples = None
    elif not examples:
        examples = next(key for key in map(config.get, SPLIT_KEYS[:3]) if key)
    other = examples if examples != evaluated else None
    return HubSource(dataset, config.get("dataset_name"), evaluated, other)


def read_locally(config: dict[str, Any], folder: Path, columns: Sequence[str]) -> dict[str, Any]:
    """Return the changes to a task that make it read its rows from a folder.

    Args:
        config: content of the task file, with the number of examples to be used.
        folder: that stands for the hub.
        columns: that the task reads, as far as they are known.
    """
    source = hub_source(config)
    if source is None:
        return {}

    def read(**_: Any) -> datasets.DatasetDict:
        import datasets

        where = (folder, source.dataset, source.configuration)
        return datasets.DatasetDict(
            {split: read_split(*where, split, columns) for split in source.splits}
        )

    unused = [key for key in SPLIT_KEYS if config.get(key) not in (None, *source.splits)]
    changes = {"custom_dataset": read, **dict.fromkeys(unused)}
    if callable(process := config.get("process_docs")):
        changes["process_docs"] = _remembering(process)
    return changes


def _remembering(process: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a task's ``process_docs`` that goes over each split once.

    lm-eval calls it some ten times an evaluation and relies on the files in which `datasets` keeps
    what it has processed; there are none for rows that are in memory.
    """
    done: dict[int, tuple[Any, Any]] = {}

    @functools.wraps(process)
    def remembered(rows: Any) -> Any:
        if id(rows) not in done:
            done[id(rows)] = rows, process(rows)  # the rows are kept, so that their id stays theirs
        return done[id(rows)][1]

    return remembered
