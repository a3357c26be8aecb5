"""Small random models in the layouts of the AST paper's repositories, for the hub of the tests.

OPT has vocabulary and merges alone, and in its second size the other order of norms and narrow
embeddings; GPT-2's tensors have short names and a causal mask among them; LLaMA-2 has sentencepiece
and two shards beside pickles.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hub_models import LAYERS, bpe, sentencepiece_files, write_json, write_weights

if TYPE_CHECKING:
    from pathlib import Path

    import torch

_OPT = {
    "activation_dropout": 0.0,
    "activation_function": "relu",
    "architectures": ["OPTForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "do_layer_norm_before": True,
    "dropout": 0.1,
    "eos_token_id": 2,
    "init_std": 0.12,
    "layerdrop": 0.0,
    "max_position_embeddings": 2048,
    "model_type": "opt",
    "num_attention_heads": 4,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 1,
    "prefix": "</s>",
    "torch_dtype": "float16",
    "transformers_version": "4.21.0.dev0",
    "use_cache": True,
}
_GPT2 = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_embd": 64,
    "n_head": 4,
    "n_layer": LAYERS,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
}
_LLAMA2 = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": 4,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0.dev0",
    "use_cache": True,
}


def write_sparse_models(root: Path) -> None:
    """Write one model of each layout."""
    _write_opt(root / "facebook/opt-125m/1", {"hidden_size": 64, "word_embed_proj_dim": 64})
    narrow = {"hidden_size": 96, "word_embed_proj_dim": 48, "do_layer_norm_before": False}
    _write_opt(root / "facebook/opt-350m/1", narrow)
    _write_gpt2(root / "openai-community/gpt2/1")
    _write_llama2(root / "meta-llama/Llama-2-7b-hf/1")


def _write_opt(folder: Path, widths: dict[str, Any]) -> None:
    content = json.loads(bpe())
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    words = [word for word in content["model"]["vocab"] if word not in special]
    vocabulary = special | {word: len(special) + place for place, word in enumerate(words)}
    write_json(folder / "vocab.json", vocabulary)
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in _merges(content))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    names = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    write_json(folder / "special_tokens_map.json", names)
    settings = {"add_bos_token": True, "errors": "replace", "tokenizer_class": "GPT2Tokenizer"}
    write_json(folder / "tokenizer_config.json", settings | names)
    config = _OPT | widths | {"ffn_dim": 128, "vocab_size": len(vocabulary)}
    write_json(folder / "config.json", config)
    write_weights(folder, config, dtype="float16")
    _write_beside(folder, "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5")


def _merges(content: dict[str, Any]) -> list[Any]:
    merges: list[Any] = content["model"]["merges"]
    return merges


def _write_gpt2(folder: Path) -> None:
    content = json.loads(bpe())
    end = "<|endoftext|>"
    content["added_tokens"] = [content["added_tokens"][0] | {"content": end}]
    index = content["added_tokens"][0]["id"]
    write_json(folder / "tokenizer.json", content)
    settings = {"model_max_length": 1024, "tokenizer_class": "GPT2Tokenizer"}
    write_json(folder / "tokenizer_config.json", settings)
    words = content["model"]["vocab"] | {end: index}
    write_json(folder / "vocab.json", words)
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in _merges(content))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    ends = {"bos_token_id": index, "eos_token_id": index, "vocab_size": index + 1}
    write_json(folder / "config.json", _GPT2 | ends)
    write_weights(folder, _GPT2 | ends, dtype="float32", renamed=_short_names)
    _write_beside(folder, "pytorch_model.bin", "rust_model.ot", "tf_model.h5", "64.tflite")


def _short_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return GPT-2's weights as they were first published, with the mask of every layer."""
    import torch

    short = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    mask = torch.tril(torch.ones(_GPT2["n_ctx"], _GPT2["n_ctx"]))[None, None]
    return short | {f"h.{layer}.attn.bias": mask.clone() for layer in range(LAYERS)}


def _write_llama2(folder: Path) -> None:
    size = sentencepiece_files(folder)
    config = _LLAMA2 | {"vocab_size": size}
    write_json(folder / "config.json", config)
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    sampling = {"do_sample": True, "temperature": 0.6, "max_length": 4096, "top_p": 0.9}
    write_json(folder / "generation_config.json", ends | sampling)
    write_weights(folder, config, shards=2, dtype="float16")
    _write_beside(folder, "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")


def _write_beside(folder: Path, *names: str) -> None:
    """Write what must not be fetched."""
    for name in names:
        (folder / name).write_bytes(b"a pickle" * 100)
    (folder / "README.md").write_text("made up\n")
