"""MobileLLM's checkpoints as stock LLaMA ones, by keys alone; none of the hub's code is run.

``facebook/MobileLLM-*`` names its own class in ``auto_map``. That class is LLaMA's with two
additions: with ``share_embedding`` the logits come from the embedding's weights, which stock LLaMA
calls ``tie_word_embeddings`` (MobileLLM's own key of that name is false and means nothing), and
with ``layer_sharing``, off in the published models, every layer runs twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json, write_json
from adaptprune.models.anatomy import (
    EMBEDDING_WEIGHT,
    FINAL_NORM_WEIGHT,
    HEAD_WEIGHT,
    NORM_WEIGHTS,
    layer_prefix,
    projection_shapes,
)

if TYPE_CHECKING:
    from pathlib import Path

    import torch

MODEL_TYPE = "mobilellm"
#: Of the config, what means something else in LLaMA or nothing.
_OWN_KEYS = {"auto_map", "share_embedding", "layer_sharing", "transformers_version"}
#: Frequencies that older checkpoints store and every model computes.
_COMPUTED = "rotary_emb.inv_freq"


def is_mobilellm(folder: Path) -> bool:
    """Say whether a model folder is in MobileLLM's layout."""
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == MODEL_TYPE


def convert_folder(folder: Path) -> None:
    """Turn a folder in MobileLLM's layout into one of stock LLaMA, in place.

    Args:
        folder: ``config.json`` and weights in safetensors, one file or several.

    Raises:
        UserError: the model shares layers, or its weights are not those of its config. The folder
            is as it was.
    """
    from safetensors.torch import load_file, save_file

    config = read_json(folder / "config.json")
    if config.get("layer_sharing"):
        raise UserError(f"{folder}: layer_sharing is on; LLaMA runs no layer twice")
    parts = sorted(folder.glob("*.safetensors"))
    stored: dict[str, torch.Tensor] = {}
    for part in parts:
        stored |= load_file(part)
    shared = bool(config.get("share_embedding", False))
    weights = _checked(stored, _shapes(config, shared), shared, folder)
    for part in [*parts, folder / "model.safetensors.index.json"]:
        part.unlink(missing_ok=True)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _llama_config(config, shared))


def _llama_config(config: dict[str, Any], shared: bool) -> dict[str, Any]:
    """Return the config of the same model as stock LLaMA."""
    kept = {key: value for key, value in config.items() if key not in _OWN_KEYS}
    return kept | {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "head_dim": _head_dim(config),
        "tie_word_embeddings": shared,
    }


def _head_dim(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _shapes(config: dict[str, Any], shared: bool) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * _head_dim(config)
    keys = config["num_key_value_heads"] * _head_dim(config)
    layer: dict[str, tuple[int, ...]] = dict(projection_shapes(hidden, queries, keys, wide))
    layer |= dict.fromkeys(NORM_WEIGHTS, (hidden,))
    shapes: dict[str, tuple[int, ...]] = {
        EMBEDDING_WEIGHT: (config["vocab_size"], hidden),
        FINAL_NORM_WEIGHT: (hidden,),
    }
    for index in range(config["num_hidden_layers"]):
        shapes |= {f"{layer_prefix(index)}{name}": shape for name, shape in layer.items()}
    return shapes if shared else shapes | {HEAD_WEIGHT: (config["vocab_size"], hidden)}


def _checked(
    stored: dict[str, torch.Tensor],
    shapes: dict[str, tuple[int, ...]],
    shared: bool,
    folder: Path,
) -> dict[str, torch.Tensor]:
    """Return the weights by LLaMA's names.

    Raises:
        UserError: one is missing, unknown, or of another shape than the config says.
    """
    weights = {name: value for name, value in stored.items() if not name.endswith(_COMPUTED)}
    if shared and HEAD_WEIGHT in weights and EMBEDDING_WEIGHT in weights:
        if not weights[HEAD_WEIGHT].equal(weights[EMBEDDING_WEIGHT]):
            raise UserError(
                f"{folder}: {HEAD_WEIGHT} differs from the embedding that it should share"
            )
        del weights[HEAD_WEIGHT]
    for name, shape in shapes.items():
        if name not in weights:
            raise UserError(f"{folder}: no weight {name}, which its config asks for")
        found = tuple(weights[name].shape)
        if found != shape:
            raise UserError(f"{folder}: weight {name} has shape {found}, its config says {shape}")
    for name in weights:
        if name not in shapes:
            raise UserError(f"{folder}: weight {name} is not one of MobileLLM's")
    return weights
