"""What a model folder's weight files must be before they are loaded: nothing but its own numbers.

The headers of safetensors are checked by the library when a file is opened (lengths, offsets that
tile the file, shapes); what it leaves open is checked here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from adaptprune.errors import UserError
from adaptprune.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

#: What weights are stored as; other numbers would be cast to these without a word.
DTYPES = ("F16", "BF16", "F32", "F64")
_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"


def check_weight_files(folder: Path) -> None:
    """Refuse weights that are broken, no floating-point numbers, or not those of this folder.

    Only headers are read.

    Raises:
        UserError: names the file.
    """
    if (folder / _ADAPTER).exists():
        raise UserError(
            f"{folder / _ADAPTER}: an adapter on another model's weights; "
            "merge them into one model folder"
        )
    check_shards(folder)
    for file in sorted(folder.glob("*.safetensors")):
        _check_header(file)


def check_shards(folder: Path) -> None:
    """Refuse sharded weights without their index, or an index of what is not in the folder.

    Raises:
        UserError: names what is missing.
    """
    path = folder / _INDEX
    if not path.exists():
        if not (folder / _WHOLE).exists() and any(folder.glob("*-of-*.safetensors")):
            raise UserError(f"{path}: missing, and the weights lie in several files")
        return
    index = read_json(path)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        raise UserError(f"{path}: must be a mapping with a 'weight_map' of tensors to files")
    for shard in map(str, shards.values()):
        if "/" in shard or not shard.endswith(".safetensors") or not (folder / shard).is_file():
            raise UserError(f"{path}: {shard!r} is no safetensors file of this folder")


def _check_header(file: Path) -> None:
    try:
        with safe_open(file, "pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - it is no mapping
                dtype = stream.get_slice(name).get_dtype()
                if dtype not in DTYPES:
                    raise UserError(
                        f"{file}: tensor {name!r} is of dtype {dtype} (allowed: "
                        f"{', '.join(DTYPES)})"
                    )
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: broken weights ({reason})") from None
