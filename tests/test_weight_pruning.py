"""Pruning single weights of whole models, of every family: what goes, and what must stay."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tiny_models import logits, tiny_tokens
from transformers import AutoConfig, AutoModelForCausalLM
from weight_models import FAMILIES, LLAMA_LIKE, NAMES, PATTERNS, TOKENS, decide, model_of

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.anatomy import (
    all_linears,
    anatomy_of,
    blocks_of,
    expected_weight_shapes,
    linears_of,
    weight_shapes,
)
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning import layerwise
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.masks import masks_hash
from adaptprune.pruning.patterns import Pattern
from adaptprune.pruning.statistics import Hessian

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("pattern", "sparsity"), PATTERNS)
def test_linear_layers_lose_their_share_and_nothing_else_changes(
    family: str, name: str, pattern: str, sparsity: int
) -> None:
    dense = model_of(family)
    model = copy.deepcopy(dense)
    decision, _ = decide(name, model, sparsity, pattern=pattern)
    decision.check(DenseModel.of(dense, needs_shape=False))
    for weight, (outputs, inputs) in weight_shapes(dense).items():
        count = outputs * int(inputs * sparsity / 100)
        if pattern == "unstructured" and name != "wanda":
            count = int(outputs * inputs * sparsity / 100) + 1  # one too many is official
        if pattern == "unstructured" and name == "sparsegpt":
            # Behind a neuron that never fires (OPT's ReLU) all weights are zero, and all zeros go.
            idle = int((~decision.masks[weight].unpack().any(0)).sum())
            count = max(count, outputs * idle)
        assert outputs * inputs - decision.masks[weight].kept == count
    pruned = {linear.name: linear.matrix for linear in all_linears(model)}
    for linear in all_linears(dense):
        kept = decision.masks[linear.name].unpack()
        after = pruned.pop(linear.name)
        assert (after[~kept] == 0).all()
        if name != "sparsegpt":
            assert torch.equal(after[kept], linear.matrix[kept])
        if pattern != "unstructured":
            chosen = Pattern.parse(pattern)
            # Along the inputs, also where the weight lies the other way round.
            groups = kept.reshape(kept.shape[0], -1, chosen.group)
            assert (groups.sum(2) == chosen.kept).all()
    assert not pruned
    before = dense.state_dict()
    for key, weight in model.state_dict().items():
        if key not in decision.masks:
            assert torch.equal(weight, before[key]), key
    assert torch.isfinite(logits(model, TOKENS)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_anatomy_names_every_linear_layer_of_the_blocks(family: str) -> None:
    model = model_of(family)
    kinds = ("Linear", "Conv1D")
    inside = {
        f"{anatomy_of(family).blocks}.{name}.weight"
        for name, module in blocks_of(model).named_modules()
        if type(module).__name__ in kinds
    }
    assert inside == set(weight_shapes(model))
    assert inside <= set(model.state_dict())


def input_of(module: Any, run: Callable[[], object]) -> torch.Tensor:
    """Return what a module is given in the course of a run [sequences, length, inputs]."""
    given: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    run()
    handle.remove()
    return torch.stack([part.reshape(len(TOKENS), -1, part.shape[-1]) for part in given])[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_layers_of_a_group_read_one_input_in_order(family: str) -> None:
    model = model_of(family)
    order: list[str] = []
    for linear in all_linears(model):
        linear.module.register_forward_pre_hook(
            lambda _, inputs, name=linear.name: order.append(name)
        )
    logits(model, TOKENS)
    position = {name: place for place, name in enumerate(order)}
    for index in range(2):
        groups = linears_of(model, index)
        places = [[position[linear.name] for linear in group] for group in groups]
        for before, after in itertools.pairwise(places):
            assert max(before) < min(after)
        for group in groups:
            first, *others = (
                input_of(linear.module, lambda: logits(model, TOKENS)) for linear in group
            )
            assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("family", LLAMA_LIKE)
def test_shapes_are_known_without_weights(family: str) -> None:
    model = model_of(family, heads=4, kv_heads=2, head_dim=8, hidden=24)
    assert expected_weight_shapes(shape_of_model(model)) == weight_shapes(model)


def norms_of(model: Any, linear: Any) -> float:
    """Return the sum of the squared norms of a layer's inputs, mean over the sequences."""
    inputs = input_of(linear.module, lambda: logits(model, TOKENS))
    return (inputs.double().pow(2).sum() / len(TOKENS)).item()


