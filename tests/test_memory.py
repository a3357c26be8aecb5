"""What the suite says that it takes of a device's memory, against what its tensors take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from live_bytes import LiveBytes
from tiny_models import tiny_model, tiny_tokens

from adaptprune.models.catalogue import shape_of
from adaptprune.models.memory import LAYER_BATCH, layer_pass
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning import gradients
from adaptprune.pruning.gradients import PassPlan
from adaptprune.pruning.importance import group_importance

#: The proportions of LLaMA-3.1-8B: 3.5 neurons per channel, four query heads per kv head.
LLAMA = {"hidden": 64, "heads": 8, "kv_heads": 2, "head_dim": 8, "intermediate": 224, "layers": 3}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rows", [16, 64, 256])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden": 128, "head_dim": 16, "intermediate": 300},
        {"intermediate": 64},
        {"hidden": 48, "heads": 16, "kv_heads": 8, "intermediate": 400},
    ],
)
def test_a_pass_takes_what_is_planned_for_it(
    changes: dict[str, Any], rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = LLAMA | changes
    model, tokens = tiny_model(**shape).to(dtype), tiny_tokens(256, 8)
    monkeypatch.setattr(gradients, "plan_pass", lambda *_: PassPlan(rows, by_layer=True))
    with LiveBytes(model.parameters()) as live:
        ratio = shape["heads"] // shape["kv_heads"]
        group_importance(model, tokens, ratio=ratio, alignment="official", distance="cosine")
    need = layer_pass(shape_of_model(model), dtype.itemsize, tokens.numel())
    planned = need.on_device(8 * rows) + shape["layers"] * need.inputs
    assert 0.8 * planned < live.peak < 1.01 * planned


def test_logits_are_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny_model(**LLAMA, vocabulary=3000), tiny_tokens(64, 8)
    monkeypatch.setattr(gradients, "plan_pass", lambda *_: PassPlan(16, by_layer=True))
    with LiveBytes(model.parameters()) as live:
        group_importance(model, tokens, ratio=4, alignment="official", distance="cosine")
    need = layer_pass(shape_of_model(model), 4, tokens.numel())
    assert need.logits > need.gradients
    assert live.peak < need.on_device(16 * 8) + 3 * need.inputs


def test_gradients_of_eight_billion_weights_fit_a_card_of_24_gb() -> None:
    """512 sequences of 64 tokens in bfloat16, as the paper draws them."""
    shape = shape_of("meta-llama/Llama-3.1-8B")
    need = layer_pass(shape, 2, 512 * 64)
    taken = 2 * shape.parameters + need.on_device(LAYER_BATCH)
    assert 19e9 < taken < 20e9  # of 25.8 GB, of which the driver takes half a gigabyte
