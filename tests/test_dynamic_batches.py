"""Dynamic batch loading: the released code's figures, proportions, and resuming anywhere."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from official_figures import figures

from adaptprune.errors import UserError
from adaptprune.recovery.dynamic_batches import (
    SMOOTHING,
    DomainRows,
    DomainState,
    check_references,
    updated_weights,
)


def test_updated_weights_are_the_official_ones() -> None:
    official = figures("sheared_l0")["dynamic_batch_loading"]
    weights = updated_weights(official["current"], official["loss"], official["target_loss"])
    assert weights == pytest.approx(official["updated"], rel=1e-6)


def test_update_by_hand() -> None:
    """Equal weights, an excess of ln 3 in one of two domains: 3 to 1, smoothed."""
    first, second = updated_weights([0.5, 0.5], [1 + math.log(3), 2.0], [1.0, 2.0])
    assert first == pytest.approx((1 - SMOOTHING) * 0.75 + SMOOTHING / 2)
    assert first + second == pytest.approx(1)


def test_clipping_counts_no_loss_below_its_reference() -> None:
    losses, references = [1.0, 2.0], [1.5, 2.0]
    assert updated_weights([0.5, 0.5], losses, references, clipped=True) == [0.5, 0.5]
    assert updated_weights([0.5, 0.5], losses, references)[0] < 0.5


def test_huge_excess_stays_finite() -> None:
    weights = updated_weights([0.5, 0.5], [900.0, 1.0], [1.0, 1.0])
    assert weights == pytest.approx([1 - SMOOTHING / 2, SMOOTHING / 2])


def rows_of(sizes: list[int], held_out: int = 1, seed: int = 0) -> DomainRows:
    """Return the rows of domains of some sizes, in one block each."""
    domains = np.repeat(np.arange(len(sizes)), sizes)
    return DomainRows(domains, [f"domain-{i}" for i in range(len(sizes))], held_out, seed)


def test_every_row_is_used_once_when_weights_are_the_proportions() -> None:
    data = rows_of([7, 13, 4])
    rows, state = data.take(DomainState.begin(data.proportions()), sum(data.sizes))
    held_out = np.concatenate(data.held_out)
    assert sorted([*rows, *held_out]) == list(range(24))
    assert state.used == data.sizes == [6, 12, 3]


def test_domain_that_is_used_up_begins_again_in_the_same_order() -> None:
    data = rows_of([4, 4])
    rows, _ = data.take(DomainState.begin([1.0, 0.0]), 7)
    assert rows[:3].tolist() == rows[3:6].tolist()
    assert len(set(rows.tolist())) == 3


weights_of_domains = st.lists(st.integers(1, 50), min_size=2, max_size=6).map(
    lambda parts: [part / sum(parts) for part in parts]
)


@given(weights_of_domains, st.integers(1, 60))
def test_rows_follow_the_weights_at_every_moment(weights: list[float], count: int) -> None:
    data = rows_of([9] * len(weights))
    rows, state = data.take(DomainState.begin(weights), count)
    taken = Counter(int(row) // 9 for row in rows)
    assert [taken[number] for number in range(len(weights))] == state.used
    for used, weight in zip(state.used, weights, strict=True):
        assert abs(used - weight * count) < len(weights)
    assert sum(state.credit) == pytest.approx(0, abs=1e-9)


@given(weights_of_domains, st.integers(0, 20), st.integers(0, 20))
def test_stopping_and_going_on_changes_no_row(weights: list[float], first: int, then: int) -> None:
    data = rows_of([9] * len(weights))
    whole, last = data.take(DomainState.begin(weights), first + then)
    head, state = data.take(DomainState.begin(weights), first)
    restored = DomainState.model_validate_json(state.model_dump_json())
    tail, end = data.take(restored, then)
    assert [*head, *tail] == whole.tolist()
    assert end == last


def test_order_is_seeded() -> None:
    one, same, other = (rows_of([30, 30], seed=seed).held_out[0][0] for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_domain_without_a_row_to_train_on_is_named() -> None:
    with pytest.raises(UserError, match="'domain-1' holds 3 rows, 3 of each are held out"):
        rows_of([9, 3], held_out=3)


def test_references_are_checked() -> None:
    assert check_references({"b": 2.0, "a": 1.0}, ["a", "b"]) == [1.0, 2.0]
    with pytest.raises(UserError, match=r"'c' is no domain \(domains: a, b\)"):
        check_references({"a": 1.0, "b": 1.0, "c": 1.0}, ["a", "b"])
    with pytest.raises(UserError, match="lack the domain 'b'"):
        check_references({"a": 1.0}, ["a", "b"])
