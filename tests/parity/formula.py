"""Inputs of the official runs, made by formula so that no random generator is needed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def uniform(stream: int, count: int) -> np.ndarray:
    """Return ``u01(stream, count)``: numbers in [0, 1), float64 (``golden/README.md``)."""
    start = np.uint64((1 + 1000003 * (stream + 1)) % 2**64)
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + start) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def symmetric(stream: int, shape: Sequence[int], scale: float) -> torch.Tensor:
    """Return ``sym(stream, shape, scale)``: float32 numbers in (−scale, scale), row by row."""
    values = (2 * uniform(stream, math.prod(shape)) - 1) * scale
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))
