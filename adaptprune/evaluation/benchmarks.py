"""What is known about a benchmark: lm-eval's task and version, the metric shown, shots, documents.

The benchmarks of the paper's Table 6 are one YAML file each in ``benchmarks/``; suites name them.
Where Table 6 does not decide, the file states the choice, which is ours.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import pydantic

from adaptprune.errors import unknown
from adaptprune.files.declared import Closed, packaged_yaml

Version = int | float | str


class PaperRow(Closed):
    """A row of the paper's Table 6."""

    metric: str
    shots: int


class Member(Closed):
    """One lm-eval task of a benchmark that has several.

    Attributes:
        documents: size of its full set.
        version: lm-eval's, where it is not that of the benchmark.
    """

    documents: int = pydantic.Field(gt=0)
    version: Version | None = None


class Benchmark(Closed):
    """One measure of a checkpoint: an lm-eval task, or several pooled over their documents.

    Attributes:
        task: lm-eval's name of the task or group.
        title: header of its column.
        documents: size of the full set; of several tasks the sum.
        shots: examples in the prompt; None for what the task file says.
        version: lm-eval's version of the task, or of each member.
        members: the tasks that are pooled, by lm-eval's names; a document counts as one in all.
        readers: modules that the task takes, besides those that all tasks need.
        columns: of the data set on the hub that the task reads; ``a.b`` for b inside a.
        paper: what Table 6 says.
        choice: what Table 6 leaves open, and what we chose.
        note: which documents, or the dense score measured.
    """

    task: str
    title: str
    documents: int = pydantic.Field(gt=0)
    shots: int | None = pydantic.Field(None, ge=0)
    version: Version | None = None
    members: dict[str, Member] = pydantic.Field(default={})
    columns: tuple[str, ...] = ()
    readers: tuple[str, ...] = pydantic.Field((), repr=False)  # decides no number
    paper: PaperRow | None = None
    choice: str = ""
    note: str = ""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in(cls, content: Any) -> Any:
        """Take a member's bare number for its documents, and add the members' documents up."""
        if not isinstance(content, dict) or not isinstance(content.get("members"), dict):
            return content
        members = {
            name: {"documents": member} if isinstance(member, int) else member
            for name, member in content["members"].items()
        }
        sizes = [Member.model_validate(member).documents for member in members.values()]
        return {"documents": sum(sizes)} | content | {"members": members} if sizes else content

    def tasks(self) -> dict[str, Member]:
        """Return the lm-eval tasks to run: the members, or the task itself."""
        own = {self.task: Member(documents=self.documents)}
        return {
            name: member
            if member.version is not None
            else Member(documents=member.documents, version=self.version)
            for name, member in (self.members or own).items()
        }


class SuiteTask(Benchmark):
    """A benchmark whose metric is a share of the documents, one column of a table.

    Attributes:
        metric: the one shown, ``metric`` or ``metric,filter``; all that a task defines are stored.
        chance: of a uniform guess, averaged over the documents; None where it is not known.
    """

    metric: str = pydantic.Field(pattern=r"^(acc|acc_norm|exact_match)(,[a-z-]+)?$")
    chance: float | None = pydantic.Field(None, gt=0, lt=1)

    @pydantic.model_validator(mode="after")
    def _departures_are_explained(self) -> SuiteTask:
        """Refuse a benchmark that departs from Table 6 without saying why."""
        if self.paper and not self.choice:
            asked = (self.metric, self.shots)
            if asked != (self.paper.metric, self.paper.shots):
                raise ValueError(f"{self.task} departs from Table 6 without a `choice`")
        return self


class PerplexityTask(Benchmark):
    """One rolling log-likelihood task.

    Attributes:
        metric: perplexity per white-space separated word.
        convention: how words and documents are counted.
    """

    metric: Literal["word_perplexity"]
    convention: str


@functools.cache
def benchmark_facts() -> dict[str, dict[str, Any]]:
    """Return the content of the files in ``benchmarks/`` by name."""
    return packaged_yaml("adaptprune", "evaluate/benchmarks")


def find_facts(name: str) -> dict[str, Any]:
    """Return what a file in ``benchmarks/`` says.

    Raises:
        UserError: no benchmark has that name.
    """
    if name not in benchmark_facts():
        raise unknown("benchmark", name, benchmark_facts())
    return benchmark_facts()[name]


@functools.cache
def hub_columns() -> dict[str, tuple[str, ...]]:
    """Return the columns that an lm-eval task reads of its data set, by name of the task."""
    return {
        task: tuple(facts["columns"])
        for facts in benchmark_facts().values()
        for task in facts.get("members", [facts["task"]])
    }
