"""The gradient pass: micro-batches, recomputed activations, memory that is too small."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES, tiny_model, tiny_tokens

from adaptprune.errors import NumericalError
from adaptprune.models.memory import layer_pass
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning import gradients
from adaptprune.pruning.gradients import PassPlan, plan_pass
from adaptprune.pruning.importance import (
    group_importance,
)

TOKENS = tiny_tokens(4, 9)


def set_memory_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float, micro_batch: int = 10**9
) -> None:
    monkeypatch.setattr(gradients, "_MEMORY_LIMIT", int(limit))
    monkeypatch.setattr(gradients, "_MICRO_BATCH", micro_batch)


@pytest.mark.parametrize("settings", [{}, {"attention_dropout": 0.5}])
def test_recomputed_activations_give_identical_results(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("qwen2", layers=3, **settings)
    kept = group_importance(model, TOKENS, ratio=2, alignment="official", distance="cosine")
    set_memory_limit(monkeypatch, 0)
    recomputed = group_importance(model, TOKENS, ratio=2, alignment="official", distance="cosine")
    assert recomputed.loss == kept.loss
    assert torch.equal(recomputed.layers, kept.layers)
    for name in ("kv_heads", "neurons"):
        for ours, theirs in zip(getattr(recomputed, name), getattr(kept, name), strict=True):
            assert torch.equal(ours, theirs)


def test_recomputation_really_happens_above_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    calls = []
    model.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    set_memory_limit(monkeypatch, 0)
    group_importance(model, TOKENS, ratio=2, alignment="official")
    assert len(calls) == 2


@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_micro_batches_give_the_gradient_of_all_tokens(
    rows: int, by_layer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("qwen2", layers=3)
    whole = group_importance(model, TOKENS, ratio=2, alignment="official", distance="euclidean")
    monkeypatch.setattr(gradients, "plan_pass", lambda *_: PassPlan(rows, by_layer))
    parts = group_importance(model, TOKENS, ratio=2, alignment="official", distance="euclidean")
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.layers.tolist() == pytest.approx(whole.layers.tolist(), rel=1e-6)
    for name in ("kv_heads", "neurons"):
        for ours, theirs in zip(getattr(parts, name), getattr(whole, name), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert all(parameter.grad is None for parameter in model.parameters())


def results_of(model: Any, tokens: torch.Tensor = TOKENS) -> list[torch.Tensor]:
    """Return all that one gradient pass tells."""
    found = group_importance(model, tokens, ratio=2, alignment="official", distance="cosine")
    assert found.layers is not None
    return [torch.tensor(found.loss), found.layers, *found.kv_heads, *found.neurons]


@pytest.mark.parametrize("family", FAMILIES)
def test_micro_batches_sum_alike_layer_by_layer_and_batch_by_batch(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 the two orders add the same numbers in the same order, bit for bit."""
    model = tiny_model(family, layers=3)
    kinds = []
    for by_layer in (False, True):
        monkeypatch.setattr(gradients, "plan_pass", lambda *_, way=by_layer: PassPlan(2, way, 1))
        kinds.append(results_of(model))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*kinds, strict=True))


def test_half_precision_is_summed_over_micro_batches_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """64 micro-batches tell as much as a single one: sums in bfloat16 would be off by a tenth."""
    model, tokens = tiny_model(layers=2).to(torch.bfloat16), tiny_tokens(64, 9)
    exact = results_of(copy.deepcopy(model).float(), tokens)
    monkeypatch.setattr(gradients, "plan_pass", lambda *_: PassPlan(1, by_layer=True))
    parts = results_of(model, tokens)
    for ours, theirs in zip(parts, exact, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).norm() < 0.02 * theirs.norm()
    assert all(parameter.grad_dtype == torch.bfloat16 for parameter in model.parameters())


@pytest.mark.parametrize("by_layer", [False, True])
def test_out_of_memory_halves_the_micro_batch_and_starts_again(
    by_layer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, most, tried = tiny_model("qwen2", layers=3), 2, []
    real = gradients.loss_and_gradient

    def scarce(model: Any, states: torch.Tensor, targets: torch.Tensor, positions: int) -> Any:
        tried.append(len(targets))
        # The first micro-batch is through already: nothing of it may count twice.
        if len(tried) % 2 == 0 and len(targets) > most:
            raise torch.OutOfMemoryError
        return real(model, states, targets, positions)

    monkeypatch.setattr(gradients, "plan_pass", lambda *_: PassPlan(2, by_layer, 1))
    expected = results_of(model, tiny_tokens(8, 9))
    monkeypatch.setattr(gradients, "plan_pass", lambda *_: PassPlan(4, by_layer, 2))
    monkeypatch.setattr(gradients, "loss_and_gradient", scarce)
    found = results_of(model, tiny_tokens(8, 9))
    assert tried == [4, 4, 2, 2, 2, 2]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        results_of(model, tiny_tokens(8, 9))
    assert tried[-2:] == [1, 1]
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_pass_is_planned_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny_model(layers=2), torch.zeros(64, 8, dtype=torch.long)
    assert plan_pass(model, tokens) == PassPlan(64, by_layer=False)
    weights = sum(p.numel() * 4 for layer in model.model.layers for p in layer.parameters())
    set_memory_limit(monkeypatch, weights + 400_000, micro_batch=32)
    assert plan_pass(model, tokens) == PassPlan(4, by_layer=False)
    set_memory_limit(monkeypatch, weights, micro_batch=32)
    assert plan_pass(model.to(torch.float32), tokens) == PassPlan(64, by_layer=True)


@pytest.mark.parametrize(
    ("layers_of_room", "batch", "rows", "resident"),
    [
        (100, 8192, 1024, 100),  # as much at once as a GPU gains from, on every card
        (1.5, 8192, 1024, 1),
        (0, 8192, 1024, 0),
        (0, 8191, 512, None),  # a byte too few: half of it, and room for inputs again
        (0, 600, 64, None),
        (-1e9, 100, 32, 0),  # no less: memory that runs out is caught
    ],
)
def test_half_precision_is_planned_by_the_free_memory(
    layers_of_room: float,
    batch: int,
    rows: int,
    resident: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model(layers=2).to(torch.bfloat16)
    tokens = torch.zeros(4096, 8, dtype=torch.long)
    need = layer_pass(shape_of_model(model), 2, tokens.numel())
    limit = need.on_device(batch) + int(layers_of_room * need.inputs)
    monkeypatch.setattr(gradients, "free_memory", lambda device: limit)
    plan = plan_pass(model, tokens)
    assert (plan.rows, plan.by_layer) == (rows, True)
    assert need.on_device(8 * rows) <= limit or rows == 32
    if resident is not None:
        assert plan.resident == resident
    # Never more than there are.
    assert plan_pass(model, tokens[:3]).rows == 3


def test_free_memory_is_what_the_card_and_the_process_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 400)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    assert gradients.free_memory(torch.device("cuda")) == 900
    assert gradients.free_memory(torch.device("cpu")) == gradients._MEMORY_LIMIT


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weight_that_is_not_finite_is_reported(value: float) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = value
    with pytest.raises(NumericalError, match="loss"):
        group_importance(model, TOKENS, ratio=2, alignment="official")


def test_no_gradient_is_left_after_a_failure() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = math.nan
    with pytest.raises(NumericalError):
        group_importance(model, TOKENS, ratio=2, alignment="official")
    assert all(parameter.grad is None for parameter in model.parameters())
