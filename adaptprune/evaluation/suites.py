"""Suites: named lists of benchmarks.

A suite is one YAML file in ``suites/``. Its entries are names of files in ``benchmarks/``, or
describe a benchmark in place: whole, or by what differs from a file that ``benchmark`` names.
"""

from __future__ import annotations

import functools
import random
from typing import Any, Literal

import pydantic

from adaptprune.data.sources import LocalSource
from adaptprune.errors import UserError, unknown
from adaptprune.evaluation.benchmarks import (
    Benchmark,
    PerplexityTask,
    SuiteTask,
    find_facts,
)
from adaptprune.evaluation.dense_scores import DenseScores, published_scores
from adaptprune.files.declared import Closed, packaged_yaml

__all__ = ["PerplexityTask", "Suite", "SuiteTask", "list_suites", "load_suite", "subset"]


class Suite(Closed):
    """A named list of benchmarks; the average of the shown metrics is over ``tasks``.

    Attributes:
        name: the file's name.
        description: one sentence.
        data: where the documents come from: the hub, or a source that is built locally.
        subset_seed: fixes which documents a smaller run takes, the same for every model.
        tasks: the benchmarks, in the order of the columns.
        perplexity: the language-modelling task, where there is one.
        dense: by model, the known scores of the dense model, which a run must meet: those of its
            own file, and what has been published (``dense.py``).
    """

    name: str
    description: str
    data: Literal["hub"] | LocalSource = "hub"
    subset_seed: int
    tasks: tuple[SuiteTask, ...] = pydantic.Field(min_length=1)
    perplexity: PerplexityTask | None = None
    dense: dict[str, DenseScores] = pydantic.Field(default={})

    @pydantic.field_validator("tasks", "perplexity", mode="before")
    @classmethod
    def _look_up(cls, value: Any) -> Any:
        """Put a benchmark's facts in the place of its name."""
        return [_facts(entry) for entry in value] if isinstance(value, list) else _facts(value)

    @pydantic.model_validator(mode="after")
    def _dense_scores_are_of_tasks(self) -> Suite:
        """Refuse dense scores of a benchmark that the suite does not measure."""
        names = {benchmark.task for benchmark in self.benchmarks}
        for scores in self.dense.values():
            for score in scores.scores:
                if not set(score.tasks) <= names:
                    raise ValueError(f"dense score of {score.tasks}: not all of them in the suite")
        return self

    @property
    def benchmarks(self) -> tuple[SuiteTask | PerplexityTask, ...]:
        """All that is measured: the tasks, then the perplexity."""
        return (*self.tasks, *([self.perplexity] if self.perplexity else []))


def _facts(entry: Any) -> Any:
    """Return what is known of an entry's benchmark, with the entry's own keys over it.

    What a paper's Table 6 says of a benchmark is not said of one that another suite alters.
    """
    if isinstance(entry, str):
        return find_facts(entry)
    if not isinstance(entry, dict) or "benchmark" not in entry:
        return entry
    facts = {key: value for key, value in find_facts(entry["benchmark"]).items() if key != "paper"}
    return facts | {key: value for key, value in entry.items() if key != "benchmark"}


@functools.cache
def _contents() -> dict[str, Any]:
    return packaged_yaml("adaptprune", "evaluate/suites")


def list_suites() -> list[str]:
    """Return the names of all suites."""
    return list(_contents())


@functools.cache
def load_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UserError: no suite has that name.
    """
    if name not in _contents():
        raise unknown("suite", name, list_suites())
    suite = Suite(name=name, **_contents()[name])
    published = published_scores([benchmark.task for benchmark in suite.benchmarks])
    return suite.model_copy(update={"dense": published | suite.dense})


def subset(benchmark: Benchmark, available: int, count: int | None, seed: int) -> list[int]:
    """Return the sorted indices of the documents to evaluate, drawn without replacement.

    The documents are put in one random order per task, of which the first ``count`` are taken: a
    smaller subset is part of every larger one.

    Args:
        benchmark: the task or group; its name is part of the seed.
        available: how many documents the task has.
        count: how many to take; all where it is None or not below ``available``.
        seed: the suite's ``subset_seed``.

    Raises:
        UserError: the count is not positive.
    """
    if count is not None and count < 1:
        raise UserError(f"{benchmark.task}: cannot evaluate {count} documents")
    if count is None or count >= available:
        return list(range(available))
    # Sorting by random() is stable across Python versions; shuffle and sample need not be.
    generator = random.Random(f"{seed} {benchmark.task}")
    keys = [generator.random() for _ in range(available)]
    return sorted(sorted(range(available), key=keys.__getitem__)[:count])
