"""What our cut takes along is what torch-pruning's dependency graph says depends on it.

The graph is traced from an ordinary forward pass and knows nothing of attention heads or neurons.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch_pruning
from tiny_models import SHAPES, tiny_model, tiny_tokens

from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.surgery import cut_layers, head_channels
from adaptprune.pruning.units import KeptUnits, LayerUnits

#: (projection within the layer, "out" or "in", channels).
Coupled = set[tuple[str, str, frozenset[int]]]

MODELS = [
    ("llama", "grouped", True),
    ("llama", "grouped", False),
    ("llama", "multi_head", True),
    ("qwen2", "grouped", False),
]


def build(family: str, shape: str, tied: bool) -> Any:
    """Return a model whose forward pass shows how kv heads are repeated for their queries."""
    model = tiny_model(family, tied=tied, **SHAPES[shape])
    model.set_attn_implementation("eager")
    return model.requires_grad_(True)


def traced_group(model: Any, projection: str, channels: list[int]) -> Coupled:
    """Return what depends on some output channels of a projection of the last layer."""
    layer = model.model.layers[-1]
    with warnings.catch_warnings():
        # The norms' weights are pruned by no rule of the graph; no group here touches them.
        warnings.filterwarnings("ignore", message="Unwrapped parameters")
        graph = torch_pruning.DependencyGraph().build_dependency(
            model,
            example_inputs={"input_ids": tiny_tokens(1, 3), "use_cache": False},
            output_transform=lambda output: output.logits,
        )
    group = graph.get_pruning_group(
        layer.get_submodule(projection), torch_pruning.prune_linear_out_channels, idxs=channels
    )
    names = {module: name for name, module in layer.named_modules()}
    sides = {"prune_out_channels": "out", "prune_in_channels": "in"}
    return {
        (names[dependency.target.module], sides[dependency.handler.__name__], frozenset(indices))
        for dependency, indices in group
        if dependency.target.module in names
    }


def removed_channels(model: Any, units: LayerUnits) -> Coupled:
    """Cut a copy of the model in its last layer; return which channels are gone from where."""
    cut, shape = copy.deepcopy(model), shape_of_model(model)
    kept = KeptUnits.everything(shape)
    cut_layers(cut, KeptUnits((*kept.layers[:-1], units)))
    found: Coupled = set()
    left = dict(cut.model.layers[-1].named_modules())
    for name, module in model.model.layers[-1].named_modules():
        if not name.endswith("_proj"):
            continue
        before, after = module.weight, left[name].weight
        for side, old, new in (("out", before, after), ("in", before.T, after.T)):
            if len(old) != len(new):
                # Weights are random, so a channel is known by its numbers.
                there = (old[:, None] == new[None]).all(-1).any(1)
                found.add((name, side, frozenset((~there).nonzero().flatten().tolist())))
    return found


@pytest.mark.parametrize(("family", "shape", "tied"), MODELS)
def test_a_neuron_goes_with_what_depends_on_it(family: str, shape: str, tied: bool) -> None:
    model = build(family, shape, tied)
    whole = KeptUnits.everything(shape_of_model(model)).layers[-1]
    kept = tuple(neuron for neuron in whole.mlp if neuron != 3)
    gone = frozenset({3})
    expected = {
        ("mlp.gate_proj", "out", gone),
        ("mlp.up_proj", "out", gone),
        ("mlp.down_proj", "in", gone),
    }
    assert removed_channels(model, LayerUnits(whole.kv_heads, kept)) == expected
    assert traced_group(model, "mlp.gate_proj", [3]) == expected


@pytest.mark.parametrize(("family", "shape", "tied"), MODELS)
def test_a_kv_head_goes_with_what_depends_on_its_queries(
    family: str, shape: str, tied: bool
) -> None:
    """Traced from the query heads: the graph does not follow a repeated kv head to its copies."""
    model = build(family, shape, tied)
    size = shape_of_model(model)
    whole = KeptUnits.everything(size).layers[-1]
    for head in whole.kv_heads:
        unit = LayerUnits((head,), (0,))
        keys = frozenset(head_channels([head], size.head_dim).tolist())
        queries = head_channels(unit.query_heads(size.queries_per_kv_head), size.head_dim).tolist()
        expected = {
            ("self_attn.k_proj", "out", keys),
            ("self_attn.v_proj", "out", keys),
            ("self_attn.q_proj", "out", frozenset(queries)),
            ("self_attn.o_proj", "in", frozenset(queries)),
        }
        kept = tuple(other for other in whole.kv_heads if other != head)
        assert removed_channels(model, LayerUnits(kept, whole.mlp)) == expected
        assert traced_group(model, "self_attn.q_proj", queries) == expected
