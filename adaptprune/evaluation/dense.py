"""The dense gate: a run whose dense model misses its known score measures something else.

A score on a subset may lie further off than one on the full set, by chance alone. The band of a
suite file is therefore widened by three standard errors of the difference between the two: the
binomial variance ``v (1 - v) / n`` of each task, less what both sets have in common.

Scores that others have published of a model are one YAML file in ``dense/``; a suite takes those of
the benchmarks that it measures.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.evaluation.dense_scores import PERPLEXITY, DenseScore

if TYPE_CHECKING:
    from adaptprune.evaluation.suites import Suite

STANDARD_ERRORS = 3


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
