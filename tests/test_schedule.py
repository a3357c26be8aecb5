"""Schedules of Adapt-Accel: hand-computed values, and what must hold for all sizes."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptprune.errors import UserError
from adaptprune.recovery.schedules import WarmupStableDecay, data_shares, parameter_targets


def test_shares_by_hand() -> None:
    # T = 3: 2/12, 4/12 and 6/12 of 100 are 16.67, 33.33 and 50; the last takes what is left.
    assert data_shares(100, 3) == [16, 33, 51]


def test_shares_of_the_released_script() -> None:
    # 7,714,363 samples and 20 stages: the first gets 2/420 of them, 36,735.06.
    shares = data_shares(7_714_363, 20)
    assert shares[:2] == [36_735, 73_470]
    assert sum(shares) == 7_714_363


def test_linear_targets_of_the_released_script() -> None:
    # 376,100,000 - 233,000,000 * stage / 20, in whole numbers.
    targets = parameter_targets(376_100_000, 143_100_000, 20, "linear")
    assert targets[0] == 364_450_000
    assert targets[1] == 352_800_000
    assert targets[-1] == 143_100_000


def test_geometric_targets_by_hand() -> None:
    # 16 -> 1 in four equal ratios.
    assert parameter_targets(1600, 100, 4, "geometric") == [800, 400, 200, 100]


def test_learning_rate_by_hand() -> None:
    schedule = WarmupStableDecay(total_steps=100, peak=1.0, minimum=0.1)
    rates = [schedule.rate(step) for step in (0, 1, 4, 5, 89, 90, 95, 99, 100, 120)]
    assert rates == pytest.approx([0, 0.2, 0.8, 1, 1, 1, 0.55, 0.19, 0.1, 0.1])


def test_few_steps_have_no_warmup() -> None:
    schedule = WarmupStableDecay(total_steps=4, peak=2e-5, minimum=0.0)
    assert [schedule.rate(step) for step in range(4)] == [2e-5] * 4


@pytest.mark.parametrize("small", [0, -1, 100, 101])
def test_target_must_be_smaller_than_the_model(small: int) -> None:
    with pytest.raises(UserError, match="smaller than the model, which has 100"):
        parameter_targets(100, small, 2, "linear")


def test_more_stages_than_parameters_are_refused() -> None:
    with pytest.raises(UserError, match="11 stages"):
        parameter_targets(100, 90, 11, "geometric")


@given(total=st.integers(0, 10**10), stages=st.integers(1, 100))
def test_shares_add_up_and_grow(total: int, stages: int) -> None:
    shares = data_shares(total, stages)
    assert len(shares) == stages
    assert sum(shares) == total
    assert shares == sorted(shares)
    assert min(shares) >= 0


@given(
    large=st.integers(2, 10**11),
    share=st.floats(0.001, 0.999),
    stages=st.integers(1, 100),
    spacing=st.sampled_from(["linear", "geometric"]),
)
def test_targets_fall_to_the_small_model(
    large: int, share: float, stages: int, spacing: Literal["linear", "geometric"]
) -> None:
    small = max(1, int(large * share))
    stages = min(stages, large - small)
    targets = parameter_targets(large, small, stages, spacing)
    assert len(targets) == stages
    assert targets[-1] == small
    assert all(before >= after for before, after in itertools.pairwise([large, *targets]))


@given(
    total=st.integers(1, 10**7),
    peak=st.floats(1e-7, 1),
    fraction=st.floats(0, 1),
    data=st.data(),
)
def test_rate_stays_in_its_bounds(
    total: int, peak: float, fraction: float, data: st.DataObject
) -> None:
    schedule = WarmupStableDecay(total, peak, peak * fraction)
    step = data.draw(st.integers(0, total))
    rate, following = schedule.rate(step), schedule.rate(step + 1)
    assert 0 <= rate <= peak
    if step >= schedule.warmup_steps:
        assert rate >= schedule.minimum
    if step + 1 < schedule.decay_start:
        assert following >= rate
    if step >= schedule.decay_start:
        assert following <= rate
