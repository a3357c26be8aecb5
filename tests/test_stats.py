"""Paired tests: hand-computable cases, agreement with scipy, coverage by simulation."""

from __future__ import annotations

from fractions import Fraction
from math import comb, exp, log

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from adaptprune.results.stats import (
    bootstrap_mean,
    bootstrap_ratio,
    chance_over_seeds,
    holm,
    mcnemar,
    resampled_sums,
)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (5, 0, 2 / 32),
        (0, 6, 2 / 64),
        (8, 1, 2 * (1 + 9) / 512),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_by_hand(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_exact(first: int, second: int) -> None:
    total = first + second
    tail = sum(comb(total, k) for k in range(min(first, second) + 1))
    exact = min(Fraction(1), Fraction(2 * tail, 2**total))
    assert mcnemar(first, second) == pytest.approx(float(exact), rel=1e-10)


@given(st.integers(0, 3000), st.integers(1, 3000))
def test_mcnemar_agrees_with_scipy(first: int, second: int) -> None:
    expected = scipy.stats.binomtest(first, first + second).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_mcnemar_takes_arrays() -> None:
    assert mcnemar(np.array([5, 0]), np.array([0, 0])).tolist() == [0.0625, 1.0]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    level = 0.05
    rejected = set()
    for step, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - step) > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_bootstrap_of_equal_differences_is_a_point() -> None:
    same = bootstrap_mean([np.full(9, 0.25), np.full(3, 0.75)])
    assert (same.estimate, same.low, same.high) == pytest.approx((0.5, 0.5, 0.5))
    assert same.p == pytest.approx(2 / 10_001)
    nothing = bootstrap_mean([np.zeros(9)])
    assert (nothing.estimate, nothing.low, nothing.high, nothing.p) == (0, 0, 0, 1)


def test_bootstrap_of_two_documents_by_hand() -> None:
    """Means of two draws out of (0, 1) are 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4."""
    generator = np.random.default_rng(1)
    means = resampled_sums(np.array([[0.0], [1.0]]), 40_000, generator)[:, 0] / 2
    shares = [np.mean(means == value) for value in (0, 0.5, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.01)
    assert bootstrap_mean([np.array([0.0, 1.0])], resamples=40_000).p == pytest.approx(
        0.5, abs=0.02
    )


def test_tasks_weigh_the_same_whatever_their_size() -> None:
    result = bootstrap_mean([np.ones(1000), -np.ones(10), np.zeros(100)])
    assert result.estimate == pytest.approx(0)
    assert (result.low, result.high, result.p) == pytest.approx((0, 0, 1))


def test_equal_seeds_give_equal_intervals() -> None:
    data = [np.random.default_rng(0).normal(size=50)]
    assert bootstrap_mean(data, seed=3) == bootstrap_mean(data, seed=3)
    assert bootstrap_mean(data, seed=3) != bootstrap_mean(data, seed=4)


def test_blocks_do_not_change_the_documents_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    whole = resampled_sums(values, 100, np.random.default_rng(5))
    monkeypatch.setattr("adaptprune.results.stats._BLOCK", 70)
    again = resampled_sums(values, 100, np.random.default_rng(5))
    # Sums of the same documents; a matrix of another height may add them in another order.
    np.testing.assert_allclose(again, whole, rtol=1e-12)


def test_mean_agrees_with_scipy_s_percentile_bootstrap() -> None:
    generator = np.random.default_rng(7)
    one, two = generator.normal(0.3, 1, 80), generator.normal(0.1, 2, 120)
    expected = scipy.stats.bootstrap(
        (one, two),
        lambda a, b, axis: (a.mean(axis) + b.mean(axis)) / 2,
        n_resamples=20_000,
        method="percentile",
        rng=generator,
    ).confidence_interval
    ours = bootstrap_mean([one, two], resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected), abs=0.01)


