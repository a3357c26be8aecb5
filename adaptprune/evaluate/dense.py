"""The dense gate: a run whose dense model misses its known score measures something else.

A score on a subset may lie further off than one on the full set, by chance alone. The band of a
suite file is therefore widened by three standard errors of the difference between the two: the
binomial variance ``v (1 - v) / n`` of each task, less what both sets have in common.

Scores that others have published of a model are one YAML file in ``dense/``; a suite takes those of
the benchmarks that it measures.
"""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from adaptprune.errors import UserError
from adaptprune.evaluate.benchmarks import Closed
from adaptprune.files import packaged_yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from adaptprune.evaluate.suites import Suite

STANDARD_ERRORS = 3
PERPLEXITY = "word_perplexity"
#: How far beyond the published figures a full set may lie: of a share of the documents, and of a
#: perplexity as a part of it. Other versions of a harness, kernels and precisions are in there.
MARGIN, PERPLEXITY_MARGIN = 0.02, 0.025


class DenseScore(Closed):
    """A known number of the dense model.

    Attributes:
        tasks: the tasks whose metric is averaged; one for the score of a task.
        metric: None for the one that is shown.
        value: the known score, a fraction (or a perplexity).
        band: how far a full set may lie off, either way.
        documents: of each task that the known score rests on; None for the full sets.
        source: where it comes from, if not from where all of the model's scores do.
    """

    tasks: tuple[str, ...] = pydantic.Field(min_length=1)
    metric: str | None = None
    value: float = pydantic.Field(gt=0)
    band: float = pydantic.Field(ge=0)
    documents: int | None = pydantic.Field(None, ge=1)
    source: str | None = None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Leave out what younger keys do not say, so that older declarations keep their hash."""
        for key, value in super().__repr_args__():
            if value is not None or key not in ("metric", "source"):
                yield key, value


class DenseScores(Closed):
    """The known numbers of one dense model, and where they come from."""

    source: str
    scores: tuple[DenseScore, ...] = pydantic.Field(min_length=1)


class PublishedScore(Closed):
    """What others have measured of a model on the full set of one benchmark.

    Attributes:
        task: the benchmark.
        metric: what the figures are.
        figures: by source.
    """

    task: str
    metric: str
    figures: dict[str, Annotated[float, pydantic.Field(gt=0)]] = pydantic.Field(min_length=1)

    def known(self, sources: dict[str, str]) -> DenseScore:
        """Return the middle of the figures, with a band that holds all of them and the margin."""
        least, most = min(self.figures.values()), max(self.figures.values())
        value = (least + most) / 2
        margin = PERPLEXITY_MARGIN * value if self.metric == PERPLEXITY else MARGIN
        return DenseScore(
            tasks=(self.task,),
            metric=self.metric,
            value=value,
            band=(most - least) / 2 + margin,
            documents=None,
            source="published by " + "; ".join(sources[name] for name in self.figures),
        )


class PublishedScores(Closed):
    """The published scores of one model.

    Attributes:
        model: its id.
        sources: what each source is, by the short name that the figures use.
        scores: of some benchmarks; of those that nobody is known to have published, none.
    """

    model: str
    sources: dict[str, str]
    scores: tuple[PublishedScore, ...]

    @pydantic.model_validator(mode="after")
    def _sources_are_those_of_the_figures(self) -> PublishedScores:
        """Refuse a figure without its source, and a source without figures."""
        used = {name for score in self.scores for name in score.figures}
        if used != set(self.sources):
            raise ValueError(f"{self.model}: figures are from {used}, not from {self.sources}")
        return self


@functools.cache
def _published() -> tuple[PublishedScores, ...]:
    contents = packaged_yaml("adaptprune.evaluate", "dense").values()
    return tuple(PublishedScores(**content) for content in contents)


def published_scores(tasks: Collection[str]) -> dict[str, DenseScores]:
    """Return by model what has been published of some benchmarks."""
    found = {}
    for model in _published():
        scores = tuple(score.known(model.sources) for score in model.scores if score.task in tasks)
        if scores:
            found[model.model] = DenseScores(
                source="; ".join(model.sources.values()), scores=scores
            )
    return found


@dataclass(frozen=True)
class Check:
    """One comparison; ``allowed`` is the band, widened where a subset was taken."""

    tasks: tuple[str, ...]
    source: str
    measured: float
    expected: float
    allowed: float
    documents: int

    @property
    def passed(self) -> bool:
        """Whether the score lies within what is allowed."""
        return abs(self.measured - self.expected) <= self.allowed


def _check(
    suite: Suite, source: str, score: DenseScore, results: dict[str, dict[str, Any]]
) -> Check | None:
    """Compare one known score; None where these documents allow no comparison."""
    benchmarks = {benchmark.task: benchmark for benchmark in suite.benchmarks}
    measured, taken, variance = [], 0, 0.0
    for name in score.tasks:
        benchmark, numbers = benchmarks[name], results.get(name, {})
        metric = score.metric or benchmark.metric
        if numbers.get(metric) is None:
            return None
        n, size = int(numbers["n"]), benchmark.documents
        if metric == PERPLEXITY and n < size:
            return None  # not a share of documents: no binomial error is known
        known = min(score.documents or size, size)
        measured.append(float(numbers[metric]))
        taken += n
        if metric != PERPLEXITY:
            rest = max(0.0, 1 / n - 1 / size) + (1 / known - 1 / size)
            variance += score.value * (1 - score.value) * rest
    count = len(measured)
    error = math.sqrt(variance) / count
    mean = math.fsum(measured) / count
    allowed = score.band + STANDARD_ERRORS * error
    return Check(score.tasks, score.source or source, mean, score.value, allowed, taken)


def check_dense(
    suite: Suite, model: str, status: str, results: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Compare a dense evaluation with what the suite file knows about the model.

    Args:
        suite: what was evaluated.
        model: its id.
        status: of the evaluation.
        results: task to metric to number, as ``evaluate`` writes them.

    Returns:
        Every comparison that could be made; none where nothing is known about the model.

    Raises:
        UserError: a score lies outside its band, or the evaluation failed.
    """
    known = suite.dense.get(model)
    if known is None:
        return []
    if status != "ok":
        raise UserError(f"dense {model}: its evaluation failed, so nothing can be compared with it")
    checks = [_check(suite, known.source, score, results) for score in known.scores]
    made = [check for check in checks if check is not None]
    for check in made:
        if not check.passed:
            what = ", ".join(check.tasks)
            raise UserError(
                f"dense {model}: {f'the mean of {what}' if len(check.tasks) > 1 else what} is "
                f"{check.measured:.4f} over {check.documents} documents, expected "
                f"{check.expected:.4f} +- {check.allowed:.4f} (source: {check.source}); look for a "
                "wrong dtype, tokenizer or data set, or run with dense_gate=off"
            )
    return [asdict(check) for check in made]
