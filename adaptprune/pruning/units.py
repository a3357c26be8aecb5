"""Kept units: which kv heads and neurons of every layer survive. The decision, stored as data."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.models.shapes import BlockShape

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape


@dataclass(frozen=True)
class LayerUnits:
    """Sorted indices of what stays in one layer, counted in the model that was pruned.

    Args:
        kv_heads: kept kv heads; their query heads stay with them.
        mlp: kept intermediate neurons.
    """

    kv_heads: tuple[int, ...]
    mlp: tuple[int, ...]

    def query_heads(self, queries_per_kv_head: int) -> list[int]:
        """Return the query heads of the kept kv heads."""
        ratio = queries_per_kv_head
        return [head * ratio + offset for head in self.kv_heads for offset in range(ratio)]

    def compose(self, inner: LayerUnits) -> LayerUnits:
        """Return the units of ``self`` that remain when ``inner`` selects among them."""
        return LayerUnits(
            tuple(self.kv_heads[index] for index in inner.kv_heads),
            tuple(self.mlp[index] for index in inner.mlp),
        )


@dataclass(frozen=True)
class KeptUnits:
    """The kept units of all layers."""

    layers: tuple[LayerUnits, ...]

    @classmethod
    def everything(cls, shape: ModelShape) -> KeptUnits:
        """Keep all units of a model."""
        return cls(
            tuple(
                LayerUnits(tuple(range(b.kv_heads)), tuple(range(b.intermediate_size)))
                for b in shape.blocks
            )
        )

    def compose(self, inner: KeptUnits) -> KeptUnits:
        """Cut twice in one: ``inner`` is counted in the model that ``self`` leaves."""
        return KeptUnits(
            tuple(a.compose(b) for a, b in zip(self.layers, inner.layers, strict=True))
        )

    def blocks(self) -> list[BlockShape]:
        """Return the layer shapes that the kept units make."""
        return [BlockShape(len(layer.kv_heads), len(layer.mlp)) for layer in self.layers]

    def check(self, shape: ModelShape) -> None:
        """Refuse indices that a model of ``shape`` does not have.

        Raises:
            UserError: a layer is missing, empty or no tuple, or indices are no whole numbers,
                unsorted, repeated or out of range.
        """
        if len(self.layers) != len(shape.blocks):
            raise UserError(
                f"kept units list {len(self.layers)} layers, the model has {len(shape.blocks)}"
            )
        for index, (layer, block) in enumerate(zip(self.layers, shape.blocks, strict=True)):
            for name, kept, count in (
                ("kv_heads", layer.kv_heads, block.kv_heads),
                ("mlp", layer.mlp, block.intermediate_size),
            ):
                if not isinstance(kept, tuple | list):
                    raise UserError(
                        f"kept {name} of layer {index} must be a tuple, not {type(kept).__name__}"
                    )
                if not kept:
                    raise UserError(f"kept units of layer {index} hold no {name}; one must stay")
                if not all(type(unit) is int for unit in kept):
                    raise UserError(f"kept {name} of layer {index} must be whole numbers (int)")
                increasing = all(a < b for a, b in itertools.pairwise(kept))
                if not increasing or kept[0] < 0 or kept[-1] >= count:
                    raise UserError(
                        f"kept {name} of layer {index} must be sorted, unique and in 0..{count - 1}"
                    )

    def to_json(self, shape: ModelShape) -> dict[str, Any]:
        """Return the content of ``kept.json`` for a dense model of ``shape``."""
        ratio = shape.queries_per_kv_head
        return {
            "layers": [
                {
                    "kv_heads": list(layer.kv_heads),
                    "q_heads": layer.query_heads(ratio),
                    "mlp": list(layer.mlp),
                }
                for layer in self.layers
            ]
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> KeptUnits:
        """Read the content of a ``kept.json``."""
        return cls(
            tuple(
                LayerUnits(tuple(layer["kv_heads"]), tuple(layer["mlp"]))
                for layer in content["layers"]
            )
        )