def test_ratio_agrees_with_scipy_s_paired_bootstrap() -> None:
    generator = np.random.default_rng(8)
    sizes = generator.integers(20, 200, 60).astype(float)
    differences = sizes * generator.normal(0.2, 0.5, 60)
    expected = scipy.stats.bootstrap(
        (differences, sizes),
        lambda d, s, axis: d.sum(axis) / s.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=generator,
    ).confidence_interval
    ours = bootstrap_ratio(differences, sizes, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected), abs=0.01)
    assert ours.estimate == pytest.approx(differences.sum() / sizes.sum())


def test_ratio_is_the_log_ratio_of_two_perplexities() -> None:
    ours, theirs = np.array([-30.0, -50.0]), np.array([-35.0, -60.0])
    words = np.array([10.0, 20.0])
    result = bootstrap_ratio(theirs - ours, words)
    ratio = exp(-ours.sum() / 30) / exp(-theirs.sum() / 30)
    assert result.estimate == pytest.approx(log(ratio))
    assert result.high < 0


def test_p_and_interval_say_the_same() -> None:
    generator = np.random.default_rng(9)
    for shift in np.linspace(-0.5, 0.5, 21):
        result = bootstrap_mean([generator.normal(shift, 1, 40)])
        if not 0.04 < result.p < 0.06:  # the quantile interpolates between two draws
            assert (result.p < 0.05) == (result.low > 0 or result.high < 0)


def accuracy_differences(generator: np.random.Generator, tasks: int, n: int) -> list[np.ndarray]:
    """Documents that one method gains (12 %) and loses (8 %): 4 points in expectation."""
    return [generator.choice([1.0, -1.0, 0.0], n, p=[0.12, 0.08, 0.8]) for _ in range(tasks)]


def test_the_interval_of_an_average_covers_the_truth_as_often_as_it_says() -> None:
    """600 experiments: the true difference of 4 points lies within 95 % of the intervals.

    The standard error of a coverage of 0.95 over 600 experiments is 0.9 points.
    """
    generator = np.random.default_rng(20250203)
    covered = 0
    for trial in range(600):
        differences = accuracy_differences(generator, 4, 100)
        result = bootstrap_mean(differences, seed=trial, resamples=1000)
        covered += result.low <= 0.04 <= result.high
    assert 0.93 <= covered / 600 <= 0.97


def test_the_interval_of_a_perplexity_ratio_covers_the_truth_as_often_as_it_says() -> None:
    """Skewed per-word differences on documents of very different length, 60 of them."""
    generator = np.random.default_rng(20250204)
    covered = 0
    for trial in range(600):
        words = generator.integers(30, 300, 60).astype(float)
        differences = words * (generator.gamma(2, 0.2, 60) - 0.1)  # 0.3 per word in expectation
        result = bootstrap_ratio(differences, words, seed=trial, resamples=1000)
        covered += result.low <= 0.3 <= result.high
    assert 0.92 <= covered / 600 <= 0.97


def test_false_alarms_stay_below_the_level() -> None:
    """No difference in truth: p below 0.05 in about 5 % of experiments, in fewer by McNemar."""
    generator = np.random.default_rng(20250205)
    alarms, exact = 0, 0
    for trial in range(600):
        task = generator.choice([1.0, -1.0, 0.0], 150, p=[0.1, 0.1, 0.8])
        alarms += bootstrap_mean([task], seed=trial, resamples=1000).p < 0.05
        exact += mcnemar((task > 0).sum(), (task < 0).sum()) < 0.05
    assert 0.03 <= alarms / 600 <= 0.075
    assert exact / 600 <= 0.05


def test_chance_over_seeds_is_the_t_test_and_equal_gains_are_no_certainty() -> None:
    # Mean 2, standard deviation 1: t = 2 · √3 on two degrees of freedom.
    t = 2 * 3**0.5
    assert chance_over_seeds([1, 2, 3]) == pytest.approx(1 - t / (2 + t**2) ** 0.5)
    assert chance_over_seeds([0.7, 0.7 + 1e-15, 0.7]) == 0.25
    assert chance_over_seeds([-3, -3]) == 0.5
    assert chance_over_seeds([0.0, 0.0]) == 1
