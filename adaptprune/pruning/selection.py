"""Choosing the units that stay from their importance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from adaptprune.pruning.units import KeptUnits, LayerUnits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.models.shapes import BlockShape


def keep_largest(importance: torch.Tensor, count: int) -> tuple[int, ...]:
    """Return the sorted indices of the ``count`` largest entries; of equal ones the later stays.

    Args:
        importance: one value per unit [units].
        count: how many stay.
    """
    ascending = torch.argsort(importance, stable=True)
    return tuple(sorted(ascending[len(importance) - count :].tolist()))


def keep_blocks(
    kv_heads: Sequence[torch.Tensor],
    neurons: Sequence[torch.Tensor],
    blocks: Sequence[BlockShape],
) -> KeptUnits:
    """Keep the most important units of every layer.

    Args:
        kv_heads: per layer, importance of each kv head [kv_heads].
        neurons: per layer, importance of each neuron [intermediate_size].
        blocks: how many units of each layer stay.
    """
    return KeptUnits(
        tuple(
            LayerUnits(
                keep_largest(heads, block.kv_heads), keep_largest(mlp, block.intermediate_size)
            )
            for heads, mlp, block in zip(kv_heads, neurons, blocks, strict=True)
        )
    )
