"""What is known of a model before it is pruned: what decisions are checked and counted against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import unknown
from adaptprune.models.anatomy import stock_family, weight_shapes
from adaptprune.models.shapes import FAMILIES
from adaptprune.models.sizes import ModelSize, shape_of_model

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape


@dataclass(frozen=True)
class DenseModel:
    """One model, as its method was given it.

    Args:
        family: stock ``model_type``.
        vocab_size: number of token embeddings.
        size: its counts.
        shape: its units; None of a family whose single weights alone are pruned.
        weights: name → (outputs, inputs) of the linear layers of its blocks.
    """

    family: str
    vocab_size: int
    size: ModelSize
    shape: ModelShape | None
    weights: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, model: Any, *, needs_shape: bool = True) -> DenseModel:
        """Read it off a loaded model.

        Args:
            model: a causal language model.
            needs_shape: whether the method works on units alone.

        Raises:
            UserError: no method of its kind knows the architecture, or it was sliced.
        """
        family = stock_family(model.config.model_type)
        shape = shape_of_model(model) if needs_shape or family in FAMILIES else None
        weights = weight_shapes(model)
        return cls(family, model.config.vocab_size, ModelSize.of(model), shape, weights)

    @property
    def units(self) -> ModelShape:
        """Return its shape.

        Raises:
            UserError: it has no units.
        """
        if self.shape is None:
            raise unknown("architecture (model_type)", self.family, FAMILIES)
        return self.shape
