"""Suites: named lists of lm-eval tasks with what is known about them.

A suite is one YAML file in ``suites/``. Where the paper's Table 6 does not decide, the file states
the choice and marks it as ours.
"""

from __future__ import annotations

import functools
import random
from importlib import resources
from typing import TYPE_CHECKING, Literal

import pydantic
import yaml

from adaptprune.errors import UserError, unknown
from adaptprune.local_data import LocalSource

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


class _Closed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class SuiteTask(_Closed):
    """One multiple-choice task.

    Attributes:
        task: lm-eval's name.
        title: header of its column.
        metric: the one shown; both are stored where the task defines both.
        chance: accuracy of a uniform guess, averaged over the documents.
        documents: size of the full set.
        note: the dense score measured, or where the choice of metric comes from.
    """

    task: str
    title: str
    metric: Literal["acc", "acc_norm"]
    chance: float = pydantic.Field(gt=0, lt=1)
    documents: int = pydantic.Field(gt=0)
    note: str = ""


class PerplexityTask(_Closed):
    """One rolling log-likelihood task.

    Attributes:
        task: lm-eval's name.
        title: header of its column.
        metric: perplexity per white-space separated word.
        documents: size of the full set.
        convention: how words and documents are counted.
    """

    task: str
    title: str
    metric: Literal["word_perplexity"]
    documents: int = pydantic.Field(gt=0)
    convention: str


class Suite(_Closed):
    """A named list of tasks; the average of the shown metrics is over ``tasks``.

    Attributes:
        name: the file's name.
        description: one sentence.
        data: where the documents come from: the hub, or a source that is built locally.
        subset_seed: fixes which documents a smaller run takes, the same for every model.
        tasks: the multiple-choice tasks, in the order of the columns.
        perplexity: the language-modelling task.
    """

    name: str
    description: str
    data: Literal["hub"] | LocalSource = "hub"
    subset_seed: int
    tasks: tuple[SuiteTask, ...] = pydantic.Field(min_length=1)
    perplexity: PerplexityTask


def _files() -> dict[str, Traversable]:
    folder = resources.files("adaptprune.evaluate") / "suites"
    return {
        file.name.removesuffix(".yaml"): file
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }


def list_suites() -> list[str]:
    """Return the names of all suites."""
    return sorted(_files())


@functools.cache
def load_suite(name: str) -> Suite:
    """Return a suite by name.

    Raises:
        UserError: no suite has that name.
    """
    files = _files()
    if name not in files:
        raise unknown("suite", name, files)
    return Suite(name=name, **yaml.safe_load(files[name].read_text(encoding="utf-8")))


def subset(
    suite_task: SuiteTask | PerplexityTask, available: int, count: int | None, seed: int
) -> list[int]:
    """Return the sorted indices of the documents to evaluate, drawn without replacement.

    The documents are put in one random order per task, of which the first ``count`` are taken: a
    smaller subset is part of every larger one.

    Args:
        suite_task: the task; its name is part of the seed.
        available: how many documents the task has.
        count: how many to take; all where it is None or not below ``available``.
        seed: the suite's ``subset_seed``.

    Raises:
        UserError: the count is not positive.
    """
    if count is not None and count < 1:
        raise UserError(f"{suite_task.task}: cannot evaluate {count} documents")
    if count is None or count >= available:
        return list(range(available))
    # Sorting by random() is stable across Python versions; shuffle and sample need not be.
    generator = random.Random(f"{seed} {suite_task.task}")
    keys = [generator.random() for _ in range(available)]
    return sorted(sorted(range(available), key=keys.__getitem__)[:count])
