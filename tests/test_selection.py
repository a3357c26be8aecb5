"""Choosing units by importance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adaptprune.models.shapes import BlockShape
from adaptprune.pruning.selection import keep_blocks, keep_largest
from adaptprune.pruning.units import KeptUnits, LayerUnits

importances = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20)


def test_largest_stay_in_their_order() -> None:
    assert keep_largest(torch.tensor([3.0, 1.0, 5.0, 2.0]), 2) == (0, 2)


def test_of_equal_units_the_later_stays() -> None:
    assert keep_largest(torch.tensor([1.0, 1.0, 1.0]), 2) == (1, 2)


@given(values=importances, data=st.data())
def test_kept_indices_are_sorted_unique_and_as_many_as_asked(
    values: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(values)))
    kept = keep_largest(torch.tensor(values), count)
    assert len(kept) == count
    assert list(kept) == sorted(set(kept))


@given(values=importances, data=st.data())
def test_nothing_removed_is_more_important_than_what_stays(
    values: list[float], data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, len(values)))
    kept = keep_largest(torch.tensor(values), count)
    removed = set(range(len(values))) - set(kept)
    least_kept = min(values[index] for index in kept)
    assert all(values[index] <= least_kept for index in removed)


@given(values=importances)
def test_keeping_all_is_the_identity(values: list[float]) -> None:
    assert keep_largest(torch.tensor(values), len(values)) == tuple(range(len(values)))


def test_every_layer_gets_its_own_counts() -> None:
    heads = [torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0])]
    neurons = [torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])]
    kept = keep_blocks(heads, neurons, [BlockShape(1, 2), BlockShape(2, 1)])
    assert kept == KeptUnits((LayerUnits((1,), (0, 2)), LayerUnits((0, 1), (2,))))


def test_layers_and_blocks_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        keep_blocks([torch.ones(2)], [torch.ones(2)], [BlockShape(1, 1), BlockShape(1, 1)])
