"""From hidden states to logits, and the cross-entropy without ever holding all positions' logits.

``logits_of`` is the one way from hidden states to logits; what wants the logits of whole sequences
calls the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from transformers.modeling_outputs import BaseModelOutputWithPast

from adaptprune.errors import UserError
from adaptprune.models.catalogue import stated_window

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


def _cross_entropy(model: Any, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits_of(model, states).float(), labels, reduction="sum")


def logits_of(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Return the logits of hidden states, as the model's own forward pass has them.

    Many models put nothing but their output head between the two, and then the head is applied.
    Others scale or cap their logits: there the forward pass itself is run, with ``states`` in the
    place of what the layers below give.

    Args:
        model: a causal language model.
        states: last hidden states [positions, hidden].

    Returns:
        [positions, vocabulary].

    Raises:
        UserError: the model's forward pass does not begin with hidden states of that kind.
    """
    if model not in _head_alone:
        # The numbers need not be likely, only different; nothing else of the model is run.
        probe = torch.linspace(-1, 1, 4 * states.shape[-1], device=states.device)
        probe = probe.to(states.dtype).view(4, -1)
        with torch.no_grad():
            wanted = _own_logits(model, probe)
            _head_alone[model] = torch.equal(model.get_output_embeddings()(probe), wanted)
    if _head_alone[model]:
        return model.get_output_embeddings()(states)
    return _own_logits(model, states)


#: Model → whether its logits are its output head applied to its hidden states.
_head_alone: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@dataclass
class _Given(BaseModelOutputWithPast):
    """What a model's layers are said to have given; whatever else is asked for is absent."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _own_logits(model: Any, states: torch.Tensor) -> torch.Tensor:
    """Run a model's own forward pass on states that its layers are said to have given."""
    layers, calls = model.get_decoder(), 0

    def give(*arguments: Any, **options: Any) -> _Given:
        nonlocal calls
        calls += 1
        return _Given(last_hidden_state=states[None])

    tokens = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
    before = vars(layers).get("forward")
    layers.forward = give  # of this one object, before the method of its class
    try:
        logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        del layers.forward
        if before is not None:
            layers.forward = before
    if calls != 1 or layers is model or logits.shape[:2] != tokens.shape:
        raise UserError(
            f"{type(model).__name__}: its logits cannot be computed from its hidden states; this "
            "architecture is not supported here"
        )
    return logits[0]


def hidden_states(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return a model's last hidden states [batch, length, hidden].

    Args:
        model: a causal language model.
        tokens: token ids [batch, length].

    Raises:
        UserError: the sequences are longer than a table of positions.
    """
    try:
        return model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
    except torch.OutOfMemoryError:
        raise
    except (IndexError, RuntimeError) as error:  # of a table of positions, or of attention biases
        window = stated_window(model.config.to_dict())
        if isinstance(error, RuntimeError) and (window is None or tokens.shape[1] <= window):
            raise
        raise UserError(
            f"sequences of {tokens.shape[1]} tokens are beyond the model's positions ({error})"
        ) from None


@torch.no_grad()
def mean_loss(model: Any, hidden_states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token cross-entropy in nats, without a gradient.

    Args:
        model: a causal language model; only what follows its layers is used.
        hidden_states: last hidden states [batch, length, hidden].
        targets: token ids [batch, length]; position i is scored against token i + 1.
    """
    states, labels = _positions(hidden_states, targets)
    total = states.new_zeros((), dtype=torch.float32)
    for span, wanted in _chunks(states, labels):
        total += _cross_entropy(model, states[span], wanted)
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
    states, labels = _positions(hidden_states, targets)
    gradient = torch.empty_like(states)
    total = states.new_zeros((), dtype=torch.float32)
    for span, wanted in _chunks(states, labels):
        with torch.enable_grad():
            chunk = states[span].requires_grad_()
            loss = _cross_entropy(model, chunk, wanted)
            (gradient[span],) = torch.autograd.grad(loss / positions, chunk)
        total += loss.detach()
    whole = torch.zeros_like(hidden_states, requires_grad=False)
    whole[:, :-1] = gradient.view(len(targets), -1, states.shape[-1])
    return total / positions, whole
