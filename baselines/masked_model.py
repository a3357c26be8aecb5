"""What gates do to a model: on activations while it is trained, in its weights when it is cut.

Both compute the same function, for soft gates too, so that cutting changes no logit. The stock
forward pass is left alone: hooks multiply what goes into and comes out of its modules.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.models.anatomy import final_norm_of, hooked, layers_of
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.units import LayerUnits
from adaptprune.recovery.cutting import LayerCut, UniformCut, cut_to_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from adaptprune.models.shapes import ModelShape

    #: Module → what its input or output is multiplied by.
    Factors = dict[Any, Callable[[], Tensor]]


@dataclass(frozen=True)
class Gates:
    """One number in [0, 1] for every unit of a model; 0 removes it.

    Args:
        hidden: channels of the residual stream [hidden].
        layers: decoder layers [layers].
        heads: kv heads with their query heads [layers, kv_heads].
        intermediate: neurons [layers, intermediate].
    """

    hidden: Tensor
    layers: Tensor
    heads: Tensor
    intermediate: Tensor

    @functools.cached_property
    def width_ratio(self) -> Tensor:
        """Width of the residual stream over its open channels, which a norm averages over."""
        return len(self.hidden) / (self.hidden.detach() != 0).sum().clamp(min=1)

    def channels(self, layer: int, shape: ModelShape, *, queries: bool) -> Tensor:
        """Return a layer's head gates, one for each channel of its queries or of its values."""
        width = shape.head_dim * (shape.queries_per_kv_head if queries else 1)
        return self.heads[layer].repeat_interleave(width)

    def output(self, layer: int) -> Tensor:
        """Return what a layer's contributions to the residual stream are multiplied by [hidden]."""
        return self.hidden * self.layers[layer]

    def kept(self, shape: ModelShape) -> UniformCut:
        """Return the units whose gates are not 0.

        Args:
            shape: the model's, in which they are counted.
        """
        layers = []
        for layer in _open(self.layers):
            units = LayerUnits(_open(self.heads[layer]), _open(self.intermediate[layer]))
            queries = tuple(units.query_heads(shape.queries_per_kv_head))
            layers.append(LayerCut(layer, units.kv_heads, queries, units.mlp))
        return UniformCut(_open(self.hidden), tuple(layers))


def _open(gates: Tensor) -> tuple[int, ...]:
    return tuple(gates.nonzero().flatten().tolist())


def attach(model: Any, gates: Callable[[], Gates]) -> ExitStack:
    """Let gates act on a model's forward pass.

    The embeddings, and what attention and MLP add to the residual stream, are multiplied by the
    hidden gates, so a closed channel is 0 throughout; norms average over the open channels alone.

    Args:
        model: a causal language model.
        gates: returns the gates to use, at every forward pass.

    Returns:
        What takes the gates off again when it is closed.
    """
    shape = shape_of_model(model)
    inputs: Factors = {}
    outputs: Factors = {model.get_input_embeddings(): lambda: gates().hidden}
    norms = [final_norm_of(model)]
    for index, layer in enumerate(layers_of(model)):
        norms += [layer.attention_norm, layer.mlp_norm]
        inputs[layer.output] = partial(_head_gates, gates, index, shape)
        inputs[layer.down] = partial(_neuron_gates, gates, index)
        outputs |= dict.fromkeys((layer.output, layer.down), partial(_output_gates, gates, index))
    # An RMS norm takes its mean over the open channels, and its output is gated.
    inputs |= dict.fromkeys(norms, lambda: gates().width_ratio.sqrt())
    outputs |= dict.fromkeys(norms, lambda: gates().hidden / gates().width_ratio.sqrt())
    stack = ExitStack()
    stack.enter_context(
        hooked(
            before={module: _scaling_input(factor) for module, factor in inputs.items()},
            after={module: _scaling_output(factor) for module, factor in outputs.items()},
        )
    )
    return stack


def _head_gates(gates: Callable[[], Gates], index: int, shape: ModelShape) -> Tensor:
    return gates().channels(index, shape, queries=True)


def _neuron_gates(gates: Callable[[], Gates], index: int) -> Tensor:
    return gates().intermediate[index]


def _output_gates(gates: Callable[[], Gates], index: int) -> Tensor:
    return gates().output(index)


def _scaling_input(factor: Callable[[], Tensor]) -> Callable[..., Any]:
    def hook(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return (arguments[0] * factor().to(arguments[0].dtype), *arguments[1:]), named

    return hook


def _scaling_output(factor: Callable[[], Tensor]) -> Callable[..., Tensor]:
    def hook(_: Any, __: Any, ___: Any, output: Tensor) -> Tensor:
        return output * factor().to(output.dtype)

    return hook


@torch.no_grad()
def merge(model: Any, gates: Gates) -> None:
    """Multiply gates into a model's weights, in place.

    A tied head is the embedding, which brings the hidden gates to the logits; in an untied model
    the last norm brings them. (The released code multiplies them into the last norm and the untied
    head, once more than its forward pass does.)

    Args:
        model: a causal language model without hooks.
        gates: in its shape.
    """
    shape = shape_of_model(model)
    model.get_input_embeddings().weight.mul_(gates.hidden)
    if not shape.tied:
        final_norm_of(model).weight.mul_(gates.hidden)
    for index, layer in enumerate(layers_of(model)):
        layer.attention_norm.weight.mul_(gates.hidden)
        layer.mlp_norm.weight.mul_(gates.hidden)
        _scale_rows(layer.value, gates.channels(index, shape, queries=False))
        _scale_rows(layer.output, gates.output(index))
        _scale_rows(layer.up, gates.intermediate[index])
        _scale_rows(layer.down, gates.output(index))


def _scale_rows(linear: Any, factor: Tensor) -> None:
    linear.weight.mul_(factor[:, None])
    if linear.bias is not None:
        linear.bias.mul_(factor)


def cut(model: Any, gates: Gates, target: ModelShape) -> Any:
    """Return the stock model that gates leave of a model; it computes what the gated model does.

    Args:
        model: a causal language model without hooks; its weights are altered.
        gates: without chance, at the target shape.
        target: that uniform shape.
    """
    kept = gates.kept(shape_of_model(model))
    merge(model, gates)
    return cut_to_shape(model, kept, target)
