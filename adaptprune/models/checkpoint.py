"""Model folders: verified before use, loadable with ``AutoModelForCausalLM``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from adaptprune import modeling
from adaptprune.errors import UserError
from adaptprune.files.atomic import (
    MANIFEST,
    find_sealed_json,
    record_hash,
    sha256_file,
    sha256_json,
    write_json,
)
from adaptprune.files.manifest import RECORDS, records, verify_folder
from adaptprune.models.adapters import merge_adapter, read_adapter
from adaptprune.models.anatomy import HEAD_WEIGHT
from adaptprune.models.config_json import config_content
from adaptprune.models.sizes import added_biases
from adaptprune.models.tying import is_tied
from adaptprune.models.weightfiles import check_weight_files

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.models.shapes import BlockShape, ModelShape

#: Name under which the modeling module is copied beside the weights.
_CODE = "modeling_adaptprune"
#: Files that hold times, so that they differ when the same model is made again.
_TIMED = (*RECORDS, "log.jsonl")
#: Everything of a model folder that is not weights, config or record, and moves along unchanged.
_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)


def revision(folder: Path) -> str:
    """Verify a model folder and return one hash over its content.

    A folder that this suite wrote or fetched has a manifest, and every byte is checked; records and
    logs are no part of the hash, so that a model that is made again has the same one. Of any other
    folder the config and the weights are hashed.

    Raises:
        UserError: a file is missing, truncated or altered.
    """
    if (folder / MANIFEST).is_file():
        listed = verify_folder(folder).items()
        return sha256_json({"files": {n: entry for n, entry in listed if n not in _TIMED}})
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise UserError(f"model folder {folder} holds no safetensors weights")
    files = (folder / "config.json", *weights)
    return sha256_json({file.name: sha256_file(file) for file in files})


def load_model(
    folder: Path,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    merge: bool = True,
) -> Any:
    """Load a causal language model for inference.

    Args:
        folder: a Hugging Face folder with safetensors weights.
        dtype: name of a torch floating dtype.
        device: where the weights go.
        trust_remote_code: whether code in the folder may be run; this suite's own checkpoints
            do not need it here.
        merge: whether an adapter in the folder is added to the weights.

    Raises:
        UserError: the folder's config or weights do not make a model.
    """
    check_weight_files(folder)
    transformers_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:  # a config or an index can hold anything
        raise UserError(f"{folder}: not a loadable model ({_first_line(error)})") from error
    model, report = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            raise UserError(f"{folder}: {kind.replace('_', ' ')} in the weights: {report[kind]}")
    if model.get_output_embeddings() is not None:
        model.config.tie_word_embeddings = is_tied(model)
    if merge:
        merge_adapter(model, read_adapter(folder))
    return model.to(device).eval()


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model folder.

    Raises:
        UserError: there is none.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # some of the libraries' errors are of no other class
        raise UserError(f"{folder}: no loadable tokenizer ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _stock_config(config: Any, shape: ModelShape, blocks: list[BlockShape]) -> Any | None:
    """Return the stock config of uniform blocks, or None where the stock class refuses it."""
    block = blocks[0]
    heads = block.kv_heads * shape.queries_per_kv_head
    refused = shape.hidden_size % heads and heads != config.num_attention_heads
    if any(other != block for other in blocks) or refused:
        return None
    content = config.to_dict() | {
        "num_attention_heads": heads,
        "num_key_value_heads": block.kv_heads,
        "intermediate_size": block.intermediate_size,
        "head_dim": shape.head_dim,
    }
    stock = modeling.FAMILIES[shape.family][0].config_class.__base__
    content.pop("blocks", None)
    return stock.from_dict(content | {"model_type": shape.family})


def _heterogeneous_config(
    config: Any, shape: ModelShape, blocks: list[BlockShape], biases: list[list[str]]
) -> Any:
    """Return the config that lists what differs from the standard fields, block by block."""
    dense_kv_heads, dense_size = config.num_key_value_heads, config.intermediate_size
    listed = []
    for block, keys in zip(blocks, biases, strict=True):
        entry: dict[str, Any] = {}
        if block.kv_heads != dense_kv_heads:
            entry["num_key_value_heads"] = block.kv_heads
            entry["num_attention_heads"] = block.kv_heads * shape.queries_per_kv_head
        if block.intermediate_size != dense_size:
            entry["intermediate_size"] = block.intermediate_size
        listed.append(entry | dict.fromkeys(keys, True))
    config_class = modeling.FAMILIES[shape.family][0].config_class
    content = config.to_dict() | {"head_dim": shape.head_dim, "blocks": listed}
    return config_class.from_dict(content | {"model_type": config_class.model_type})


def pruned_config(model: Any, shape: ModelShape) -> Any:
    """Return the config of a model that was cut in place.

    A uniform outcome gets the stock architecture where its config accepts it.

    Args:
        model: the cut model; its config still holds the dense numbers.
        shape: its present shape.
    """
    blocks, biases = list(shape.blocks), [list(found) for found in added_biases(model)]
    stock = None if any(biases) else _stock_config(model.config, shape, blocks)
    return stock or _heterogeneous_config(model.config, shape, blocks, biases)


def save_model(
    target: Path,
    model: Any,
    config: Any,
    source: Path | None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights, config, tokenizer and, where needed, the modeling code into a folder.

    Args:
        target: an existing folder.
        model: the model whose weights are written, in their present dtype.
        config: the config they belong to.
        source: the dense model's folder, whose tokenizer and generation settings go along; None
            where it has none.
        state: the model's state dict where it was gathered from several processes.
    """
    config.dtype = model.dtype
    if state is None:
        config.tie_word_embeddings = is_tied(model)
    model_class: Any = AutoModelForCausalLM._model_mapping[type(config)]
    config.architectures = [model_class.__name__]
    if model_class.__module__ == modeling.__name__:
        config.auto_map = {
            "AutoConfig": f"{_CODE}.{type(config).__name__}",
            "AutoModelForCausalLM": f"{_CODE}.{model_class.__name__}",
        }
        shutil.copyfile(modeling.__file__, target / f"{_CODE}.py")
    elif hasattr(config, "auto_map"):
        del config.auto_map  # names code of the folder that the model was loaded from
    state = model.state_dict() if state is None else state
    weights = {name: tensor.contiguous() for name, tensor in state.items()}
    if config.tie_word_embeddings:
        weights.pop(HEAD_WEIGHT, None)
    save_torch_state_dict(weights, target, max_shard_size="5GB")
    write_json(target / "config.json", config_content(config))
    for file in [] if source is None else [source / name for name in _COMPANIONS]:
        if file.is_file():
            shutil.copyfile(file, target / file.name)


