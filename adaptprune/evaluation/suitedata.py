"""The documents of a suite's benchmarks on the hub: which splits they are, and fetching them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.data.hub_splits import hub_folder
from adaptprune.evaluation.benchmarks import hub_columns
from adaptprune.evaluation.catalog import TASK_FOLDER, task_config
from adaptprune.evaluation.hubtasks import HubSource, fetch_splits, hub_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adaptprune.evaluation.suites import Suite


@dataclass(frozen=True)
class TaskSource:
    """What a task of a suite reads from the hub.

    Attributes:
        task: lm-eval's name.
        source: data set and splits.
        documents: size of the task's full set.
    """

    task: str
    source: HubSource
    documents: int

    def fetch(self, folder: Path) -> list[Path]:
        """Return the files of the splits in a folder, fetching those that are absent.

        Raises:
            UserError: one cannot be had, or the full set has another size.
        """
        columns = hub_columns().get(self.task, ())
        return fetch_splits(self.source, folder, columns, self.documents)


def suite_sources(suite: Suite) -> Iterator[TaskSource]:
    """Yield what the tasks of a suite read from the hub, with the examples that it asks for."""
    for benchmark in suite.benchmarks:
        for task, member in benchmark.tasks().items():
            config = task_config(task, TASK_FOLDER)
            if benchmark.shots is not None:
                config = config | {"num_fewshot": benchmark.shots}
            if (source := hub_source(config)) is not None:
                yield TaskSource(task, source, member.documents)


def fetch_suite_splits(suite: Suite, folder: Path | None = None) -> list[Path]:
    """Return the files of all splits of a suite, fetching those that are absent.

    Args:
        suite: whose documents are on the hub.
        folder: that stands for the hub; None for the one in the cache.

    Raises:
        UserError: something cannot be had, or a data set has another size than it should.
    """
    place = folder or hub_folder()
    files = [file for source in suite_sources(suite) for file in source.fetch(place)]
    return list(dict.fromkeys(files))
