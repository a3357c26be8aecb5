"""FLAP: streaming statistics, the global budget, bias compensation."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, SHAPES, logits, tiny_config, tiny_model, tiny_tokens

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.shapes import ModelShape
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.method import Context
from adaptprune.pruning.surgery import add_biases, cut_layers, expand_kv_heads
from adaptprune.pruning.units import LayerUnits
from baselines.flap import SPEC, Fluctuation, _metrics, head_cost, select_globally

if TYPE_CHECKING:
    from collections.abc import Callable

CONTEXT = Context(tiny_tokens(5, 8), seed=0)

#: Three sequences of two tokens and one channel.
SEQUENCES = [
    torch.tensor([[1.0], [3.0]]),
    torch.tensor([[2.0], [6.0]]),
    torch.tensor([[0.0], [0.0]]),
]


def measured(variance: str) -> Fluctuation:
    fluctuation = Fluctuation(torch.zeros(1), torch.zeros(1))
    for sequence in SEQUENCES:
        fluctuation.update(sequence, variance)
    return fluctuation


@pytest.mark.parametrize("variance", ["official", "corrected"])
def test_mean_runs_over_all_tokens(variance: str) -> None:
    # Means of the sequences: 2, 4, 0.
    assert measured(variance).mean.item() == pytest.approx(2.0)


def test_official_fluctuation_by_hand() -> None:
    # Means after two and three sequences: 3 and 2; sums of squares around them: 1 + 9 and 4 + 4.
    # Second sequence: 10 / 2; third: 5 * 1/2 + 8 / 3.
    assert measured("official").value.item() == pytest.approx(5 / 2 + 8 / 3)


def test_corrected_fluctuation_by_hand() -> None:
    # Products around the new and the old mean: (2-3)(2-2) + (6-3)(6-2) = 12, then
    # (0-2)(0-3) twice = 12. Second sequence: 12 / 2; third: 6 * 1/2 + 12 / 3.
    assert measured("corrected").value.item() == pytest.approx(7.0)


@pytest.mark.parametrize("variance", ["official", "corrected"])
def test_first_sequence_contributes_its_mean_only(variance: str) -> None:
    fluctuation = Fluctuation(torch.zeros(1), torch.zeros(1))
    fluctuation.update(SEQUENCES[0], variance)
    assert fluctuation.mean.item() == 2.0
    assert fluctuation.value.item() == 0.0


@given(
    values=st.lists(
        st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3), min_size=2, max_size=6
    )
)
def test_fluctuation_is_never_negative(values: list[list[float]]) -> None:
    fluctuation = Fluctuation(torch.zeros(1), torch.zeros(1))
    for sequence in values:
        fluctuation.update(torch.tensor(sequence)[:, None], "official")
    assert fluctuation.value.item() >= 0


def test_statistics_watch_what_enters_the_output_projections() -> None:
    model = tiny_model()
    inputs: dict[str, list[torch.Tensor]] = {}
    handles = []
    for index, layer in enumerate(model.model.layers):
        for kind, linear in (("attention", layer.self_attn.o_proj), ("mlp", layer.mlp.down_proj)):
            seen = inputs.setdefault(f"{index}.{kind}", [])
            handles.append(
                linear.register_forward_pre_hook(lambda _, a, seen=seen: seen.append(a[0]))
            )
    logits(model, CONTEXT.tokens)
    for handle in handles:
        handle.remove()
    scores = SPEC.score(model, CONTEXT, SPEC.parse({}), [20])
    for name, (batch,) in inputs.items():
        mean = batch.flatten(0, 1).mean(0)
        torch.testing.assert_close(scores.tensors[f"{name}.mean"], mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("head_dim", "cost"), [(32, 42), (64, 85), (128, 170)])
def test_cost_of_a_head_is_the_official_one_for_multi_head_attention(
    head_dim: int, cost: int
) -> None:
    shape = ModelShape.from_config(tiny_config(heads=2, kv_heads=2, head_dim=head_dim).to_dict())
    assert head_cost(shape, "official") == cost == int(4 * head_dim / 3)
    assert head_cost(shape, "corrected") == pytest.approx(4 * head_dim / 3)


def test_cost_of_a_group_is_its_share_of_parameters() -> None:
    shape = ModelShape.from_config(
        tiny_config(heads=9, kv_heads=3, head_dim=4, hidden=36).to_dict()
    )
    group = 2 * 36 * 4 * (3 + 1)  # q, o of three heads and k, v of one
    neuron = 3 * 36
    assert head_cost(shape, "corrected") == pytest.approx(group / neuron)


HEADS = [torch.tensor([3.0, -1.0])]
NEURONS = [torch.tensor([2.0, 1.0, 0.0, -2.0])]


@pytest.mark.parametrize(
    ("sparsity", "kept"),
    [
        # Ranked: head 0 (cost 2), neurons 0, 1, 2, head 1 (cost 2), neuron 3; total 8.
        # Kept cost so far: 2, 3, 4, 5, 7, 8; the unit where it is nearest the budget goes too.
        (0.5, LayerUnits((0,), (0,))),
        (0.375, LayerUnits((0,), (0, 1))),
        (0.1, LayerUnits((0,), (0, 1, 2))),
    ],
)
def test_one_threshold_cuts_heads_and_neurons(sparsity: float, kept: LayerUnits) -> None:
    units, notes = select_globally(HEADS, NEURONS, 2, sparsity)
    assert units.layers == (kept,)
    assert notes == []


def test_layers_compete_for_one_budget() -> None:
    heads = [torch.tensor([9.0, 8.0]), torch.tensor([-1.0, 7.0])]
    neurons = [torch.tensor([6.0, 5.0]), torch.tensor([-2.0, 4.0])]
    units, _ = select_globally(heads, neurons, 1, 1 / 8)
    # Nearest the budget of 7 is the seventh unit, head 0 of layer 1; it goes with the eighth.
    assert units.layers == (LayerUnits((0, 1), (0, 1)), LayerUnits((1,), (1,)))


def test_last_head_and_last_neuron_of_a_layer_stay() -> None:
    heads = [torch.tensor([5.0, 4.0]), torch.tensor([-9.0, -8.0])]
    neurons = [torch.tensor([3.0, 2.0]), torch.tensor([-7.0, -6.0])]
    units, notes = select_globally(heads, neurons, 1, 0.25)
    assert units.layers[1] == LayerUnits((1,), (1,))
    assert [note.split(";")[0] for note in notes] == [
        "the last of the kv heads of layer 1 stays",
        "the last of the neurons of layer 1 stays",
    ]


def test_cost_of_a_kept_last_unit_is_taken_elsewhere() -> None:
    heads = [torch.tensor([5.0, 4.0]), torch.tensor([-9.0, -8.0])]
    neurons = [torch.tensor([3.0, 2.0]), torch.tensor([-7.0, -6.0])]
    units, _ = select_globally(heads, neurons, 1, 0.25)
    # The budget keeps six of eight, less the unit at the threshold: without protection those
    # would be the four of layer 0 and one of layer 1.
    assert sum(len(layer.kv_heads) + len(layer.mlp) for layer in units.layers) == 5
    assert units.layers[0] == LayerUnits((0, 1), (0,))


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_search_ends_when_only_last_units_are_left(layers: int) -> None:
    units, notes = select_globally(HEADS * layers, NEURONS * layers, 2, 0.99)
    assert units.layers == (LayerUnits((0,), (0,)),) * layers
    assert len(notes) == 2 * layers


@given(
    data=st.data(),
    layers=st.integers(1, 4),
    cost=st.sampled_from([1, 3, 7.5]),
    sparsity=st.integers(1, 99),
)
def test_every_layer_keeps_a_head_and_a_neuron(
    data: st.DataObject, layers: int, cost: float, sparsity: int
) -> None:
    def draw(most: int) -> list[torch.Tensor]:
        metric = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=most)
        return [torch.tensor(data.draw(metric)) for _ in range(layers)]

    units, _ = select_globally(draw(4), draw(8), cost, sparsity / 100)
    assert all(layer.kv_heads and layer.mlp for layer in units.layers)


def test_metric_standardises_within_each_layer() -> None:
    """A layer whose activations are a thousand times larger does not win the global ranking."""
    model = tiny_model(layers=2, intermediate=16, seed=3)
    with torch.no_grad():
        model.model.layers[1].load_state_dict(model.model.layers[0].state_dict())
        scores = SPEC.score(model, CONTEXT, SPEC.parse({}), [40])
        for kind in ("attention", "mlp"):
            first = scores.tensors[f"0.{kind}.fluctuation"]
            scores.tensors[f"1.{kind}.fluctuation"] = 1000 * first
    for first, second in _metrics(model, scores.tensors, shape_of_model(model)):
        torch.testing.assert_close(first, second)


def prune(model: Any, sparsity: int, **settings: Any) -> Any:
    """Prune a model in place."""
    pruned = SPEC.prune(model, None, sparsity, CONTEXT, SPEC.parse(settings))
    cut_layers(model, pruned.kept)
    add_biases(model, pruned.biases)
    return pruned


def mean_output(model: Any, find: Callable[[Any], Any]) -> torch.Tensor:
    """Mean output of a module of the first layer over the calibration tokens [hidden]."""
    seen = []
    handle = find(model.model.layers[0]).register_forward_hook(lambda *call: seen.append(call[2]))
    logits(model, CONTEXT.tokens)
    handle.remove()
    return seen[0].flatten(0, 1).mean(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_compensation_restores_the_mean_output_of_attention(family: str) -> None:
    model = tiny_model(family, **SHAPES["grouped"])
    dense = mean_output(model, lambda layer: layer.self_attn.o_proj)
    pruned = prune(model, 60)
    assert len(pruned.kept.layers[0].kv_heads) < 3
    compensated = mean_output(model, lambda layer: layer.self_attn.o_proj)
    torch.testing.assert_close(compensated, dense, rtol=1e-4, atol=1e-4)


def test_compensation_is_the_mean_contribution_of_removed_channels() -> None:
    model = tiny_model(**SHAPES["multi_head"])
    scores = SPEC.score(model, CONTEXT, SPEC.parse({}), [50])
    pruned = SPEC.prune(model, scores, 50, CONTEXT, SPEC.parse({}))
    for index, layer in enumerate(model.model.layers):
        weight, mean = layer.mlp.down_proj.weight.detach(), scores.tensors[f"{index}.mlp.mean"]
        removed = [i for i in range(len(mean)) if i not in pruned.kept.layers[index].mlp]
        assert removed
        expected = sum(weight[:, neuron] * mean[neuron] for neuron in removed)
        torch.testing.assert_close(pruned.biases[index][1], expected)


def test_whole_layers_are_compensated_with_zero() -> None:
    model = tiny_model(layers=1, **SHAPES["multi_head"])
    pruned = prune(model, 1)
    assert len(pruned.kept.layers[0].kv_heads) == 4
    assert not pruned.biases[0][0].any()


def test_compensation_can_be_left_out() -> None:
    model = tiny_model()
    assert prune(model, 40, bias_compensation=False).biases == {}
    assert model.model.layers[0].mlp.down_proj.bias is None


def test_compensation_does_not_change_what_is_kept() -> None:
    first = prune(tiny_model(layers=3), 40, bias_compensation=False)
    assert first.kept == prune(tiny_model(layers=3), 40).kept


def test_one_score_serves_every_sparsity() -> None:
    dense = tiny_model(layers=3)
    scores = SPEC.score(dense, CONTEXT, SPEC.parse({}), [20, 40])
    for sparsity in (20, 40):
        shared = SPEC.prune(dense, scores, sparsity, CONTEXT, SPEC.parse({}))
        alone = SPEC.prune(copy.deepcopy(dense), None, sparsity, CONTEXT, SPEC.parse({}))
        assert shared.kept == alone.kept
        for index, pair in shared.biases.items():
            assert all(map(torch.equal, pair, alone.biases[index]))


def test_rule_on_the_multi_head_twin_ranks_single_query_heads() -> None:
    model = tiny_model("qwen2", layers=3, **SHAPES["grouped"])
    twin = expand_kv_heads(model)
    pruned = prune(twin, 40)
    assert shape_of_model(twin).queries_per_kv_head == 1
    assert all(head < 9 for layer in pruned.kept.layers for head in layer.kv_heads)
    assert list(shape_of_model(twin).blocks) == pruned.kept.blocks()


def test_one_sequence_has_no_fluctuation() -> None:
    context = Context(tiny_tokens(1, 8), seed=0)
    with pytest.raises(UserError, match="at least 2 calibration sequences"):
        SPEC.score(tiny_model(), context, SPEC.parse({}), [20])


def test_channels_that_are_all_alike_are_no_division_by_zero() -> None:
    model = tiny_model(intermediate=4)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.zero_()
    kept = SPEC.prune(model, None, 30, CONTEXT, SPEC.parse({})).kept
    kept.check(shape_of_model(model))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_statistics_that_are_not_finite_are_reported(value: float) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].self_attn.v_proj.weight[0, 0] = value
    with pytest.raises(NumericalError, match=r"layer 1\.attention"):
        SPEC.score(model, CONTEXT, SPEC.parse({}), [20])


def test_metric_that_is_not_finite_is_reported() -> None:
    model = tiny_model()
    scores = SPEC.score(model, CONTEXT, SPEC.parse({}), [20])
    scores.tensors["1.mlp.fluctuation"][:] = math.nan
    with pytest.raises(NumericalError, match="metric of layer 1"):
        SPEC.prune(model, scores, 20, CONTEXT, SPEC.parse({}))
