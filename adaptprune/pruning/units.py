"""Kept units: which layers, kv heads and neurons survive. The decision, stored as data."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.models.shapes import BlockShape

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """The kept units of the layers that stay.

    Args:
        layers: what stays of each of them, in order.
        numbers: which layers of the model that was pruned they are, sorted; None for all of them.
    """

    layers: tuple[LayerUnits, ...]
    numbers: tuple[int, ...] | None = None

    @classmethod
    def everything(cls, shape: ModelShape) -> KeptUnits:
        """Keep all units of a model."""
        return cls(
            tuple(
                LayerUnits(tuple(range(b.kv_heads)), tuple(range(b.intermediate_size)))
                for b in shape.blocks
            )
        )

    @property
    def indices(self) -> tuple[int, ...]:
        """Which layers of the model that was pruned stay, sorted."""
        return tuple(range(len(self.layers))) if self.numbers is None else self.numbers

    def only(self, numbers: Iterable[int]) -> KeptUnits:
        """Drop whole layers: keep those of some numbers, counted in the model that is left."""
        chosen = sorted(numbers)
        return KeptUnits(
            tuple(self.layers[number] for number in chosen),
            tuple(self.indices[number] for number in chosen),
        )

    def compose(self, inner: KeptUnits) -> KeptUnits:
        """Cut twice in one: ``inner`` is counted in the model that ``self`` leaves."""
        left = self if inner.numbers is None else self.only(inner.numbers)
        layers = zip(left.layers, inner.layers, strict=True)
        return KeptUnits(tuple(a.compose(b) for a, b in layers), left.numbers)

    def blocks(self) -> list[BlockShape]:
        """Return the layer shapes that the kept units make."""
        return [BlockShape(len(layer.kv_heads), len(layer.mlp)) for layer in self.layers]

    def check(self, shape: ModelShape) -> None:
        """Refuse indices that a model of ``shape`` does not have.

        Raises:
            UserError: a layer is missing, empty or no tuple, or indices are no whole numbers,
                unsorted, repeated or out of range.
        """
        if self.numbers is not None:
            _check_sorted("layers", self.numbers, len(shape.blocks))
        expected = len(shape.blocks) if self.numbers is None else len(self.numbers)
        if len(self.layers) != expected:
            owner = "the model has" if self.numbers is None else "their numbers are"
            raise UserError(f"kept units list {len(self.layers)} layers, {owner} {expected}")
        for index, layer in zip(self.indices, self.layers, strict=True):
            block = shape.blocks[index]
            for name, kept, count in (
                ("kv_heads", layer.kv_heads, block.kv_heads),
                ("mlp", layer.mlp, block.intermediate_size),
            ):
                if isinstance(kept, tuple | list) and not kept:
                    raise UserError(f"kept units of layer {index} hold no {name}; one must stay")
                _check_sorted(f"{name} of layer {index}", kept, count)

    def to_json(self, shape: ModelShape) -> dict[str, Any]:
        """Return the content of ``kept.json`` for a dense model of ``shape``.

        Where whole layers are gone, each entry says as ``layer`` which one it is.
        """
        ratio = shape.queries_per_kv_head
        return {
            "layers": [
                ({} if self.numbers is None else {"layer": index})
                | {
                    "kv_heads": list(layer.kv_heads),
                    "q_heads": layer.query_heads(ratio),
                    "mlp": list(layer.mlp),
                }
                for index, layer in zip(self.indices, self.layers, strict=True)
            ]
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> KeptUnits:
        """Read the content of a ``kept.json``."""
        listed = content["layers"]
        numbers = tuple(layer["layer"] for layer in listed if "layer" in layer)
        return cls(
            tuple(LayerUnits(tuple(layer["kv_heads"]), tuple(layer["mlp"])) for layer in listed),
            numbers or None,
        )


def _check_sorted(what: str, kept: Any, count: int) -> None:
    """Refuse what is no sorted choice of at least one of 0..count - 1."""
    if not isinstance(kept, tuple | list):
        raise UserError(f"kept {what} must be a tuple, not {type(kept).__name__}")
    if not kept:
        raise UserError(f"kept {what} are none; one must stay")
    if not all(type(unit) is int for unit in kept):
        raise UserError(f"kept {what} must be whole numbers (int)")
    increasing = all(a < b for a, b in itertools.pairwise(kept))
    if not increasing or kept[0] < 0 or kept[-1] >= count:
        raise UserError(f"kept {what} must be sorted, unique and in 0..{count - 1}")
