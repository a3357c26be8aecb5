"""Importance of decoder layers (Eq. 3-5) and of coupled weight groups (Eq. 7-10)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
import torch.utils.checkpoint

from adaptprune.errors import NumericalError

if TYPE_CHECKING:
    from collections.abc import Callable

#: ``official`` credits query heads {h, h + kv, h + 2·kv, …} to kv head h, as the published codes
#: do; ``corrected`` credits the query heads {h·ratio, …} that are removed together with it.
Alignment = Literal["official", "corrected"]
Distance = Literal["cosine", "euclidean", "manhattan"]
#: The published code counts the layer with the largest distance as the least important one;
#: ``corrected`` follows the paper's text: the more a layer changes its input, the more important.
Sign = Literal["official", "corrected"]

#: Positions whose logits are computed at once: [256, vocabulary] is the largest logits tensor.
_LOSS_CHUNK = 256
#: Bytes of kept activations above which layers are recomputed in the backward pass.
_ACTIVATION_LIMIT = 4 * 2**30


@dataclass
class Importance:
    """What one gradient pass tells.

    Args:
        kv_heads: per layer, the importance of each kv head [kv_heads], float32.
        neurons: per layer, the importance of each neuron [intermediate_size], float32.
        layers: raw layer importance [layers] (Eq. 3), float64, or None when not asked for.
        loss: mean next-token cross-entropy in nats over the calibration tokens.
    """

    kv_heads: list[torch.Tensor]
    neurons: list[torch.Tensor]
    layers: torch.Tensor | None
    loss: float


def layer_importance(
    inputs: torch.Tensor, outputs: torch.Tensor, distance: Distance, sign: Sign
) -> torch.Tensor:
    """Return the raw importance of a layer, averaged over tokens (Eq. 3).

    Args:
        inputs: hidden states that enter the layer [..., hidden].
        outputs: hidden states that leave it, same shape.
        distance: negative cosine similarity, or a distance between input and output.
        sign: of a distance; the cosine is not affected.
    """
    inputs, outputs = inputs.detach().float(), outputs.detach().float()
    if distance == "cosine":
        return -F.cosine_similarity(inputs, outputs, dim=-1).mean()
    order = 2 if distance == "euclidean" else 1
    change = torch.linalg.vector_norm(inputs - outputs, ord=order, dim=-1).mean()
    return -change if sign == "official" else change


def normalise(raw: torch.Tensor) -> torch.Tensor:
    """Centre layer importances and scale them to [-1, 1] (Eq. 4 and 5).

    Layers that are all alike stay at 0.
    """
    centred = raw - raw.mean()
    largest = centred.abs().max()
    return centred / largest if largest > 0 else centred


def mean_loss(model: Any, hidden_states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token cross-entropy without ever holding all logits.

    Args:
        model: a causal language model; only its output head is used.
        hidden_states: last hidden states [batch, length, hidden].
        targets: token ids [batch, length]; position i is scored against token i + 1.
    """
    head = model.get_output_embeddings()
    states = hidden_states[:, :-1].reshape(-1, hidden_states.shape[-1])
    labels = targets[:, 1:].reshape(-1)

    def chunk_loss(chunk: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(chunk).float(), wanted, reduction="sum")

    total = states.new_zeros((), dtype=torch.float32)
    for start in range(0, len(states), _LOSS_CHUNK):
        arguments = states[start : start + _LOSS_CHUNK], labels[start : start + _LOSS_CHUNK]
        if torch.is_grad_enabled():
            total = total + torch.utils.checkpoint.checkpoint(
                chunk_loss, *arguments, use_reentrant=False
            )
        else:
            total = total + chunk_loss(*arguments)
    return total / len(labels)


def _salience(weight: torch.Tensor) -> torch.Tensor:
    assert weight.grad is not None, "the backward pass reaches every prunable weight"
    return (weight.detach() * weight.grad).abs_()


def _sum_type(weight: torch.Tensor) -> torch.dtype:
    """Return the type to sum in: at least float32, or half-precision weights would tie."""
    return torch.promote_types(weight.dtype, torch.float32)


def _rows(weight: torch.Tensor) -> torch.Tensor:
    """Sum |w · ∂L/∂w| over each output channel of a weight [out, in] (Eq. 10)."""
    return _salience(weight).sum(1, dtype=_sum_type(weight))


def _columns(weight: torch.Tensor) -> torch.Tensor:
    """Sum |w · ∂L/∂w| over each input channel of a weight [out, in] (Eq. 10)."""
    return _salience(weight).sum(0, dtype=_sum_type(weight))