def sliding(family: str) -> dict[str, Any]:
    """Return settings under which layers differ in how far they look back."""
    if family == "mistral":
        return {"sliding_window": 4}
    if family in ("qwen2", "qwen3"):
        return {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    return {}


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_those_of_the_dense_layer_behind_pruned_ones(family: str) -> None:
    dense = model_of(family, **sliding(family))
    model = copy.deepcopy(dense)
    _, log = decide("wanda", model, pattern="2:4")
    lines = {line["weight"]: line["input_norms"] for line in log}
    for index in range(2):
        half = copy.deepcopy(dense)
        half.load_state_dict(
            {
                key: value
                for key, value in model.state_dict().items()
                if any(key.startswith(f"{anatomy_of(family).blocks}.{i}.") for i in range(index))
            },
            strict=False,
        )
        for group in linears_of(half, index):
            for linear in group:
                assert lines[linear.name] == pytest.approx(norms_of(half, linear), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sequential_statistics_are_those_behind_everything_that_is_pruned(family: str) -> None:
    dense = model_of(family)
    model = copy.deepcopy(dense)
    _, log = decide("wanda", model, pattern="2:4", sequential="corrected")
    lines = {line["weight"]: line["input_norms"] for line in log}
    done = dense.state_dict()
    for index in range(2):
        for group in linears_of(model, index):
            half = copy.deepcopy(dense)
            half.load_state_dict(done)
            twins = {linear.name: linear for linear in all_linears(half)}
            for linear in group:
                norms = norms_of(half, twins[linear.name])
                assert lines[linear.name] == pytest.approx(norms, rel=1e-5)
                done[linear.name] = linear.module.weight.detach()


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
def test_official_and_corrected_statistics_differ(name: str) -> None:
    outcomes = []
    for sequential in ("official", "corrected"):
        model = model_of("llama")
        decision, _ = decide(name, model, pattern="2:4", sequential=sequential)
        outcomes.append(masks_hash(decision.masks))
    assert outcomes[0] != outcomes[1]


@pytest.mark.parametrize("name", NAMES)
def test_hooks_are_gone_after_an_error(name: str) -> None:
    model = model_of("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericalError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: "):
        decide(name, model)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_family_without_anatomy_is_refused() -> None:
    config = AutoConfig.for_model("bloom", hidden_size=8, n_head=2, n_layer=1, vocab_size=40)
    with pytest.raises(UserError, match=r"for pruning single weights 'bloom'.*allowed: gpt2, llam"):
        decide("wanda", AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_row_that_is_no_whole_group_is_refused_before_any_pass(family: str) -> None:
    model = model_of(family)
    model.forward = model.base_model.forward = None
    with pytest.raises(UserError, match=r"5:10 does not divide the rows of .*, which have 16 inp"):
        decide("wanda", model, pattern="5:10")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_pruned_in_float32(name: str, dtype: torch.dtype) -> None:
    model = model_of("llama").to(dtype)
    decision, _ = decide(name, model, pattern="2:4")
    decision.check(DenseModel.of(model))
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert torch.isfinite(logits(model, TOKENS)).all()


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
@pytest.mark.parametrize("family", FAMILIES)
def test_short_sequences_that_pass_together_count_one_by_one(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weight_models.TOKENS", tiny_tokens(5, 16, seed=4))
    logs = []
    for together in (16, 32, 512):  # one sequence, two (and one is left), all
        monkeypatch.setattr(layerwise, "_TOGETHER", together)
        decision, log = decide(name, model_of(family), pattern="2:4")
        logs.append((masks_hash(decision.masks), log))
    assert logs[0] == logs[1] == logs[2]


def test_a_pass_for_statistics_ends_where_the_last_inputs_are_known() -> None:
    model = model_of("llama")
    passed: list[int] = []
    for index, block in enumerate(blocks_of(model)):
        block.mlp.down_proj.register_forward_hook(lambda *_, index=index: passed.append(index))
    decide("wanda", model, pattern="2:4")
    # Once for each sequence; behind the last block nothing is pruned. One more sequence goes first,
    # up to the last block, to find what the blocks are given besides.
    first = list(range(len(blocks_of(model)) - 1))
    assert passed == [*first, *(index for index in first for _ in TOKENS)]


@pytest.mark.parametrize("threads", [1, 2])
def test_factor_does_not_depend_on_the_threads(threads: int) -> None:
    inputs = torch.randn(1, 900, 400, generator=torch.Generator().manual_seed(0))
    factors, before = [], torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        hessian = Hessian(400, inputs.device)
        hessian.add(inputs[0])
        factors.append(hessian.inverse_factor(0.01, torch.float32))
        assert torch.get_num_threads() == count
    torch.set_num_threads(before)
    assert torch.equal(*factors)
