"""LLM-Pruner, magnitude, random and dense."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, SHAPES, tiny_model, tiny_tokens

from adaptprune.errors import UserError
from adaptprune.models.catalogue import shape_of
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.importance import group_importance
from adaptprune.pruning.method import Context
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.units import KeptUnits

UNIFORM = ("llm-pruner", "magnitude", "random")


def decide(
    name: str, model: Any, sparsity: int, *, seed: int = 0, scores: Any = None, **settings: Any
) -> KeptUnits:
    method = find_method(name)
    context = Context(tiny_tokens(4, 8), seed)
    pruned = method.prune(copy.deepcopy(model), scores, sparsity, context, method.parse(settings))
    assert pruned.kept is not None
    return pruned.kept


@pytest.mark.parametrize("sparsity", [20, 50, 90])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", UNIFORM)
def test_every_layer_has_the_size_that_the_budget_says(
    name: str, family: str, sparsity: int
) -> None:
    model = tiny_model(family, **SHAPES["grouped"])
    shape, method = shape_of_model(model), find_method(name)
    kept = decide(name, model, sparsity)
    kept.check(shape)
    assert tuple(kept.blocks()) == method.budget(shape, sparsity, method.parse({})).blocks


@pytest.mark.parametrize("name", UNIFORM)
def test_layers_outside_the_range_stay_whole(name: str) -> None:
    model = tiny_model(layers=4)
    kept = decide(name, model, 50, layer_start=1, layer_end=3)
    everything = KeptUnits.everything(shape_of_model(model)).layers
    whole = [index for index, layer in enumerate(kept.layers) if layer == everything[index]]
    assert whole == [0, 3]


@pytest.mark.parametrize("name", UNIFORM)
def test_higher_sparsity_keeps_a_part_of_what_a_lower_one_keeps(name: str) -> None:
    model = tiny_model(intermediate=20)
    less, more = decide(name, model, 30), decide(name, model, 60)
    for outer, inner in zip(less.layers, more.layers, strict=True):
        assert set(inner.mlp) < set(outer.mlp)
        assert set(inner.kv_heads) <= set(outer.kv_heads)


@pytest.mark.parametrize("name", UNIFORM)
def test_stored_scores_give_the_same_units(name: str) -> None:
    model, method = tiny_model(), find_method(name)
    context = Context(tiny_tokens(4, 8), 0)
    scores = method.score(copy.deepcopy(model), context, method.parse({}), [20, 50])
    for sparsity in (20, 50):
        assert decide(name, model, sparsity, scores=scores) == decide(name, model, sparsity)


@pytest.mark.parametrize("alignment", ["official", "corrected"])
def test_llm_pruner_keeps_the_most_important_groups(alignment: Any) -> None:
    model = tiny_model(**SHAPES["grouped"])
    importance = group_importance(
        copy.deepcopy(model), tiny_tokens(4, 8), ratio=3, alignment=alignment
    )
    kept = decide("llm-pruner", model, 50, alignment=alignment)
    for index, layer in enumerate(kept.layers):
        for units, values in (
            (layer.kv_heads, importance.kv_heads[index]),
            (layer.mlp, importance.neurons[index]),
        ):
            best = values.topk(len(units)).indices.sort().values.tolist()
            assert list(units) == best


def test_llm_pruner_may_leave_attention_whole() -> None:
    """A quarter of three kv heads is none: only neurons go."""
    kept = decide("llm-pruner", tiny_model(**SHAPES["grouped"]), 25)
    assert all(layer.kv_heads == (0, 1, 2) for layer in kept.layers)
    assert all(len(layer.mlp) == 15 for layer in kept.layers)


def test_llm_pruner_may_be_as_strict_as_the_official_code() -> None:
    """The official code crashes where no head is to go; elsewhere nothing changes."""
    method, model = find_method("llm-pruner"), tiny_model(layers=4, **SHAPES["grouped"])
    shape, strict = shape_of_model(model), method.parse({"empty_cut": "official"})
    complaint = "sparsity 25 takes none of the 3 kv heads of layer 0"
    with pytest.raises(UserError, match=complaint):
        method.budget(shape, 25, strict)
    with pytest.raises(UserError, match=complaint):
        decide("llm-pruner", model, 25, empty_cut="official")
    assert method.budget(shape, 40, strict) == method.budget(shape, 40, method.parse({}))


def test_official_llm_pruner_stops_on_the_real_model() -> None:
    """The run that the official code crashed in (see ``golden/README.md``)."""
    method = find_method("llm-pruner")
    settings = {"layer_start": 4, "layer_end": 26, "empty_cut": "official"}
    with pytest.raises(UserError, match="none of the 3 kv heads of layer 4"):
        method.budget(shape_of("smollm2-135m"), 25, method.parse(settings))


def test_layers_that_stay_whole_are_no_empty_cut() -> None:
    model = tiny_model(layers=4, **SHAPES["grouped"])
    settings = {"layer_start": 1, "layer_end": 3}
    strict = decide("llm-pruner", model, 40, empty_cut="official", **settings)
    assert strict == decide("llm-pruner", model, 40, **settings)


def test_magnitude_by_hand() -> None:
    model = tiny_model(heads=4, kv_heads=2, head_dim=2, hidden=4, intermediate=3, layers=1)
    layer = model.model.layers[0]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        # Neurons: squared norms 1, 1 + 4 and 9 spread over gate row, up row and down column.
        layer.mlp.gate_proj.weight[0, 0] = -1
        layer.mlp.gate_proj.weight[1, 3] = 1
        layer.mlp.up_proj.weight[1, 0] = 2
        layer.mlp.down_proj.weight[2, 2] = 3
        # kv heads: 4 on a k row of head 0; 1 + 16 on a q row and an o column of head 1.
        layer.self_attn.k_proj.weight[1, 0] = 2
        layer.self_attn.q_proj.weight[4, 0] = 1
        layer.self_attn.o_proj.weight[0, 7] = -4
    method = find_method("magnitude")
    scores = method.score(model, Context(None, 0), method.parse({}), [50])
    assert scores.tensors["0.kv_heads"].tolist() == [4.0, 17.0]
    assert scores.tensors["0.mlp"].tolist() == [1.0, 5.0, 9.0]


def test_magnitude_ignores_the_seed() -> None:
    model = tiny_model()
    assert decide("magnitude", model, 50, seed=0) == decide("magnitude", model, 50, seed=1)


def test_random_is_the_same_for_a_seed() -> None:
    model = tiny_model(intermediate=30)
    assert decide("random", model, 50, seed=3) == decide("random", model, 50, seed=3)


def test_random_differs_between_seeds() -> None:
    model = tiny_model(intermediate=30)
    assert decide("random", model, 50, seed=3) != decide("random", model, 50, seed=4)


def test_random_does_not_disturb_the_global_generator() -> None:
    state = torch.get_rng_state()
    decide("random", tiny_model(), 50)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_keeps_every_neuron_sometimes() -> None:
    model = tiny_model(layers=1, intermediate=8)
    kept = {
        unit for seed in range(20) for unit in decide("random", model, 50, seed=seed).layers[0].mlp
    }
    assert kept == set(range(8))


def test_dense_keeps_everything() -> None:
    model = tiny_model()
    assert decide("dense", model, 0) == KeptUnits.everything(shape_of_model(model))


def test_dense_has_sparsity_zero_only() -> None:
    method = find_method("dense")
    with pytest.raises(UserError, match="sparsity 0 only"):
        method.check(20, method.parse({}))


@pytest.mark.parametrize("name", ["adapt-pruner", "flap", "slicegpt", *UNIFORM])
@pytest.mark.parametrize("sparsity", [0, 100, -20])
def test_other_methods_have_sparsities_between_1_and_99(name: str, sparsity: int) -> None:
    method = find_method(name)
    with pytest.raises(UserError, match=r"outside 1\.\.99"):
        method.check(sparsity, method.parse({}))
