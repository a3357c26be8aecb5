"""A decision on single weights: which stay, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.anatomy import all_linears
from adaptprune.pruning.masks import Mask, masks_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adaptprune.pruning.patterns import Pattern


@dataclass(frozen=True)
class Masked:
    """Weights of decoder blocks' linear layers that are set to zero; the others may be updated.

    Args:
        pattern: what the masks follow.
        masks: name of the weight → its mask, of every linear layer in order.
        weights: name of the weight → its updated values [outputs, inputs], where a method changes
            what stays. They may be the pruned model's own weights: nothing is copied.
    """

    pattern: Pattern
    masks: dict[str, Mask]
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def check(self, dense: Mapping[str, tuple[int, int]]) -> None:
        """Refuse masks or weights that do not fit the dense model.

        Args:
            dense: name → (outputs, inputs) of its linear layers (``anatomy.weight_shapes``).

        Raises:
            UserError: a weight has no mask, is unknown, or has another shape or pattern.
            NumericalError: an updated weight is not finite.
        """
        for name in dense.keys() ^ self.masks.keys():
            there = "has no mask" if name in dense else "is no weight of a linear layer"
            raise UserError(f"masks: {name} {there}")
        for name, mask in self.masks.items():
            if mask.shape != dense[name]:
                raise UserError(f"masks: {name} has shape {mask.shape}, the model {dense[name]}")
            if not mask.follows(self.pattern):
                raise UserError(f"masks: {name} does not follow the pattern {self.pattern}")
        for name, weight in self.weights.items():
            if name not in dense or tuple(weight.shape) != dense[name]:
                raise UserError(
                    f"masks: updated weight {name} has shape {tuple(weight.shape)}, the model "
                    f"{dense.get(name)}"
                )
            if not weight.isfinite().all():
                raise NumericalError(f"the updated weight {name} is not finite")

    @torch.no_grad()
    def apply(self, model: Any) -> None:
        """Update and mask the weights of a dense model, in place; doing it twice changes nothing.

        Raises:
            UserError: see ``anatomy_of``.
        """
        for linear in all_linears(model):
            matrix = linear.matrix
            if linear.name in self.weights:
                matrix.copy_(self.weights[linear.name])
            matrix.masked_fill_(~self.masks[linear.name].unpack(matrix.device), 0)

    @property
    def kept(self) -> int:
        """Return how many weights stay."""
        return sum(mask.kept for mask in self.masks.values())

    def describe(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {
            "pattern": str(self.pattern),
            "weights": sum(mask.weights for mask in self.masks.values()),
            "kept": self.kept,
            "updated": bool(self.weights),
            "masks_sha256": masks_hash(self.masks),
        }

    def reached(self, dense: Mapping[str, tuple[int, int]]) -> float:
        """Return the fraction of the dense model's prunable weights that went."""
        return 1 - self.kept / sum(outputs * inputs for outputs, inputs in dense.values())


def count_nonzeros(model: Any) -> int:
    """Count a model's parameters that are not zero, shared tensors once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())
