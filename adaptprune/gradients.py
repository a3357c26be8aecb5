"""One gradient of the calibration loss, used layer by layer and freed, within bounded memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.loss import loss_and_gradient

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes that activations, and gradients that wait for further micro-batches, may take.
_MEMORY_LIMIT = 2**30
#: Tokens of a micro-batch at least: matrix products over fewer are slow.
_MICRO_BATCH = 256


@dataclass(frozen=True)
class PassPlan:
    """How the calibration tokens go through the model.

    Args:
        rows: sequences of a micro-batch.
        recompute: whether the backward pass recomputes activations layer by layer, which takes
            a third longer.
    """

    rows: int
    recompute: bool


def plan_pass(model: Any, tokens: torch.Tensor) -> PassPlan:
    """Choose the quickest pass that stays within the memory limit.

    All tokens at once, if their activations fit. Else micro-batches, if what is then kept from
    one to the next fits: the gradients of all prunable weights; in float32 only, since sums over
    micro-batches in half precision would lose what the last ones add. Else all tokens at once
    with recomputed activations.

    Args:
        model: a supported causal language model.
        tokens: calibration token ids [sequences, length].
    """
    config, (sequences, length) = model.config, tokens.shape
    neurons = sum(layer.mlp.up_proj.out_features for layer in model.model.layers)
    # Floats that autograd keeps of a token; what attention keeps counts by its hidden size.
    per_token = config.num_hidden_layers * 14 * config.hidden_size + 5 * neurons
    per_row = per_token * length * model.dtype.itemsize
    if sequences * per_row <= _MEMORY_LIMIT:
        return PassPlan(sequences, recompute=False)
    gradients = sum(
        parameter.numel() * parameter.itemsize
        for layer in model.model.layers
        for parameter in layer.parameters()
    )
    rows = min(sequences, (_MEMORY_LIMIT - gradients) // per_row)
    if model.dtype == torch.float32 and rows * length >= min(_MICRO_BATCH, sequences * length):
        return PassPlan(max(1, _MICRO_BATCH // length), recompute=False)
    return PassPlan(sequences, recompute=True)


def gradient_pass(
    model: Any,
    tokens: torch.Tensor,
    groups: list[tuple[list[Any], Callable[[], None]]],
    observe: Callable[[int, int, torch.Tensor, torch.Tensor], None] | None = None,
) -> float:
    """Differentiate the mean loss over all tokens with respect to some weights.

    A group's gradients are used as soon as the backward pass has completed them, and freed.

    Args:
        model: a supported causal language model; left unchanged.
        tokens: calibration token ids [sequences, length].
        groups: linear layers, and what is called when ``weight.grad`` of all of them is complete.
        observe: is told the micro-batch, the decoder layer, and the hidden states that enter and
            leave it, [rows, length, hidden].

    Returns:
        The mean next-token cross-entropy in nats.
    """
    plan = plan_pass(model, tokens)
    batches = tokens.split(plan.rows)
    positions = tokens.shape[0] * (tokens.shape[1] - 1)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    handles = []
    for modules, action in groups:
        handles += _when_complete([module.weight for module in modules], len(batches), action)
    shares: list[torch.Tensor] = []  # of the loss, one per finished micro-batch
    if observe is not None:

        def watch(index: int) -> Callable[..., None]:
            def record(_: Any, arguments: tuple[Any, ...], output: torch.Tensor) -> None:
                observe(len(shares), index, arguments[0].detach(), output.detach())

            return record

        for index, layer in enumerate(model.model.layers):
            handles.append(layer.register_forward_hook(watch(index)))
    try:
        if plan.recompute:
            _recompute_activations(model)
        for batch in batches:
            states = model.model(input_ids=batch, use_cache=False).last_hidden_state
            share, gradient = loss_and_gradient(model, states, batch, positions)
            states.backward(gradient)
            shares.append(share)
    finally:
        for handle in handles:
            handle.remove()
        for parameter in model.parameters():
            parameter.grad = None
        model.activation_checkpointing_disable()
        model.eval()
    return math.fsum(share.item() for share in shares)


def _when_complete(
    weights: list[torch.Tensor], batches: int, action: Callable[[], None]
) -> list[Any]:
    """Call ``action`` once all weights have their gradient from all batches; then free those.

    Returns:
        Handles that remove the hooks.
    """
    missing = len(weights) * batches

    def count(_: torch.Tensor) -> None:
        nonlocal missing
        missing -= 1
        if missing == 0:
            action()
            for weight in weights:
                weight.grad = None

    return [
        weight.requires_grad_(True).register_post_accumulate_grad_hook(count) for weight in weights
    ]


def _recompute_activations(model: Any) -> None:
    """Recompute activations in the backward pass; the result is the same bit for bit."""
    model.activation_checkpointing_enable({"use_reentrant": False})
    for layer in model.model.layers:
        # transformers checkpoints in training mode only; dropout inside stays off.
        layer.training = True
