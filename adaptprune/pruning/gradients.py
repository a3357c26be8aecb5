"""One gradient of the calibration loss, used layer by layer and freed, within bounded memory."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.models.anatomy import blocks_of, final_norm_of, hooked, layers_of, stream_in
from adaptprune.models.loss import loss_and_gradient
from adaptprune.models.memory import LAYER_BATCH, USABLE, layer_pass
from adaptprune.models.sizes import shape_of_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Observer = Callable[[int, int, torch.Tensor, torch.Tensor], None]

logger = logging.getLogger(__name__)

#: Bytes that activations, and gradients that wait for further micro-batches, may take on a CPU.
_MEMORY_LIMIT = 2**30
#: Tokens of a micro-batch at least: matrix products over fewer are slow.
_MICRO_BATCH = 256


@dataclass(frozen=True)
class PassPlan:
    """How the calibration tokens go through the model.

    Args:
        rows: sequences of a micro-batch.
        by_layer: whether the backward pass takes all micro-batches through one decoder layer after
            the other and recomputes its activations, which takes a third longer; else a
            micro-batch goes through the whole model and back.
        resident: of a pass by layer, the layers whose inputs wait on the model's device; those of
            the others wait in the host's memory. None for all.
    """

    rows: int
    by_layer: bool
    resident: int | None = None


def free_memory(device: torch.device) -> int:
    """Return the bytes that a pass may take on a device."""
    if device.type != "cuda":
        return _MEMORY_LIMIT
    free = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(USABLE * (free + unused))


def plan_pass(model: Any, tokens: torch.Tensor) -> PassPlan:
    """Choose the quickest pass that stays within the memory limit.

    In float32 on a CPU: all tokens at once, if their activations fit; else micro-batches, if what
    is then kept from one to the next fits, the gradients of all prunable weights; else all tokens
    at once, layer by layer. In half precision, and on a GPU, always by layer, in micro-batches of
    a fixed size, or in smaller ones where those find no room.

    Args:
        model: a supported causal language model.
        tokens: calibration token ids [sequences, length].
    """
    config, (sequences, length) = model.config, tokens.shape
    if tokens.device.type != "cpu" or model.dtype.itemsize < 4:
        return _plan_by_layer(model, sequences, length, free_memory(tokens.device))
    neurons = sum(layer.up.out_features for layer in layers_of(model))
    # Floats that autograd keeps of a token; what attention keeps counts by its hidden size.
    per_token = config.num_hidden_layers * 14 * config.hidden_size + 5 * neurons
    per_row = per_token * length * model.dtype.itemsize
    if sequences * per_row <= _MEMORY_LIMIT:
        return PassPlan(sequences, by_layer=False)
    gradients = sum(
        parameter.numel() * parameter.itemsize
        for block in blocks_of(model)
        for parameter in block.parameters()
    )
    rows = min(sequences, (_MEMORY_LIMIT - gradients) // per_row)
    if rows * length >= min(_MICRO_BATCH, sequences * length):
        return PassPlan(max(1, _MICRO_BATCH // length), by_layer=False)
    return PassPlan(sequences, by_layer=True)


def _plan_by_layer(model: Any, sequences: int, length: int, limit: int) -> PassPlan:
    """Halve the micro-batch until it fits; leave on the device what fits besides."""
    need = layer_pass(shape_of_model(model), model.dtype.itemsize, sequences * length)
    rows = min(sequences, max(1, LAYER_BATCH // length))
    while rows * length > _MICRO_BATCH and need.on_device(rows * length) > limit:
        rows = max(1, rows // 2)
    room = max(0, limit - need.on_device(rows * length))
    return PassPlan(rows, by_layer=True, resident=room // need.inputs)


def gradient_pass(
    model: Any,
    tokens: torch.Tensor,
    groups: list[tuple[list[Any], Callable[[], None]]],
    observe: Observer | None = None,
) -> float:
    """Differentiate the mean loss over all tokens with respect to some weights.

    A group's gradients are summed over micro-batches in float32 at least, used as soon as they are
    complete, and freed. Where memory runs out the pass starts again with half the micro-batch.

    Args:
        model: a supported causal language model; left unchanged.
        tokens: calibration token ids [sequences, length].
        groups: linear layers, and what is called when ``weight.grad`` of all of them is complete.
        observe: is told the micro-batch, the decoder layer, and the hidden states that enter and
            leave it, [rows, length, hidden].

    Returns:
        The mean next-token cross-entropy in nats.

    Raises:
        torch.OutOfMemoryError: a single sequence does not fit.
    """
    plan = plan_pass(model, tokens)
    while True:
        try:
            return _run(model, tokens, plan, groups, observe)
        except torch.OutOfMemoryError:
            if plan.rows == 1:
                raise
            plan = PassPlan(plan.rows // 2, plan.by_layer, (plan.resident or 0) // 2)
        # Outside of the handler, whose error holds the tensors of what was under way.
        torch.cuda.empty_cache()
        logger.warning("out of memory: gradients of %d sequences at once", plan.rows)


def _run(
    model: Any,
    tokens: torch.Tensor,
    plan: PassPlan,
    groups: list[tuple[list[Any], Callable[[], None]]],
    observe: Observer | None,
) -> float:
    """Make the pass as planned; return the mean loss."""
    batches = tokens.split(plan.rows)
    positions = tokens.shape[0] * (tokens.shape[1] - 1)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    handles = []
    for modules, action in groups:
        handles += _when_complete([module.weight for module in modules], len(batches), action)
    try:
        if plan.by_layer:
            shares = _layer_after_layer(model, batches, positions, plan.resident, observe)
        else:
            shares = _batch_after_batch(model, batches, positions, observe)
    finally:
        for handle in handles:
            handle.remove()
        for parameter in model.parameters():
            parameter.grad = None
            parameter.grad_dtype = parameter.dtype
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

    handles = []
    for weight in weights:
        # Sums in half precision would lose what the last micro-batches add.
        weight.grad_dtype = torch.promote_types(weight.dtype, torch.float32)
        handles.append(weight.requires_grad_(True).register_post_accumulate_grad_hook(count))
    return handles


def _batch_after_batch(
    model: Any, batches: Sequence[torch.Tensor], positions: int, observe: Observer | None
) -> list[torch.Tensor]:
    """Take each micro-batch through the whole model and back; return its shares of the loss."""
    shares = []
    for number, batch in enumerate(batches):
        with _observed(model, number, observe):
            states = model.get_decoder()(input_ids=batch, use_cache=False).last_hidden_state
        share, gradient = loss_and_gradient(model, states, batch, positions)
        states.backward(gradient)
        shares.append(share)
    return shares


@torch.no_grad()
def _layer_after_layer(
    model: Any,
    batches: Sequence[torch.Tensor],
    positions: int,
    resident: int | None,
    observe: Observer | None,
) -> list[torch.Tensor]:
    """Take all micro-batches forward, noting each layer's inputs; then back through layer by layer.

    A layer's activations are computed again when its turn comes, and its gradients are complete
    when the next layer's begin. Where all tokens are one micro-batch, the result is that of the
    pass that keeps all activations, bit for bit.
    """
    layers, norm = list(blocks_of(model)), final_norm_of(model)
    resident = len(layers) if resident is None else resident
    calls: list[list[tuple[torch.Tensor, dict[str, Any]]]] = [[] for _ in [*layers, norm]]
    shares, gradients = [], []
    for number, batch in enumerate(batches):
        with _observed(model, number, observe), _noted([*layers, norm], resident, calls):
            model.get_decoder()(input_ids=batch, use_cache=False)
        last = calls[-1].pop()[0].to(batch.device).requires_grad_()
        with torch.enable_grad():
            states = norm(last)
        share, gradient = loss_and_gradient(model, states, batch, positions)
        states.backward(gradient)
        shares.append(share)
        gradients.append(last.grad)
    calls.pop()
    for index in reversed(range(len(layers))):
        for number, (waiting, named) in enumerate(calls.pop()):
            inputs = waiting.to(batches[0].device).detach().requires_grad_(index > 0)
            with torch.enable_grad():
                output = layers[index](inputs, **named)
            output.backward(gradients[number])
            gradients[number] = inputs.grad
    return shares


@contextmanager
def _observed(model: Any, batch: int, observe: Observer | None) -> Iterator[None]:
    """Tell an observer what enters and leaves the layers while a micro-batch goes forward."""
    places = {block: index for index, block in enumerate(blocks_of(model) if observe else ())}

    def record(block: Any, given: Any, named: dict[str, Any], output: torch.Tensor) -> None:
        assert observe is not None
        observe(batch, places[block], stream_in(given, named).detach(), output.detach())

    with hooked(after=dict.fromkeys(places, record)):
        yield


@contextmanager
def _noted(layers: list[Any], resident: int, calls: list[list[Any]]) -> Iterator[None]:
    """Note with what each layer is called; inputs past the first few go to the host's memory."""
    places = {layer: index for index, layer in enumerate(layers)}

    def note(layer: Any, given: Any, named: dict[str, Any]) -> None:
        index = places[layer]
        inputs = given[0] if index < resident else given[0].cpu()
        calls[index].append((inputs, named))

    with hooked(before=dict.fromkeys(places, note)):
        yield
