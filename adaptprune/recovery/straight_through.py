"""Sparse linear layers whose pruned weights are still there, and may come back.

The forward pass uses W ⊙ m. Its gradient goes to all of W, as if nothing were masked: the
straight-through estimator (AST, Eq. 1). Or it goes to the kept weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from adaptprune.models.anatomy import all_linears, weight_shapes
from adaptprune.pruning.masks import Mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adaptprune.models.anatomy import Linear
    from adaptprune.pruning.patterns import Pattern


class _MaskedProduct(torch.autograd.Function):
    """x (W ⊙ m)ᵀ. W ⊙ m is made again in the backward pass, so that no copy of W is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        matrix: torch.Tensor,
        bias: torch.Tensor | None,
        kept: torch.Tensor,
        through: bool,
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, matrix, kept)
        ctx.through = through
        return F.linear(inputs, matrix * kept, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        inputs, matrix, kept = ctx.saved_tensors
        of_inputs = of_matrix = of_bias = None
        flat = gradient.reshape(-1, gradient.shape[-1])
        if ctx.needs_input_grad[0]:
            of_inputs = gradient @ (matrix * kept)
        if ctx.needs_input_grad[1]:
            of_matrix = flat.t() @ inputs.reshape(-1, inputs.shape[-1])
            if not ctx.through:
                of_matrix *= kept
        if ctx.needs_input_grad[2]:
            of_bias = flat.sum(0)
        return of_inputs, of_matrix, of_bias, None, None


def masked_linear(
    inputs: torch.Tensor,
    matrix: torch.Tensor,
    bias: torch.Tensor | None,
    kept: torch.Tensor,
    *,
    through: bool = True,
) -> torch.Tensor:
    """Return inputs · (matrix ⊙ kept)ᵀ + bias.

    Args:
        inputs: [..., inputs].
        matrix: [outputs, inputs].
        bias: [outputs], or None.
        kept: true where a weight stays [outputs, inputs].
        through: whether the gradient reaches pruned weights too.
    """
    device = inputs.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        inputs, matrix = inputs.to(dtype), matrix.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    with torch.autocast(device, enabled=False):
        product: torch.Tensor = _MaskedProduct.apply(inputs, matrix, bias, kept, through)
    return product


@dataclass
class SparseLayer:
    """A linear layer of a decoder block with its mask.

    Args:
        linear: the layer.
        kept: true where a weight stays [outputs, inputs], on the layer's device.
        through: whether the gradient reaches pruned weights too.
    """

    linear: Linear
    kept: torch.Tensor
    through: bool = True

    def install(self) -> None:
        """Let the layer compute with its kept weights alone from now on."""
        module = self.linear.module
        transposed = type(module).__name__ == "Conv1D"

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            matrix = module.weight.t() if transposed else module.weight
            return masked_linear(inputs, matrix, module.bias, self.kept, through=self.through)

        module.forward = forward
        module.sparse_layer = self

    @property
    def parameter_mask(self) -> torch.Tensor:
        """Return the mask in the layout of the layer's weight, sharing memory."""
        return self.kept.t() if type(self.linear.module).__name__ == "Conv1D" else self.kept


def parameter_masks(model: Any) -> dict[torch.nn.Parameter, torch.Tensor]:
    """Return the mask of every sparse weight of a model, in the weight's layout, sharing memory.

    Args:
        model: whose layers are installed; before or after it is distributed to processes.
    """
    modules = (linear.module for linear in all_linears(model))
    return {module.weight: module.sparse_layer.parameter_mask for module in modules}


def _all(linear: Linear) -> torch.Tensor:
    return torch.ones_like(linear.matrix, dtype=torch.bool)


@dataclass
class Flips:
    """How many entries of all masks differ (AST, section 6.7); a swap in a group counts two.

    Args:
        last: from the masks before this update.
        initial: from the first masks.
        weights: D, entries of all masks.
    """

    last: int
    initial: int
    weights: int

    def figures(self) -> dict[str, float]:
        """Return what the log says: flips, and the rates r_t and i_t."""
        return {
            "flips": self.last,
            "initial_flips": self.initial,
            "flip_rate": self.last / self.weights,
            "initial_flip_rate": self.initial / self.weights,
        }


class SparseLayers:
    """All linear layers of a model's decoder blocks, with their masks.

    Args:
        layers: by the name of the weight, in order.
    """

    def __init__(self, layers: dict[str, SparseLayer]):
        self.layers = layers
        self.initial: dict[str, Mask] = {}

    @classmethod
    def of(cls, model: Any, pattern: Pattern, *, through: bool = True) -> SparseLayers:
        """Return the layers of a model, none of their weights pruned.

        Args:
            model: a causal language model whose family has an anatomy.
            pattern: that the masks will follow.
            through: whether the gradient reaches pruned weights too.

        Raises:
            UserError: the family has no anatomy, or the pattern does not divide a row.
        """
        pattern.check_rows(weight_shapes(model))
        linears = all_linears(model)
        return cls({one.name: SparseLayer(one, _all(one), through) for one in linears})

    @property
    def weights(self) -> int:
        """Return the number of weights of all layers."""
        return sum(layer.kept.numel() for layer in self.layers.values())

    def install(self) -> None:
        """Let all layers compute with their kept weights alone."""
        for layer in self.layers.values():
            layer.install()

    def begin(self, masks: Mapping[str, Mask], initial: Mapping[str, Mask] | None = None) -> None:
        """Take up masks.

        Args:
            masks: of every layer.
            initial: those that training began with; the same, at its beginning.
        """
        for name, layer in self.layers.items():
            layer.kept.copy_(masks[name].unpack(layer.kept.device))
        self.initial = dict(initial or masks)

    @torch.no_grad()
    def update(self, choose: Callable[[str, torch.Tensor], torch.Tensor]) -> Flips:
        """Choose all masks anew, in place.

        Args:
            choose: given a layer's name and its weights [outputs, inputs], returns which stay.
        """
        flips = Flips(0, 0, self.weights)
        for name, layer in self.layers.items():
            kept = choose(name, layer.linear.matrix)
            flips.last += int((kept ^ layer.kept).sum())
            layer.kept.copy_(kept)
            if self.initial:
                first = self.initial[name].unpack(kept.device)
                flips.initial += int((kept ^ first).sum())
        return flips

    def masks(self) -> dict[str, Mask]:
        """Return all masks, packed."""
        return {name: Mask.pack(layer.kept) for name, layer in self.layers.items()}

    @torch.no_grad()
    def zero_pruned(self) -> None:
        """Set every pruned weight to zero."""
        for layer in self.layers.values():
            layer.linear.matrix.masked_fill_(~layer.kept, 0)
