"""Layer importance (Eq. 3-5) and group Taylor importance (Eq. 7-10)."""

from __future__ import annotations

import copy
import itertools
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, SHAPES, tiny_model, tiny_tokens

from adaptprune.pruning import importance
from adaptprune.pruning.importance import (
    group_importance,
    head_importance,
    layer_importance,
    neuron_importance,
    normalise,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = tiny_tokens(4, 9)
INPUTS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
OUTPUTS = torch.tensor([[0.0, 1.0], [0.0, 3.0]])


def test_cosine_importance_by_hand() -> None:
    # Cosines 0 and 1; a layer that turns its input by much is important.
    assert layer_importance(INPUTS, OUTPUTS, "cosine", "official").item() == pytest.approx(-0.5)


def test_sign_does_not_touch_the_cosine() -> None:
    official = layer_importance(INPUTS, OUTPUTS, "cosine", "official")
    assert torch.equal(official, layer_importance(INPUTS, OUTPUTS, "cosine", "corrected"))


@pytest.mark.parametrize(
    ("distance", "change"), [("euclidean", (math.sqrt(2) + 2) / 2), ("manhattan", 2.0)]
)
def test_distances_by_hand(distance: Any, change: float) -> None:
    official = layer_importance(INPUTS, OUTPUTS, distance, "official").item()
    corrected = layer_importance(INPUTS, OUTPUTS, distance, "corrected").item()
    assert official == pytest.approx(-change)
    assert corrected == pytest.approx(change)


def test_importance_averages_over_all_tokens_of_all_sequences() -> None:
    flat = layer_importance(INPUTS, OUTPUTS, "manhattan", "official")
    batched = layer_importance(INPUTS[:, None], OUTPUTS[:, None], "manhattan", "official")
    assert torch.equal(flat, batched)


def test_normalisation_by_hand() -> None:
    normalised = normalise(torch.tensor([1.0, 2.0, 6.0]))
    assert normalised.tolist() == pytest.approx([-2 / 3, -1 / 3, 1.0])


def test_layers_that_are_all_alike_stay_at_zero() -> None:
    assert normalise(torch.full((4,), 0.25)).tolist() == [0.0] * 4


@given(raw=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
def test_normalised_importance_lies_between_minus_one_and_one(raw: list[float]) -> None:
    normalised = normalise(torch.tensor(raw, dtype=torch.float64))
    assert normalised.abs().max() <= 1


@given(
    raw=st.lists(st.integers(-1000, 1000), min_size=2, max_size=12, unique=True),
    shift=st.integers(-5, 5),
    scale=st.integers(1, 9),
)
def test_normalisation_ignores_shift_and_scale(raw: list[int], shift: int, scale: int) -> None:
    first = normalise(torch.tensor(raw, dtype=torch.float64))
    second = normalise(scale * torch.tensor(raw, dtype=torch.float64) + shift)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-9)


def linear(weight: list[list[float]], gradient: list[list[float]]) -> Any:
    """A projection with a weight and its gradient."""
    parameter = torch.nn.Parameter(torch.tensor(weight))
    parameter.grad = torch.tensor(gradient)
    return SimpleNamespace(weight=parameter)


def test_neuron_importance_by_hand() -> None:
    # Two neurons, hidden size 2. |w * g| is taken per weight, before the sum.
    layer = SimpleNamespace(
        gate=linear([[1.0, -1.0], [2.0, 0.0]], [[3.0, 3.0], [1.0, 5.0]]),
        up=linear([[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 10.0]]),
        down=linear([[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [-1.0, 1.0]]),
    )
    # Neuron 0: 3 + 3 (gate), 1 (up), 1 + 3 (down); neuron 1: 2, 10, 2 + 4.
    assert neuron_importance(layer).tolist() == [11.0, 18.0]


def attention_of(queries: list[float], outputs: list[float], keys: list[float]) -> Any:
    """A layer with head size 1 and hidden size 1 whose channel importances are given."""
    return SimpleNamespace(
        head_dim=1,
        query=linear([[value] for value in queries], [[1.0] for _ in queries]),
        key=linear([[value] for value in keys], [[1.0] for _ in keys]),
        value=linear([[0.0] for _ in keys], [[1.0] for _ in keys]),
        output=linear([outputs], [[1.0 for _ in outputs]]),
    )


def test_corrected_alignment_credits_the_query_heads_that_go_along() -> None:
    attention = attention_of([1.0, 2.0, 4.0, 8.0], [0.0] * 4, [100.0, 200.0])
    assert head_importance(attention, 2, "corrected").tolist() == [103.0, 212.0]


def test_official_alignment_credits_every_other_query_head() -> None:
    attention = attention_of([1.0, 2.0, 4.0, 8.0], [0.0] * 4, [100.0, 200.0])
    assert head_importance(attention, 2, "official").tolist() == [105.0, 210.0]


def test_output_columns_count_like_query_rows() -> None:
    attention = attention_of([0.0] * 4, [1.0, -2.0, 4.0, 8.0], [0.0, 0.0])
    assert head_importance(attention, 2, "corrected").tolist() == [3.0, 12.0]


def test_alignments_agree_for_multi_head_attention() -> None:
    attention = attention_of([1.0, 2.0], [3.0, 4.0], [5.0, 6.0])
    official = head_importance(attention, 1, "official")
    assert torch.equal(official, head_importance(attention, 1, "corrected"))


def plain_importance(
    model: Any, tokens: torch.Tensor, owner: Callable[[int], int]
) -> tuple[list[list[float]], list[list[float]]]:
    """Group importance from one ordinary backward pass, head by head and neuron by neuron.

    Args:
        model: any supported model.
        tokens: ids [sequences, length].
        owner: query head → the kv head that it is credited to.
    """
    model.zero_grad(set_to_none=True)
    model.requires_grad_(True)
    model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    size = model.config.head_dim if hasattr(model.config, "head_dim") else None
    all_heads, all_neurons = [], []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        head_dim = size or attention.head_dim
        taylor = {
            name: (module.weight * module.weight.grad).abs().detach()
            for parent in (attention, mlp)
            for name, module in parent.named_children()
            if name.endswith("_proj")
        }
        heads = [0.0] * (len(taylor["k_proj"]) // head_dim)
        for index in range(len(heads)):
            rows = slice(index * head_dim, (index + 1) * head_dim)
            heads[index] += (taylor["k_proj"][rows].sum() + taylor["v_proj"][rows].sum()).item()
        for index in range(len(taylor["q_proj"]) // head_dim):
            rows = slice(index * head_dim, (index + 1) * head_dim)
            credit = taylor["q_proj"][rows].sum() + taylor["o_proj"][:, rows].sum()
            heads[owner(index)] += credit.item()
        all_heads.append(heads)
        all_neurons.append(
            [
                (
                    taylor["gate_proj"][index].sum()
                    + taylor["up_proj"][index].sum()
                    + taylor["down_proj"][:, index].sum()
                ).item()
                for index in range(len(taylor["gate_proj"]))
            ]
        )
    return all_heads, all_neurons


@pytest.mark.parametrize("alignment", ["official", "corrected"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_group_importance_is_that_of_an_ordinary_backward_pass(
    family: str, shape: str, alignment: Any
) -> None:
    model = tiny_model(family, **SHAPES[shape])
    kv_heads = SHAPES[shape]["kv_heads"]
    ratio = SHAPES[shape]["heads"] // kv_heads
    owners: dict[str, Callable[[int], int]] = {
        "official": lambda query: query % kv_heads,
        "corrected": lambda query: query // ratio,
    }
    heads, neurons = plain_importance(copy.deepcopy(model), TOKENS, owners[alignment])
    result = group_importance(model, TOKENS, ratio=ratio, alignment=alignment)
    for index in range(len(heads)):
        assert result.kv_heads[index].tolist() == pytest.approx(heads[index], rel=1e-4)
        assert result.neurons[index].tolist() == pytest.approx(neurons[index], rel=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_loss_is_that_of_the_model_itself(tied: bool) -> None:
    model = tiny_model(tied=tied)
    with torch.no_grad():
        expected = model(input_ids=TOKENS, labels=TOKENS).loss.item()
    result = group_importance(model, TOKENS, ratio=2, alignment="official")
    assert result.loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
def test_layer_importance_is_read_in_the_gradient_pass(distance: Any) -> None:
    model = tiny_model(layers=3)
    with torch.no_grad():
        states = [model.model.embed_tokens(TOKENS)]
        handles = [
            layer.register_forward_hook(lambda *call: states.append(call[2]))
            for layer in model.model.layers
        ]
        model(input_ids=TOKENS, use_cache=False)
        for handle in handles:
            handle.remove()
    expected = [
        layer_importance(before, after, distance, "corrected").item()
        for before, after in itertools.pairwise(states)
    ]
    result = group_importance(
        model, TOKENS, ratio=2, alignment="official", distance=distance, sign="corrected"
    )
    assert result.layers is not None
    assert result.layers.tolist() == pytest.approx(expected, rel=1e-5)


def test_layer_importance_is_left_out_unless_asked_for() -> None:
    assert group_importance(tiny_model(), TOKENS, ratio=2, alignment="official").layers is None


def test_no_gradient_is_left() -> None:
    model = tiny_model()
    group_importance(model, TOKENS, ratio=2, alignment="official")
    assert [name for name, p in model.named_parameters() if p.grad is not None] == []


def test_gradients_of_at_most_one_layer_exist_at_any_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model(layers=6)
    alive = []

    def count() -> None:
        alive.append(sum(p.grad is not None for p in model.parameters()))

    for name, original in (
        ("head_importance", head_importance),
        ("neuron_importance", neuron_importance),
    ):

        def counted(*arguments: Any, original: Any = original) -> torch.Tensor:
            count()
            return original(*arguments)

        monkeypatch.setattr(importance, name, counted)
    group_importance(model, TOKENS, ratio=2, alignment="official")
    assert len(alive) == 12
    assert max(alive) <= 7


def test_weights_and_mode_of_the_model_are_left_alone() -> None:
    model = tiny_model()
    before = copy.deepcopy(model.state_dict())
    group_importance(model, TOKENS, ratio=2, alignment="official", distance="cosine")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert not model.is_activation_checkpointing


def test_hooks_are_removed() -> None:
    model = tiny_model()
    first = group_importance(model, TOKENS, ratio=2, alignment="official", distance="cosine")
    second = group_importance(model, TOKENS, ratio=2, alignment="official", distance="cosine")
    assert torch.equal(first.neurons[0], second.neurons[0])
    assert not any(module._forward_hooks for module in model.modules())
