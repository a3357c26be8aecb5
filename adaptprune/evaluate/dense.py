"""The dense gate: a run whose dense model misses its known score measures something else.

A score on a subset may lie further off than one on the full set, by chance alone. The band of a
suite file is therefore widened by three standard errors of the difference between the two: the
binomial variance ``v (1 - v) / n`` of each task, less what both sets have in common.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pydantic

from adaptprune.errors import UserError
from adaptprune.evaluate.benchmarks import Closed

if TYPE_CHECKING:
    from adaptprune.evaluate.suites import Suite

STANDARD_ERRORS = 3


class DenseScore(Closed):
    """A known number of the dense model.

    Attributes:
        tasks: the tasks whose shown metric is averaged; one for the score of a task.
        value: the known score, a fraction (or a perplexity).
        band: how far a full set may lie off, either way.
        documents: of each task that the known score rests on; None for the full sets.
    """

    tasks: tuple[str, ...] = pydantic.Field(min_length=1)
    value: float = pydantic.Field(gt=0)
    band: float = pydantic.Field(ge=0)
    documents: int | None = pydantic.Field(None, ge=1)


class DenseScores(Closed):
    """The known numbers of one dense model, and where they come from."""

    source: str
    scores: tuple[DenseScore, ...] = pydantic.Field(min_length=1)


@dataclass(frozen=True)
class Check:
    """One comparison; ``allowed`` is the band, widened where a subset was taken."""

    tasks: tuple[str, ...]
    measured: float
    expected: float
    allowed: float
    documents: int

    @property
    def passed(self) -> bool:
        """Whether the score lies within what is allowed."""
        return abs(self.measured - self.expected) <= self.allowed


def _check(suite: Suite, score: DenseScore, results: dict[str, dict[str, Any]]) -> Check | None:
    """Compare one known score; None where these documents allow no comparison."""
    benchmarks = {benchmark.task: benchmark for benchmark in suite.benchmarks}
    measured, taken, variance = [], 0, 0.0
    for name in score.tasks:
        benchmark, numbers = benchmarks[name], results.get(name, {})
        if numbers.get(benchmark.metric) is None:
            return None
        n, size = int(numbers["n"]), benchmark.documents
        if benchmark.metric == "word_perplexity" and n < size:
            return None  # not a share of documents: no binomial error is known
        known = min(score.documents or size, size)
        measured.append(float(numbers[benchmark.metric]))
        taken += n
        if benchmark.metric != "word_perplexity":
            rest = max(0.0, 1 / n - 1 / size) + (1 / known - 1 / size)
            variance += score.value * (1 - score.value) * rest
    count = len(measured)
    error = math.sqrt(variance) / count
    mean = math.fsum(measured) / count
    return Check(score.tasks, mean, score.value, score.band + STANDARD_ERRORS * error, taken)


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
    checks = [_check(suite, score, results) for score in known.scores]
    made = [check for check in checks if check is not None]
    for check in made:
        if not check.passed:
            what = ", ".join(check.tasks)
            raise UserError(
                f"dense {model}: {f'the mean of {what}' if len(check.tasks) > 1 else what} is "
                f"{check.measured:.4f} over {check.documents} documents, expected "
                f"{check.expected:.4f} +- {check.allowed:.4f} (source: {known.source}); look for a "
                "wrong dtype, tokenizer or data set, or run with dense_gate=off"
            )
    return [asdict(check) for check in made]
