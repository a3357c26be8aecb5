"""The chunked loss and its gradient against PyTorch's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from adaptprune.errors import UserError
from adaptprune.models import loss
from adaptprune.models.loss import hidden_states, logits_of, loss_and_gradient, mean_loss

TOKENS = torch.tensor([[5, 9, 3, 7, 1, 2, 8], [4, 4, 6, 2, 9, 1, 3]])


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(tied=request.param)


@pytest.mark.parametrize("chunk", [1, 5, 128])
def test_loss_is_that_of_the_model(model: Any, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "_CHUNK", chunk)
    expected = model(input_ids=TOKENS, labels=TOKENS).loss
    states = model.model(input_ids=TOKENS).last_hidden_state
    torch.testing.assert_close(mean_loss(model, states, TOKENS), expected.detach())


@pytest.mark.parametrize("chunk", [1, 5, 128])
def test_gradient_is_that_of_autograd(
    model: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_CHUNK", chunk)
    model.requires_grad_(False)
    states = model.model(input_ids=TOKENS).last_hidden_state.detach().requires_grad_()
    logits = model.get_output_embeddings()(states)[:, :-1]
    whole = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
    (expected,) = torch.autograd.grad(whole, states)
    value, gradient = loss_and_gradient(model, states, TOKENS, positions=12)
    torch.testing.assert_close(value, whole.detach())
    torch.testing.assert_close(gradient, expected)
    assert not gradient[:, -1].any()


def test_shares_of_batches_add_up(model: Any) -> None:
    model.requires_grad_(False)
    states = model.model(input_ids=TOKENS).last_hidden_state
    whole, gradient = loss_and_gradient(model, states, TOKENS, positions=12)
    parts = [
        loss_and_gradient(model, states[row : row + 1], TOKENS[row : row + 1], positions=12)
        for row in range(2)
    ]
    torch.testing.assert_close(parts[0][0] + parts[1][0], whole)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), gradient)


def test_nothing_of_the_model_gets_a_gradient(model: Any) -> None:
    model.requires_grad_(False)
    states = model.model(input_ids=TOKENS).last_hidden_state
    loss_and_gradient(model, states, TOKENS, positions=12)
    assert all(parameter.grad is None for parameter in model.parameters())


GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
PLAIN = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2} | {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
OTHERS: dict[str, dict[str, Any]] = {
    "granite": {**PLAIN, "logits_scaling": 8.0, "embedding_multiplier": 3.0},
    "cohere": {**PLAIN, "logit_scale": 0.06},
    "gemma2": {**PLAIN, "head_dim": 4, "final_logit_softcapping": 1.0},
    "mixtral": PLAIN,
    "phi": PLAIN,
    "gpt2": GPT2,
    "opt": {**PLAIN, "ffn_dim": 24, "word_embed_proj_dim": 8},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 4},
}


def model_of(family: str) -> Any:
    settings = {"vocab_size": 40, "initializer_range": 0.3, **OTHERS[family]}
    config = AutoConfig.for_model(family, pad_token_id=0, **settings)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("family", OTHERS)
def test_loss_of_a_family_that_changes_its_logits(family: str) -> None:
    model = model_of(family).requires_grad_(False)
    expected = model(input_ids=TOKENS, labels=TOKENS).loss
    states = hidden_states(model, TOKENS).requires_grad_()
    torch.testing.assert_close(mean_loss(model, states, TOKENS), expected)
    value, gradient = loss_and_gradient(model, states, TOKENS, positions=12)
    whole = torch.nn.functional.cross_entropy(
        logits_of(model, states.flatten(0, 1)).view(2, 7, -1)[:, :-1].flatten(0, 1),
        TOKENS[:, 1:].flatten(),
    )
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(whole, states)[0])


def test_where_the_head_is_all_the_logits_are_the_head_s_to_the_last_bit(model: Any) -> None:
    states = torch.randn(5, 16)
    assert torch.equal(logits_of(model, states), model.get_output_embeddings()(states))


def test_a_forward_pass_that_was_replaced_stays_so(model: Any) -> None:
    replacement = model.model.forward
    model.model.forward = replacement  # as wrappers of a model do
    logits_of(model, torch.randn(5, 16))
    assert vars(model.model)["forward"] is replacement


def test_a_model_that_takes_no_hidden_states_is_refused(model: Any) -> None:
    model.forward = lambda **_: SimpleNamespace(logits=torch.zeros(1, 4, 40))
    with pytest.raises(UserError, match="cannot be computed from its hidden states"):
        logits_of(model, torch.randn(4, 16))


def test_sequences_beyond_a_table_of_positions_are_named() -> None:
    with pytest.raises(UserError, match="sequences of 65 tokens are beyond the model's positions"):
        hidden_states(model_of("gpt2"), torch.zeros(1, 65, dtype=torch.long))
