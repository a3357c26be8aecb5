"""Next-token cross-entropy without ever holding the logits of all positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Positions whose logits are computed at once: [128, vocabulary] is the largest logits tensor.
_CHUNK = 128


def _chunks(states: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    for start in range(0, len(states), _CHUNK):
        span = slice(start, start + _CHUNK)
        yield span, labels[span]


def _positions(
    hidden_states: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states that predict, [positions, hidden], and the tokens they predict."""
    states = hidden_states.detach()[:, :-1].reshape(-1, hidden_states.shape[-1])
    return states, targets[:, 1:].reshape(-1)


def _cross_entropy(head: Any, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(head(states).float(), labels, reduction="sum")


@torch.no_grad()
def mean_loss(model: Any, hidden_states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token cross-entropy in nats, without a gradient.

    Args:
        model: a causal language model; only its output head is used.
        hidden_states: last hidden states [batch, length, hidden].
        targets: token ids [batch, length]; position i is scored against token i + 1.
    """
    states, labels = _positions(hidden_states, targets)
    total = states.new_zeros((), dtype=torch.float32)
    for span, wanted in _chunks(states, labels):
        total += _cross_entropy(model.get_output_embeddings(), states[span], wanted)
    return total / len(labels)


def loss_and_gradient(
    model: Any, hidden_states: torch.Tensor, targets: torch.Tensor, positions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a share of the mean loss and its gradient with respect to the hidden states.

    The gradient of a chunk of logits is taken as soon as they are there, so that nothing of the
    vocabulary's size is kept or computed twice.

    Args:
        model: a causal language model whose output head needs no gradient.
        hidden_states: last hidden states [batch, length, hidden].
        targets: token ids [batch, length]; position i is scored against token i + 1.
        positions: what the summed loss is divided by: the positions of all batches together.

    Returns:
        The loss in nats divided by ``positions`` (float32), and the gradient
        [batch, length, hidden].
    """
    head = model.get_output_embeddings()
    states, labels = _positions(hidden_states, targets)
    gradient = torch.empty_like(states)
    total = states.new_zeros((), dtype=torch.float32)
    for span, wanted in _chunks(states, labels):
        with torch.enable_grad():
            chunk = states[span].requires_grad_()
            loss = _cross_entropy(head, chunk, wanted)
            (gradient[span],) = torch.autograd.grad(loss / positions, chunk)
        total += loss.detach()
    whole = torch.zeros_like(hidden_states, requires_grad=False)
    whole[:, :-1] = gradient.view(len(targets), -1, states.shape[-1])
    return total / positions, whole
