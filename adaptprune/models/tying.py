"""Whether a model's output head is its embedding matrix: what was loaded decides, not the config.

transformers ties the two where the config says so, unless the weight files hold a head of their
own whose values differ. Imports no torch.
"""

from __future__ import annotations

import json
import mmap
import struct
from typing import TYPE_CHECKING, Any

from adaptprune.models.anatomy import EMBEDDING_WEIGHT, HEAD_WEIGHT

if TYPE_CHECKING:
    from pathlib import Path


def is_tied(model: Any) -> bool:
    """Say whether the output head of a loaded model is its embedding matrix."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    weight = getattr(head, "weight", None)
    return weight is not None and weight is embedding.weight


def holds_own_head(folder: Path) -> bool:
    """Say whether a folder's weights hold an output head with other values than its embeddings.

    The headers are read, and the two tensors where both are there. What is broken holds none: that
    is said when the folder is loaded.
    """
    found: dict[str, tuple[Path, dict[str, Any], int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        header, start = _read_header(file)
        found |= {
            name: (file, header[name], start)
            for name in (EMBEDDING_WEIGHT, HEAD_WEIGHT) & header.keys()
        }
    if len(found) < 2:
        return False
    return _stored(*found[EMBEDDING_WEIGHT]) != _stored(*found[HEAD_WEIGHT])


def _read_header(file: Path) -> tuple[dict[str, Any], int]:
    """Return the entries of a safetensors file by tensor, and where its data begin."""
    with file.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, file.stat().st_size)))
        except (struct.error, ValueError):
            return {}, 0
    return (header if isinstance(header, dict) else {}), 8 + length


def _stored(file: Path, entry: dict[str, Any], start: int) -> tuple[str, bytes]:
    """Return the dtype and the bytes of a tensor."""
    first, last = entry["data_offsets"]
    with (
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return entry["dtype"], content[start + first : start + last]
