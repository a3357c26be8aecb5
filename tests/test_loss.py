"""The chunked loss and its gradient against PyTorch's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tiny_models import tiny_model

from adaptprune import loss
from adaptprune.loss import loss_and_gradient, mean_loss

if TYPE_CHECKING:
    from typing import Any

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
