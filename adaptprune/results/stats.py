"""Statistics of tables and comparisons: spread over seeds, sampling error over documents, tests.

Seeds and documents are different things. Seeds redraw the calibration data and keep the documents;
the standard error says how far an accuracy over so few documents may lie from that over all of
them. Two methods are compared on the same documents at the same seed: only the documents that they
treat differently say anything about which is better.
"""

from __future__ import annotations

import functools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Resamples of a bootstrap: an interval's end moves by about 1 % of its length from seed to seed.
RESAMPLES = 10_000
#: Numbers held at once while resampling (64 MB).
_BLOCK = 8_000_000


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) over seeds; one seed has no deviation."""

    mean: float
    std: float | None
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Summarize one measurement per seed.

    Args:
        values: at least one finite number.
    """
    std = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), std, len(values))


def macro_average_stderr(stderrs: Sequence[float]) -> float:
    """Return the standard error of a mean over tasks: sqrt(sum of squares) / number of tasks.

    The documents of different tasks are independent draws, so the variances add.
    """
    return math.sqrt(math.fsum(stderr**2 for stderr in stderrs)) / len(stderrs)


def chance_over_seeds(gains: Sequence[float]) -> float:
    """Return the two-sided p of gains being zero on average: a t test over seeds.

    Equal gains leave no spread to measure by; only that they have one sign is tested then.

    Args:
        gains: one paired difference per seed; two or more.
    """
    from scipy.stats import ttest_1samp

    spread = max(gains) - min(gains)
    if spread <= 1e-9 * max(map(abs, gains)):  # equal but for the rounding of averages
        return 0.5 ** (len(gains) - 1) if any(gains) else 1.0
    return float(ttest_1samp(gains, 0).pvalue)


def mcnemar(only_first: Any, only_second: Any) -> Any:
    """Return the two-sided p of McNemar's exact test (McNemar 1947; binomial, not chi-squared).

    Under the null hypothesis a document that one of two methods gets right alone is as likely the
    first's as the second's: p = min(1, 2 · P[Binomial(a + b, 1/2) ≤ min(a, b)]). No mid-p
    correction is made, so the test never claims more than its level; it is conservative where few
    documents differ.

    Args:
        only_first: number of documents that the first method alone gets right; or an array.
        only_second: the same for the second.

    Returns:
        p in (0, 1], 1 where no document differs; of the shape of the arguments.
    """
    from scipy.special import bdtr

    first, second = np.asarray(only_first), np.asarray(only_second)
    return np.minimum(1.0, 2 * bdtr(np.minimum(first, second), first + second, 0.5))


def holm(p_values: Sequence[float] | Array) -> Array:
    """Return p-values corrected for their number by Holm's step-down method (Holm 1979).

    The chance of even one false claim in the family is then at most the level, whatever the
    dependence between the tests.

    Args:
        p_values: one per test of the family [tests].

    Returns:
        The corrected values in the same order: the k-th smallest times (tests - k + 1), made
        non-decreasing and at most 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


@dataclass(frozen=True)
class Bootstrap:
    """An estimate, its interval, and the two-sided p of its being zero."""

    estimate: float
    low: float
    high: float
    p: float


def resampled_sums(values: Array, resamples: int, generator: np.random.Generator) -> Array:
    """Return sums over documents drawn with replacement, as many as there are.

    Documents with equal values are counted together: how often each distinct value is drawn is
    multinomial, which gives the same distribution and, for accuracies, a handful of counts in
    place of thousands of documents.

    Args:
        values: one row per document [documents, columns].
        resamples: how many draws.
        generator: source of chance.

    Returns:
        Sums [resamples, columns].
    """
    distinct, counts = np.unique(values, axis=0, return_counts=True)
    shares = counts / counts.sum()
    at_once = max(1, _BLOCK // len(distinct))
    blocks = [
        generator.multinomial(len(values), shares, size=min(at_once, resamples - start)) @ distinct
        for start in range(0, resamples, at_once)
    ]
    return np.concatenate(blocks)


@functools.lru_cache(maxsize=1)
def _times_drawn(documents: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Return how often each document is drawn where no two are equal [resamples, documents].

    Likelihoods of documents are hardly ever equal: one drawing serves all pairs of methods.
    """
    shares = np.ones(documents) / documents
    return np.random.default_rng(seed).multinomial(documents, shares, size=resamples)


def _percentile(estimate: float, draws: Array) -> Bootstrap:
    """Return the percentile interval (95 %), and the p at which it would just hold zero."""
    # Sums in another order: what is zero may come out a hair beside it.
    draws = np.where(np.abs(draws) < 1e-12, 0.0, draws)
    low, high = np.quantile(draws, [0.025, 0.975])
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    p = min(1.0, 2 * (tail + 1) / (len(draws) + 1))
    return Bootstrap(float(estimate), float(low), float(high), float(p))


def bootstrap_mean(
    differences: Sequence[Array],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Bootstrap:
    """Bootstrap the mean over tasks of the mean over documents of paired differences.

    Documents are resampled within their task. The interval is the percentile one (Efron and
    Tibshirani 1993, chapter 13): a mean of bounded differences is nearly symmetric, the p-value
    follows from the same draws, and there is no acceleration constant to be estimated from a dozen
    documents, as BCa needs.

    Args:
        differences: per task, one difference per document [documents]; one task or more.
        seed: of the resampling.
        resamples: how many.
    """
    generator = np.random.default_rng(seed)
    draws = np.zeros(resamples)
    for task in differences:
        sums = resampled_sums(np.asarray(task, np.float64)[:, None], resamples, generator)
        draws += sums[:, 0] / (len(task) * len(differences))
    estimate = float(np.mean([np.mean(task) for task in differences]))
    return _percentile(estimate, draws)


def bootstrap_ratio(
    differences: Array,
    sizes: Array,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Bootstrap:
    """Bootstrap a sum of paired differences per unit of size, document by document.

    With differences of log-likelihood (second minus first, nats) and words as sizes this is the
    logarithm of the ratio of two perplexities. A percentile interval of a logarithm is, carried
    over by exp, that of the ratio itself.

    Args:
        differences: per document [documents].
        sizes: of each document, positive [documents].
        seed: of the resampling.
        resamples: how many.
    """
    pairs = np.stack([differences, sizes], axis=1).astype(np.float64)
    distinct = np.unique(pairs, axis=0)
    if len(distinct) == len(pairs) <= _BLOCK // resamples:
        sums = _times_drawn(len(pairs), resamples, seed) @ distinct
    else:
        sums = resampled_sums(pairs, resamples, np.random.default_rng(seed))
    return _percentile(pairs[:, 0].sum() / pairs[:, 1].sum(), sums[:, 0] / sums[:, 1])
