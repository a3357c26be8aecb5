"""Kept units: refused when wrong, composed when cut twice, stored as data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_config

from adaptprune.errors import UserError
from adaptprune.models.shapes import BlockShape, ModelShape
from adaptprune.pruning.units import KeptUnits, LayerUnits

SHAPE = ModelShape.from_config(
    tiny_config(heads=6, kv_heads=3, hidden=24, intermediate=5, layers=2).to_dict()
)
WHOLE = LayerUnits((0, 1, 2), (0, 1, 2, 3, 4))


def subsets(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Non-empty sorted choices among ``size`` units."""
    indices = st.sets(st.integers(0, size - 1), min_size=1)
    return indices.map(lambda chosen: tuple(sorted(chosen)))


def test_everything_keeps_all_units_of_all_layers() -> None:
    assert KeptUnits.everything(SHAPE).layers == (WHOLE, WHOLE)


def test_everything_passes_the_check() -> None:
    KeptUnits.everything(SHAPE).check(SHAPE)
    assert KeptUnits.everything(SHAPE).blocks() == list(SHAPE.blocks)


@pytest.mark.parametrize(
    ("layer", "complaint"),
    [
        (LayerUnits((1, 0), WHOLE.mlp), "kv_heads of layer 1 must be sorted"),
        (LayerUnits((0, 0), WHOLE.mlp), "kv_heads of layer 1 must be sorted, unique"),
        (LayerUnits((0, 3), WHOLE.mlp), r"in 0\.\.2"),
        (LayerUnits((-1, 0), WHOLE.mlp), r"in 0\.\.2"),
        (LayerUnits(WHOLE.kv_heads, (2, 1)), "mlp of layer 1 must be sorted"),
        (LayerUnits(WHOLE.kv_heads, (2, 2)), "mlp of layer 1 must be sorted, unique"),
        (LayerUnits(WHOLE.kv_heads, (4, 5)), r"in 0\.\.4"),
        (LayerUnits((), WHOLE.mlp), "layer 1 hold no kv_heads"),
        (LayerUnits(WHOLE.kv_heads, ()), "layer 1 hold no mlp"),
    ],
)
def test_wrong_indices_are_refused(layer: LayerUnits, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        KeptUnits((WHOLE, layer)).check(SHAPE)


def test_missing_layer_is_refused() -> None:
    with pytest.raises(UserError, match="list 1 layers, the model has 2"):
        KeptUnits((WHOLE,)).check(SHAPE)


def test_query_heads_follow_their_kv_head() -> None:
    assert LayerUnits((0, 2), (0,)).query_heads(3) == [0, 1, 2, 6, 7, 8]


def test_composition_by_hand() -> None:
    outer = LayerUnits((0, 2), (1, 3, 4))
    assert outer.compose(LayerUnits((1,), (0, 2))) == LayerUnits((2,), (1, 4))


@given(data=st.data(), size=st.integers(1, 12))
def test_composition_selects_from_what_was_selected(data: st.DataObject, size: int) -> None:
    outer = data.draw(subsets(size))
    inner = data.draw(subsets(len(outer)))
    composed = LayerUnits(outer, outer).compose(LayerUnits(inner, inner))
    elements = [f"unit {index}" for index in range(size)]
    once = [elements[index] for index in composed.mlp]
    remaining = [elements[index] for index in outer]
    assert once == [remaining[index] for index in inner]


@given(data=st.data(), size=st.integers(1, 12))
def test_composition_stays_sorted_and_unique(data: st.DataObject, size: int) -> None:
    outer = data.draw(subsets(size))
    inner = data.draw(subsets(len(outer)))
    composed = LayerUnits(outer, outer).compose(LayerUnits(inner, inner)).kv_heads
    assert list(composed) == sorted(set(composed))


def test_keeping_everything_is_neutral_in_composition() -> None:
    kept = KeptUnits((LayerUnits((0, 2), (1, 4)), LayerUnits((1,), (0,))))
    everything_left = KeptUnits.everything(SHAPE.with_blocks(kept.blocks()))
    assert KeptUnits.everything(SHAPE).compose(kept) == kept
    assert kept.compose(everything_left) == kept


def test_blocks_count_the_units() -> None:
    kept = KeptUnits((LayerUnits((0, 2), (1, 3, 4)),))
    assert kept.blocks() == [BlockShape(2, 3)]


@given(
    heads=st.lists(subsets(3), min_size=2, max_size=2),
    mlp=st.lists(subsets(5), min_size=2, max_size=2),
)
def test_json_round_trip(heads: list[tuple[int, ...]], mlp: list[tuple[int, ...]]) -> None:
    kept = KeptUnits(tuple(LayerUnits(*pair) for pair in zip(heads, mlp, strict=True)))
    assert KeptUnits.from_json(json.loads(json.dumps(kept.to_json(SHAPE)))) == kept


def test_json_lists_query_heads() -> None:
    kept = KeptUnits((LayerUnits((0, 2), (1,)), WHOLE))
    assert kept.to_json(SHAPE)["layers"][0] == {
        "kv_heads": [0, 2],
        "q_heads": [0, 1, 4, 5],
        "mlp": [1],
    }
