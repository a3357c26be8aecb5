"""Likelihoods are those of causal models, and a model's failures are named wherever it is given."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoint_examples import job
from tiny_models import save_tiny_model, tiny_model, tiny_tokens
from transformers import AutoConfig, AutoModelForCausalLM

from adaptprune.errors import UserError
from adaptprune.files.atomic import write_sealed_json
from adaptprune.models.causality import check_causal
from adaptprune.models.loss import hidden_states

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "initializer_range": 0.1,
}


def small(family: str, **changes: Any) -> Any:
    """Return a random model of any family."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL | changes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_sees_what_follows_is_refused(dtype: torch.dtype) -> None:
    check_causal(tiny_model().to(dtype))
    check_causal(small("bert", is_decoder=True).to(dtype))
    with pytest.raises(UserError, match="BertLMHeadModel: what it predicts depends on the tokens"):
        check_causal(small("bert").to(dtype))


def test_a_broken_model_is_not_called_an_encoder() -> None:
    model = tiny_model()
    model.lm_head.weight.data.fill_(torch.nan)
    check_causal(model)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gptj", {"rotary_dim": 4, "n_positions": 16}),
        ("mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 16}),
    ],
)
def test_positions_that_are_no_embeddings_end_too(family: str, changes: dict[str, Any]) -> None:
    model = small(family, **changes)
    hidden_states(model, tiny_tokens(1, 16))
    with pytest.raises(UserError, match="sequences of 20 tokens are beyond the model's positions"):
        hidden_states(model, tiny_tokens(1, 20))


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """Return the folder of a failed cell."""
    folder = tmp_path / "failed"
    folder.mkdir()
    record = {"status": "failed", "reason": "a loss is nan", "model": "tiny-llama"}
    write_sealed_json(folder / "pruning.json", record)
    return folder


@pytest.mark.parametrize("name", ["loss", "params", "prune"])
def test_the_reason_of_a_failed_cell_is_named(
    name: str, command: Command, failed: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([[1, 2, 3]]), encoding="utf-8")
    method = ("--method", "magnitude", "--sparsity", 20)
    options = {
        "loss": ("--tokens", tokens),
        "params": method,
        "prune": (*method, "--seed", 0, "--output", tmp_path / "out"),
    }
    status, _, err = command(name, "--model", failed, *options[name])
    assert status == 2
    assert "it is the record of a failure: a loss is nan" in err


def test_the_home_folder_is_looked_into(
    command: Command, failed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(failed.parent))
    output = tmp_path / "scores.json"
    tasks = ("--tasks", "tiny_local_place", "--output", output)
    status, _, err = command("evaluate", "--model=~/failed", *tasks)
    assert status == 0, err
    assert json.loads(output.read_text(encoding="utf-8"))["reason"] == "a loss is nan"


def test_calibration_beyond_the_window_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = save_tiny_model(tmp_path / "model")
    settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
    settings["max_position_embeddings"] = 6
    (model / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        job(model, "llm-pruner").load(model)
    assert "calibration sequences of 8 tokens are beyond the window of 6 tokens" in caplog.text