def configured_skeleton(folder: Path) -> Any:
    """Return the model that a folder's config describes, without numbers.

    Raises:
        UserError: the config describes none.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as error:  # a config can hold anything
        raise UserError(f"its checkpoint does not load ({_first_line(error)})") from error


def saved_skeleton(folder: Path) -> Any:
    """Return the same of a folder that this suite wrote, whose weights have the names of the model.

    Raises:
        UserError: the config describes none, or one with other tensors than the weight files.
    """
    model = configured_skeleton(folder)
    wanted = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        wanted.pop(HEAD_WEIGHT, None)
    stored: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as stream:
            stored |= {name: stream.get_slice(name).get_shape() for name in stream.keys()}  # noqa: SIM118
    for name in sorted(wanted.keys() | stored.keys()):
        if wanted.get(name) != stored.get(name):
            raise UserError(
                f"its checkpoint does not load: {name} has shape {stored.get(name, 'none')} in the "
                f"weights, {wanted.get(name, 'none')} by the config"
            )
    return model


def count_parameters(model: Any) -> int:
    """Count a model's parameters, shared tensors once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_compute_parameters(model: Any) -> int:
    """Count the parameters that a token is multiplied by: all but an embedding of its own.

    An embedding that is the output head too counts.
    """
    looked_up = 0 if is_tied(model) else model.get_input_embeddings().weight.numel()
    return count_parameters(model) - looked_up


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return a checkpoint's ``pruning.json``, or None for a folder without one."""
    return find_sealed_json(folder / "pruning.json")


def pruned_before(folder: Path) -> str | None:
    """Return the method or the recovery preset that a model comes from, None for a dense one."""
    for made in records(folder):
        return made["method"] if "method" in made else made["conditions"]["preset"]["name"]
    return None


def made_by(folder: Path) -> str | None:
    """Return the hash of the record of how a model came about, None for a folder without one."""
    return next((record_hash(made) for made in records(folder)), None)
