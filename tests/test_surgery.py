"""Cutting a model in place."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, SHAPES, count_parameters, logits, tiny_model, tiny_tokens

from adaptprune.errors import UserError
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.surgery import add_biases, cut_layers, expand_kv_heads, head_channels
from adaptprune.pruning.units import KeptUnits, LayerUnits

if TYPE_CHECKING:
    from adaptprune.models.shapes import BlockShape

TOKENS = tiny_tokens(3, 9)


def draw_units(data: st.DataObject, blocks: list[BlockShape]) -> KeptUnits:
    """Draw a non-empty choice of units for every layer."""

    def choose(size: int) -> tuple[int, ...]:
        return tuple(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1))))

    return KeptUnits(
        tuple(LayerUnits(choose(b.kv_heads), choose(b.intermediate_size)) for b in blocks)
    )


def silence(model: Any, kept: KeptUnits) -> None:
    """Zero the output columns of all units that are not kept."""
    shape = shape_of_model(model)
    with torch.no_grad():
        for layer, units in zip(model.model.layers, kept.layers, strict=True):
            output, down = layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight
            channels = [
                head * shape.head_dim + offset
                for head in units.query_heads(shape.queries_per_kv_head)
                for offset in range(shape.head_dim)
            ]
            for weight, columns in ((output, channels), (down, list(units.mlp))):
                removed = torch.ones(weight.shape[1], dtype=torch.bool)
                removed[columns] = False
                weight[:, removed] = 0


def same_weights(first: Any, second: Any) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@given(
    data=st.data(),
    family=st.sampled_from(FAMILIES),
    shape=st.sampled_from(sorted(SHAPES)),
    tied=st.booleans(),
)
def test_cut_model_computes_what_the_dense_one_does_with_silenced_units(
    data: st.DataObject, family: str, shape: str, tied: bool
) -> None:
    model = tiny_model(family, tied=tied, **SHAPES[shape])
    kept = draw_units(data, list(shape_of_model(model).blocks))
    silenced = copy.deepcopy(model)
    silence(silenced, kept)
    cut_layers(model, kept)
    torch.testing.assert_close(
        logits(model, TOKENS), logits(silenced, TOKENS), rtol=1e-4, atol=1e-4
    )


@given(data=st.data(), family=st.sampled_from(FAMILIES), shape=st.sampled_from(sorted(SHAPES)))
def test_cutting_twice_is_cutting_once(data: st.DataObject, family: str, shape: str) -> None:
    twice = tiny_model(family, **SHAPES[shape])
    once = copy.deepcopy(twice)
    first = draw_units(data, list(shape_of_model(twice).blocks))
    second = draw_units(data, first.blocks())
    cut_layers(twice, first)
    cut_layers(twice, second)
    cut_layers(once, first.compose(second))
    assert same_weights(once, twice)


@pytest.mark.parametrize("family", FAMILIES)
def test_empty_cut_leaves_every_weight_alone(family: str) -> None:
    model = tiny_model(family)
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    cut_layers(model, KeptUnits.everything(shape_of_model(model)))
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before


@given(data=st.data(), shape=st.sampled_from(sorted(SHAPES)))
def test_shape_of_a_cut_model_is_what_was_kept(data: st.DataObject, shape: str) -> None:
    model = tiny_model("qwen2", **SHAPES[shape])
    kept = draw_units(data, list(shape_of_model(model).blocks))
    cut_layers(model, kept)
    now = shape_of_model(model)
    assert list(now.blocks) == kept.blocks()
    assert now.parameters == count_parameters(model)


@given(data=st.data(), shape=st.sampled_from(sorted(SHAPES)))
def test_query_heads_leave_in_whole_groups(data: st.DataObject, shape: str) -> None:
    model = tiny_model(**SHAPES[shape])
    dense = copy.deepcopy(model)
    size = shape_of_model(model)
    kept = draw_units(data, list(size.blocks))
    cut_layers(model, kept)
    for layer, whole, units in zip(
        model.model.layers, dense.model.layers, kept.layers, strict=True
    ):
        by_group = whole.self_attn.q_proj.weight.view(
            -1, size.queries_per_kv_head * size.head_dim, size.hidden_size
        )
        expected = by_group[list(units.kv_heads)].flatten(0, 1)
        assert torch.equal(layer.self_attn.q_proj.weight, expected)


@pytest.mark.parametrize(
    "units", [LayerUnits((), (0,)), LayerUnits((0,), ()), LayerUnits((0, 2), (0,))]
)
def test_impossible_cut_is_refused_before_anything_is_cut(units: LayerUnits) -> None:
    model = tiny_model(layers=2, kv_heads=2)
    untouched = copy.deepcopy(model)
    with pytest.raises(UserError, match="layer 1"):
        cut_layers(model, KeptUnits((LayerUnits((0,), (0,)), units)))
    assert same_weights(model, untouched)


def test_head_channels_by_hand() -> None:
    assert head_channels([0, 2], 3).tolist() == [0, 1, 2, 6, 7, 8]


def test_added_biases_shift_the_outputs() -> None:
    model = tiny_model(hidden=16)
    attention, mlp = model.model.layers[1].self_attn.o_proj, model.model.layers[1].mlp.down_proj
    before = attention(torch.zeros(16)), mlp(torch.zeros(12))
    shift = torch.arange(16.0)
    add_biases(model, {1: (shift, 2 * shift)})
    assert torch.equal(attention(torch.zeros(16)), before[0] + shift)
    assert torch.equal(mlp(torch.zeros(12)), before[1] + 2 * shift)


def test_added_biases_sum_with_those_that_are_there() -> None:
    model = tiny_model(hidden=16, attention_bias=True)
    output = model.model.layers[0].self_attn.o_proj
    before = output.bias.detach().clone()
    add_biases(model, {0: (torch.ones(16), torch.zeros(16))})
    assert torch.equal(output.bias, before + 1)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
def test_multi_head_twin_computes_the_same_function(family: str, tied: bool) -> None:
    model = tiny_model(family, tied=tied, **SHAPES["grouped"])
    twin = expand_kv_heads(model)
    torch.testing.assert_close(logits(twin, TOKENS), logits(model, TOKENS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_multi_head_twin_has_one_kv_head_per_query_head(tied: bool) -> None:
    twin = expand_kv_heads(tiny_model("qwen2", tied=tied, **SHAPES["grouped"]))
    shape = shape_of_model(twin)
    assert shape.queries_per_kv_head == 1
    assert {block.kv_heads for block in shape.blocks} == {9}
    assert shape.parameters == count_parameters(twin)


def test_multi_head_twin_leaves_the_model_alone() -> None:
    model = tiny_model(**SHAPES["grouped"])
    untouched = copy.deepcopy(model)
    expand_kv_heads(model)
    assert same_weights(model, untouched)
    assert model.config.num_key_value_heads == 3
