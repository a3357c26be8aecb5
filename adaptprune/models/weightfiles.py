"""What a model folder's weight files must be before they are loaded: one set, of its own numbers.

The headers of safetensors are checked by the library when a file is opened (lengths, offsets that
tile the file, shapes); what it leaves open is checked here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from adaptprune.errors import UserError
from adaptprune.files.atomic import MANIFEST, read_json

if TYPE_CHECKING:
    from pathlib import Path

#: What weights are stored as; other numbers would be cast to these without a word.
DTYPES = ("F16", "BF16", "F32", "F64")
_SINGLE = "model.safetensors"
_INDEX = f"{_SINGLE}.index.json"
#: Weights in other formats, by the names that the libraries which read them look for.
_OTHER_FORMATS = (
    "pytorch_model*.bin",
    "consolidated*.pth",
    "*.gguf",
    "tf_model*.h5",
    "flax_model*.msgpack",
    "rust_model.ot",
)
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
    check_one_set(folder)
    owners: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name in _check_header(file):
            other = owners.setdefault(name, file)
            if other != file:
                raise UserError(f"{folder}: tensor {name!r} is in {other.name} and in {file.name}")


def check_one_set(folder: Path) -> None:
    """Refuse a folder where it is not clear which files are the model's weights.

    Only names are looked at. One file, or the shards of one index; no other file of weights, which
    another program would load, or which is left of another model; and of a folder with a manifest,
    none that it does not list.

    Raises:
        UserError: names both files.
    """
    shards = _check_index(folder)
    there = sorted(file.name for file in folder.glob("*.safetensors"))
    others = sorted(file.name for form in _OTHER_FORMATS for file in folder.glob(form))
    first, loaded = (_INDEX, shards) if shards else (_SINGLE, {_SINGLE})
    if not loaded & set(there):
        if any(folder.glob("*-of-*.safetensors")):
            raise UserError(f"{folder / _INDEX}: missing, and the weights lie in several files")
        return  # no weights that this suite reads: said where they are loaded
    if _SINGLE in there and shards and _SINGLE not in shards:
        first, others = _SINGLE, [_INDEX]
    elif strangers := [name for name in there if name not in loaded]:
        others = strangers
    if others:
        raise UserError(
            f"{folder}: holds {first} and {others[0]}, two sets of weights; "
            "leave the one in it that is the model"
        )
    manifest = folder / MANIFEST
    if manifest.is_file():
        content = read_json(manifest)
        listed = content.get("files") if isinstance(content, dict) else None
        for name in there:
            if isinstance(listed, dict) and name not in listed:
                raise UserError(f"{manifest}: does not list {name}, which lies beside it")


def _check_index(folder: Path) -> set[str]:
    """Return the shards of an index; refuse one that leads out of the folder."""
    path = folder / _INDEX
    if not path.exists():
        return set()
    index = read_json(path)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        raise UserError(f"{path}: must be a mapping with a 'weight_map' of tensors to files")
    for shard in map(str, shards.values()):
        if "/" in shard or not shard.endswith(".safetensors") or not (folder / shard).is_file():
            raise UserError(f"{path}: {shard!r} is no safetensors file of this folder")
    return set(map(str, shards.values()))


def _check_header(file: Path) -> list[str]:
    """Return the names of a file's tensors, which must be floating-point numbers."""
    try:
        with safe_open(file, "pt") as stream:
            names = list(stream.keys())
            for name in names:
                dtype = stream.get_slice(name).get_dtype()
                if dtype not in DTYPES:
                    raise UserError(
                        f"{file}: tensor {name!r} is of dtype {dtype} (allowed: "
                        f"{', '.join(DTYPES)})"
                    )
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: broken weights ({reason})") from None
    return names


def stored_sizes(folder: Path) -> dict[str, int]:
    """Return the number of elements of every tensor in a folder's weight files, by name."""
    sizes = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - it is no mapping
                sizes[name] = math.prod(stream.get_slice(name).get_shape())
    return sizes
