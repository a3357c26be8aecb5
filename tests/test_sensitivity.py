"""Single layers cut, all others left: perplexities against those of models that were really cut."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import FAMILIES, SHAPES, logits, tiny_model, tiny_tokens

from adaptprune.errors import NumericalError
from adaptprune.measure.layers import layer_perplexities
from adaptprune.models.shapes import uniform_blocks
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.importance import Importance, group_importance
from adaptprune.pruning.selection import keep_blocks
from adaptprune.pruning.surgery import cut_layers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any


def importance_of(model: Any) -> Importance:
    ratio = shape_of_model(model).queries_per_kv_head
    return group_importance(model, tiny_tokens(seed=1), ratio=ratio, alignment="official")


def perplexity(model: Any, windows: torch.Tensor) -> float:
    """Return the token perplexity from the logits of one whole pass."""
    scores = logits(model, windows)[:, :-1].log_softmax(-1)
    return math.exp(-scores.gather(-1, windows[:, 1:, None]).mean().item())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_perplexities_are_those_of_models_cut_in_one_layer(family: str, shape: str) -> None:
    build = {"layers": 3, **SHAPES[shape]}
    model = tiny_model(family, **build)
    windows = tiny_tokens(5, 12, seed=2)
    importance = importance_of(model)
    whole, layers = layer_perplexities(model, importance, windows, 0.5)
    assert whole == pytest.approx(perplexity(tiny_model(family, **build), windows), rel=1e-5)
    for index, found in enumerate(layers):
        cut = tiny_model(family, **build)
        dense = shape_of_model(cut)
        blocks = uniform_blocks(dense, 0.5, range(index, index + 1))
        cut_layers(cut, keep_blocks(importance.kv_heads, importance.neurons, blocks))
        assert shape_of_model(cut).parameters < dense.parameters
        assert found == pytest.approx(perplexity(cut, windows), rel=1e-5)


def test_the_model_is_left_as_it_was() -> None:
    model, twin = tiny_model(layers=3), tiny_model(layers=3)
    layer_perplexities(model, importance_of(model), tiny_tokens(), 0.5)
    assert model.state_dict().keys() == twin.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name])
    assert not any(layer._forward_pre_hooks for layer in model.model.layers)


def test_many_windows_are_weighted_alike() -> None:
    model = tiny_model()
    windows = tiny_tokens(70, 60, seed=3)  # more than go through the model at once
    whole, _ = layer_perplexities(model, importance_of(model), windows, 0.5)
    assert whole == pytest.approx(perplexity(model, windows), rel=1e-5)


def test_a_perplexity_that_is_not_finite_is_refused() -> None:
    model = tiny_model()
    importance = importance_of(model)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = math.nan
    with pytest.raises(NumericalError, match="perplexity of the model with layer 0 cut is not"):
        layer_perplexities(model, importance, tiny_tokens(), 0.5)


def test_the_command_writes_one_perplexity_per_layer(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    common = ("sensitivity", "--model", "tiny-llama", "--suite", "commonsense-tiny")
    drawn = ("--calibration", "tiny-prose", "--sequences", 4, "--length", 32)
    text = ("--perplexity-documents", 4, "--window", 64, "--threads", 1)
    records = {}
    for uniform in (0, 20):
        path = tmp_path / f"u{uniform}.json"
        status, _, errors = command(*common, *drawn, *text, "--uniform", uniform, "--output", path)
        assert status == 0, errors
        records[uniform] = json.loads(path.read_text())
    assert all(len(record["layers"]) == 4 for record in records.values())
    assert records[0]["perplexity"] != records[20]["perplexity"]
    assert records[0]["text"]["positions"] % 63 == 0
    assert records[0]["calibration"]["dataset"] == "tiny-prose"


def test_wrong_input_is_told_before_any_work(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    output = ("--output", tmp_path / "out.json", "--calibration", "tiny-prose")
    small = ("--sequences", 4, "--length", 32)
    status, _, errors = command(
        "sensitivity", "--model", "tiny-llama", "--suite", "commonsense-tinny", *output, *small
    )
    assert status == 2
    assert "did you mean 'commonsense-tiny'" in errors
    status, _, errors = command(
        *("sensitivity", "--model", "tiny-llama", "--suite", "commonsense-tiny"),
        *(*output, *small, "--window", 100000),
    )
    assert status == 2
    assert "no window is full" in errors
    assert not (tmp_path / "out.json").exists()
