"""Masks of weight matrices, one bit per weight, in memory as on disk."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_file, seal, unseal
from adaptprune.pruning.patterns import Pattern

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Mask:
    """Which weights of a matrix stay.

    Args:
        shape: (outputs, inputs).
        bits: one bit per weight, row by row, 1 where it stays, the first in the highest bit of
            the first byte; the last byte is filled up with zeros. [⌈outputs · inputs / 8⌉]
    """

    shape: tuple[int, int]
    bits: np.ndarray

    @classmethod
    def pack(cls, kept: torch.Tensor) -> Mask:
        """Pack a boolean matrix [outputs, inputs]."""
        outputs, inputs = kept.shape
        return cls((outputs, inputs), np.packbits(kept.cpu().numpy().reshape(-1)))

    def unpack(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the boolean matrix [outputs, inputs]."""
        bits = np.unpackbits(self.bits, count=math.prod(self.shape)).astype(bool)
        return torch.from_numpy(bits.reshape(self.shape)).to(device)

    @property
    def weights(self) -> int:
        """Return the number of weights."""
        return math.prod(self.shape)

    @property
    def kept(self) -> int:
        """Return the number of weights that stay."""
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    @property
    def sha256(self) -> str:
        """Return the hash of the bits."""
        return hashlib.sha256(self.bits.tobytes()).hexdigest()

    def follows(self, pattern: Pattern) -> bool:
        """Say whether no group of a pattern keeps more than it may."""
        if not pattern:
            return True
        if self.shape[1] % pattern.group:
            return False
        groups = self.unpack().view(-1, pattern.group)
        return int(groups.sum(1).max()) <= pattern.kept


def masks_hash(masks: Mapping[str, Mask]) -> str:
    """Return one hash over masks in their order: of their hexadecimal hashes, one after another."""
    return hashlib.sha256("".join(mask.sha256 for mask in masks.values()).encode()).hexdigest()


def write_masks(path: Path, masks: Mapping[str, Mask], pattern: Pattern) -> None:
    """Write masks as safetensors of packed bytes, atomically; the metadata hold their hash."""
    header = {
        "schema": SCHEMA,
        "pattern": str(pattern),
        "shapes": {name: list(mask.shape) for name, mask in masks.items()},
        "masks_sha256": masks_hash(masks),
    }
    tensors = {name: mask.bits for name, mask in masks.items()}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata={"adaptprune": json.dumps(seal(header))})


def read_masks(path: Path) -> tuple[dict[str, Mask], Pattern]:
    """Read a file of masks, in the order in which they were written.

    Raises:
        UserError: it is absent, broken, altered, or of another kind.
    """
    try:
        with safe_open(path, "np") as stream:
            content = json.loads(stream.metadata()["adaptprune"])
            bits = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # safetensors has an error class of its own
        raise UserError(f"{path}: no file of masks ({error})") from error
    header = unseal(path, content)
    if header.get("schema") != SCHEMA:
        raise UserError(f"{path}: masks of schema {header.get('schema')!r}, not {SCHEMA}")
    masks = _masks(path, header["shapes"], bits)
    if masks_hash(masks) != header["masks_sha256"]:
        raise UserError(f"{path}: altered since it was written (its sha256 does not fit)")
    return masks, Pattern.parse(header["pattern"])


def _masks(path: Path, shapes: dict[str, Any], bits: dict[str, np.ndarray]) -> dict[str, Mask]:
    masks = {}
    if shapes.keys() != bits.keys():
        raise UserError(f"{path}: altered since it was written (other weights than it says)")
    for name, (outputs, inputs) in shapes.items():
        if bits[name].dtype != np.uint8 or bits[name].shape != (-(-outputs * inputs // 8),):
            raise UserError(f"{path}: altered since it was written (the size of {name})")
        masks[name] = Mask((outputs, inputs), bits[name])
    return masks