def head_importance(attention: Any, ratio: int, alignment: Alignment) -> torch.Tensor:
    """Sum the importance of a kv head's coupled channels: k and v rows, q rows, o columns.

    Args:
        attention: an attention module whose four projections hold gradients.
        ratio: query heads per kv head.
        alignment: whose query heads are credited to a kv head.

    Returns:
        Importance [kv_heads].
    """
    head_dim = attention.head_dim
    queries = _rows(attention.q_proj.weight) + _columns(attention.o_proj.weight)
    keys = _rows(attention.k_proj.weight) + _rows(attention.v_proj.weight)
    if alignment == "official":
        return (queries.view(ratio, -1).sum(0) + keys).view(-1, head_dim).sum(1)
    return queries.view(-1, ratio * head_dim).sum(1) + keys.view(-1, head_dim).sum(1)


def neuron_importance(mlp: Any) -> torch.Tensor:
    """Sum the importance of a neuron's gate row, up row and down column [intermediate_size]."""
    return _rows(mlp.gate_proj.weight) + _rows(mlp.up_proj.weight) + _columns(mlp.down_proj.weight)


def _when_complete(modules: list[Any], action: Callable[[], None]) -> list[Any]:
    """Call ``action`` as soon as all weights of ``modules`` have their gradient; then free those.

    Returns:
        Handles that remove the hooks.
    """
    weights = [module.weight.requires_grad_(True) for module in modules]
    missing = len(weights)

    def count(_: torch.Tensor) -> None:
        nonlocal missing
        missing -= 1
        if missing == 0:
            action()
            for weight in weights:
                weight.grad = None

    return [weight.register_post_accumulate_grad_hook(count) for weight in weights]


def group_importance(
    model: Any,
    tokens: torch.Tensor,
    *,
    ratio: int,
    alignment: Alignment,
    distance: Distance | None = None,
    sign: Sign = "official",
) -> Importance:
    """Compute group Taylor importance, and layer importance on the way, in one gradient pass.

    One loss over all tokens is differentiated with respect to the prunable weights alone. Each
    layer's gradients are used and freed as soon as the backward pass has completed them, so the
    gradients of at most one layer exist at any time.

    Args:
        model: a supported causal language model; left unchanged.
        tokens: calibration token ids [sequences, length].
        ratio: query heads per kv head.
        alignment: whose query heads are credited to a kv head.
        distance: how layer importance is measured, None to leave it out.
        sign: of a distance that is not the cosine.

    Raises:
        NumericalError: the loss or an importance is not finite.
    """
    layers = model.model.layers
    heads: list[torch.Tensor] = [torch.empty(0)] * len(layers)
    neurons: list[torch.Tensor] = [torch.empty(0)] * len(layers)
    raw = torch.zeros(len(layers), dtype=torch.float64) if distance else None
    handles = []
    for parameter in model.parameters():
        parameter.requires_grad_(False)

    def finish_attention(index: int) -> None:
        heads[index] = head_importance(layers[index].self_attn, ratio, alignment)

    def finish_mlp(index: int) -> None:
        neurons[index] = neuron_importance(layers[index].mlp)

    def watch(index: int) -> Callable[..., None]:
        def record(_: Any, arguments: tuple[Any, ...], output: Any) -> None:
            assert raw is not None
            assert distance is not None
            raw[index] = layer_importance(arguments[0], output, distance, sign)

        return record

    for index, layer in enumerate(layers):
        attention, mlp = layer.self_attn, layer.mlp
        projections = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
        handles += _when_complete(projections, partial(finish_attention, index))
        projections = [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
        handles += _when_complete(projections, partial(finish_mlp, index))
        if distance is not None:
            handles.append(layer.register_forward_hook(watch(index)))
    try:
        _checkpoint_when_large(model, tokens)
        hidden_states = model.model(input_ids=tokens, use_cache=False).last_hidden_state
        loss = mean_loss(model, hidden_states, tokens)
        loss.backward()
    finally:
        for handle in handles:
            handle.remove()
        for parameter in model.parameters():
            parameter.grad = None
        model.activation_checkpointing_disable()
        model.eval()
    result = Importance(heads, neurons, raw, float(loss.detach()))
    _check_finite(result)
    return result


def _checkpoint_when_large(model: Any, tokens: torch.Tensor) -> None:
    """Recompute activations in the backward pass where keeping them would need too much memory.

    The result is the same bit for bit; the pass takes about a third longer.
    """
    config = model.config
    per_token = config.num_hidden_layers * (10 * config.hidden_size + 4 * config.intermediate_size)
    if tokens.numel() * per_token * model.dtype.itemsize > _ACTIVATION_LIMIT:
        model.activation_checkpointing_enable({"use_reentrant": False})
        for layer in model.model.layers:
            # transformers checkpoints in training mode only; dropout inside stays off.
            layer.training = True


def _check_finite(result: Importance) -> None:
    if not torch.isfinite(torch.tensor(result.loss)):
        raise NumericalError(f"the calibration loss is {result.loss}")
    for index, (heads, neurons) in enumerate(zip(result.kv_heads, result.neurons, strict=True)):
        if not (torch.isfinite(heads).all() and torch.isfinite(neurons).all()):
            raise NumericalError(f"the weight importance of layer {index} is not finite")
    if result.layers is not None and not torch.isfinite(result.layers).all():
        raise NumericalError("a layer importance is not finite")
