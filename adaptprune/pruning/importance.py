"""Importance of decoder layers (Eq. 3-5) and of coupled weight groups (Eq. 7-10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F

from adaptprune.errors import NumericalError
from adaptprune.models.anatomy import Layer, layers_of
from adaptprune.pruning.gradients import gradient_pass

if TYPE_CHECKING:
    from collections.abc import Callable

#: ``official`` credits query heads {h, h + kv, h + 2·kv, …} to kv head h, as the published codes
#: do; ``corrected`` credits the query heads {h·ratio, …} that are removed together with it.
Alignment = Literal["official", "corrected"]
Distance = Literal["cosine", "euclidean", "manhattan"]
#: The published code counts the layer with the largest distance as the least important one;
#: ``corrected`` follows the paper's text: the more a layer changes its input, the more important.
Sign = Literal["official", "corrected"]


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


def head_importance(layer: Layer, ratio: int, alignment: Alignment) -> torch.Tensor:
    """Sum the importance of a kv head's coupled channels: k and v rows, q rows, o columns.

    Args:
        layer: whose four projections of attention hold gradients.
        ratio: query heads per kv head.
        alignment: whose query heads are credited to a kv head.

    Returns:
        Importance [kv_heads].
    """
    head_dim = layer.head_dim
    queries = _rows(layer.query.weight) + _columns(layer.output.weight)
    keys = _rows(layer.key.weight) + _rows(layer.value.weight)
    if alignment == "official":
        return (queries.view(ratio, -1).sum(0) + keys).view(-1, head_dim).sum(1)
    return queries.view(-1, ratio * head_dim).sum(1) + keys.view(-1, head_dim).sum(1)


def neuron_importance(layer: Layer) -> torch.Tensor:
    """Sum the importance of a neuron's gate row, up row and down column [intermediate_size]."""
    return _rows(layer.gate.weight) + _rows(layer.up.weight) + _columns(layer.down.weight)


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

    One loss over all tokens is differentiated with respect to the prunable weights alone.

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
    layers = layers_of(model)
    heads: list[torch.Tensor] = [torch.empty(0)] * len(layers)
    neurons: list[torch.Tensor] = [torch.empty(0)] * len(layers)
    #: (micro-batch, layer) → raw importance; the recomputed forward pass gives the same again.
    raw: dict[tuple[int, int], float] = {}
    sizes: dict[int, int] = {}

    def finish_attention(index: int) -> None:
        heads[index] = head_importance(layers[index], ratio, alignment)

    def finish_mlp(index: int) -> None:
        neurons[index] = neuron_importance(layers[index])

    def observe(batch: int, index: int, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
        assert distance is not None
        sizes[batch] = len(inputs)
        raw[batch, index] = layer_importance(inputs, outputs, distance, sign).item()

    groups: list[tuple[list[Any], Callable[[], None]]] = []
    for index, layer in enumerate(layers):
        groups.append((list(layer.attention_projections), partial(finish_attention, index)))
        groups.append((list(layer.mlp_projections), partial(finish_mlp, index)))
    loss = gradient_pass(model, tokens, groups, observe if distance else None)
    importance = None
    if distance:
        importance = torch.tensor(
            [
                math.fsum(raw[batch, index] * size for batch, size in sizes.items()) / len(tokens)
                for index in range(len(layers))
            ],
            dtype=torch.float64,
        )
    result = Importance(heads, neurons, importance, loss)
    _check_finite(result)
    return result


def _check_finite(result: Importance) -> None:
    if not torch.isfinite(torch.tensor(result.loss)):
        raise NumericalError(f"the calibration loss is {result.loss}")
    for index, (heads, neurons) in enumerate(zip(result.kv_heads, result.neurons, strict=True)):
        if not (torch.isfinite(heads).all() and torch.isfinite(neurons).all()):
            raise NumericalError(f"the weight importance of layer {index} is not finite")
    if result.layers is not None and not torch.isfinite(result.layers).all():
        raise NumericalError("a layer importance is not finite")
