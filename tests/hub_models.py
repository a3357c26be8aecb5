"""Small random models in the layouts of the paper's repositories, for the hub of the tests.

Config, tokenizer and file names are those of the published repositories; widths, depth and
vocabulary are tiny.
"""

from __future__ import annotations

import functools
import io
import json
from typing import TYPE_CHECKING, Any

from hub_rows import bird

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

#: All models have two layers.
LAYERS = 2
_BOS, _EOS = "<|begin_of_text|>", "<|end_of_text|>"

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_hidden_layers": LAYERS,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.45.0.dev0",
    "use_cache": True,
}
_ROPE = {
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
_MOBILELLM = {
    "architectures": ["MobileLLMForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_mobilellm.MobileLLMConfig",
        "AutoModelForCausalLM": "modeling_mobilellm.MobileLLMForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "layer_sharing": False,
    "max_position_embeddings": 2048,
    "mlp_bias": False,
    "model_type": "mobilellm",
    "num_hidden_layers": LAYERS,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "share_embedding": True,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.41.2",
    "use_cache": True,
}
_QWEN = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "max_window_layers": LAYERS,
    "model_type": "qwen2",
    "num_hidden_layers": LAYERS,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_sliding_window": False,
}


def _widths(hidden: int, wide: int, heads: int, groups: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
    }


def write_models(root: Path) -> None:
    """Write the models of the paper, with a second commit of the smallest LLaMA."""
    _write_llama(root / "meta-llama/Llama-3.2-1B/1", _widths(64, 160, 8, 4), tied=True, factor=32.0)
    _write_llama(
        root / "meta-llama/Llama-3.2-1B/2",
        _widths(64, 192, 8, 4),
        tied=True,
        factor=32.0,
        seed=9,
        shards=2,
    )
    _write_llama(
        root / "meta-llama/Llama-3.2-3B/1", _widths(96, 192, 6, 2), tied=True, factor=32.0, shards=2
    )
    _write_llama(
        root / "meta-llama/Llama-3.1-8B/1", _widths(64, 224, 8, 2), tied=False, factor=8.0, shards=4
    )
    for name, hidden in (("125M", 48), ("350M", 64), ("600M", 80), ("1B", 96)):
        _write_mobilellm(root / f"facebook/MobileLLM-{name}/1", _widths(hidden, 3 * hidden, 4, 2))
    for name, tied in (
        ("Qwen/Qwen2.5-0.5B", True),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", False),
    ):
        _write_qwen(root / name / "1", _widths(64, 160, 4, 2), tied=tied)


def _write_llama(
    folder: Path,
    widths: dict[str, int],
    *,
    tied: bool,
    factor: float,
    seed: int = 0,
    shards: int = 1,
) -> None:
    """Write LLaMA 3's layout: a beginning of text before every text, rotary positions scaled."""
    config = (
        _LLAMA | widths | {"tie_word_embeddings": tied, "rope_scaling": _ROPE | {"factor": factor}}
    )
    config["head_dim"] = widths["hidden_size"] // widths["num_attention_heads"]
    generation = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    ends = _write_bpe(folder, before=True)
    write_json(folder / "config.json", config | ends)
    write_json(folder / "generation_config.json", generation | ends)
    write_weights(folder, config | ends, seed, shards, "bfloat16")
    for name in ("LICENSE.txt", "USE_POLICY.md", "README.md", ".gitattributes"):
        (folder / name).write_text("made up\n")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"a pickle" * 100)
    (folder / "original" / "params.json").write_text("{}")
    (folder / "original" / "tokenizer.model").write_bytes(b"another vocabulary")


def _write_qwen(folder: Path, widths: dict[str, int], *, tied: bool) -> None:
    config = _QWEN | widths | {"tie_word_embeddings": tied}
    ends = _write_bpe(folder, before=False)
    write_json(folder / "config.json", config | ends)
    write_json(folder / "generation_config.json", ends | {"max_new_tokens": 2048})
    write_weights(folder, config | ends, 0, 1, "bfloat16")


def _write_mobilellm(folder: Path, widths: dict[str, int]) -> None:
    """Write MobileLLM's layout: code of its own, a pickle, and a sentencepiece model alone."""
    sentencepiece_files(folder)
    config = _MOBILELLM | widths | {"vocab_size": _PIECES}
    write_json(folder / "config.json", config)
    as_llama = config | {"model_type": "llama", "tie_word_embeddings": True}
    write_weights(folder, as_llama, 0, 1, "float16")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle" * 100)
    for name in ("configuration_mobilellm.py", "modeling_mobilellm.py"):
        (folder / name).write_text("raise SystemExit('code of the hub was run')\n")
    (folder / "README.md").write_text("made up\n")


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True))


# Weights ------------------------------------------------------------------------------------------


def write_weights(
    folder: Path,
    config: dict[str, Any],
    seed: int = 0,
    shards: int = 1,
    dtype: str = "bfloat16",
    renamed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict,
) -> None:
    """Write random weights, spread so widely that the choices of a question differ clearly.

    Args:
        folder: of the model.
        config: its config.
        seed: of the weights.
        shards: how many files they lie in.
        dtype: what they are stored as.
        renamed: what the files hold of a state dict, where that is not what stands in it.
    """
    import torch
    from safetensors.torch import save_file

    from adaptprune.models.tiny import random_model

    keys = {"auto_map", "architectures", "torch_dtype", "transformers_version", "initializer_range"}
    built = {key: value for key, value in config.items() if key not in keys}
    model = random_model(built | {"initializer_range": 0.12}, seed).to(getattr(torch, dtype))
    weights: dict[str, torch.Tensor] = model.state_dict()
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    weights = renamed(weights)
    files = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)]
    if shards == 1:
        files = ["model.safetensors"]
    placed = {name: files[place * shards // len(weights)] for place, name in enumerate(weights)}
    for file in files:
        part = {name: value for name, value in weights.items() if placed[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    if shards > 1:
        total = {"total_size": sum(value.nbytes for value in weights.values())}
        index = {"metadata": total, "weight_map": placed}
        write_json(folder / "model.safetensors.index.json", index)


# Tokenizers ---------------------------------------------------------------------------------------

_PIECES = 500
_SENTENCES = [
    f"The {bird(index)} {verb} by the {place}, and nobody knows why it {verb} there.\n"
    for index in range(60)
    for verb, place in (("sleeps", "pond"), ("sings", "river"), ("builds a nest", "old bridge"))
]


@functools.cache
def bpe() -> str:
    """Return the byte-level tokenizer of all models but MobileLLM's, as JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    tokenizer.add_special_tokens([_BOS, _EOS])
    return tokenizer.to_str()


def _write_bpe(folder: Path, *, before: bool) -> dict[str, int]:
    """Write a tokenizer; return its size and its special tokens as keys of a config.

    Args:
        folder: of the model.
        before: whether a beginning of text is put before every text, as LLaMA 3 does.
    """
    content = json.loads(bpe())
    ids = {token["content"]: token["id"] for token in content["added_tokens"]}
    if before:
        content["post_processor"] = _beginning(ids[_BOS])
    write_json(folder / "tokenizer.json", content)
    settings = {
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in content["added_tokens"]
        },
        "clean_up_tokenization_spaces": True,
        "eos_token": _EOS,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if before:
        settings["bos_token"] = _BOS
        write_json(folder / "special_tokens_map.json", {"bos_token": _BOS, "eos_token": _EOS})
    write_json(folder / "tokenizer_config.json", settings)
    return {
        "vocab_size": max(ids.values()) + 1,
        "bos_token_id": ids[_BOS],
        "eos_token_id": ids[_EOS],
    }


def _beginning(index: int) -> dict[str, Any]:
    """Return LLaMA 3's post-processor."""
    first = {"SpecialToken": {"id": _BOS, "type_id": 0}}
    pair = {"SpecialToken": {"id": _BOS, "type_id": 1}}
    text, second = ({"Sequence": {"id": name, "type_id": t}} for name, t in (("A", 0), ("B", 1)))
    template = {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, pair, second],
        "special_tokens": {_BOS: {"id": _BOS, "ids": [index], "tokens": [_BOS]}},
    }
    bytewise = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": False,
        "use_regex": True,
    }
    return {"type": "Sequence", "processors": [bytewise, template]}


def sentencepiece_files(folder: Path) -> int:
    """Write a sentencepiece model without any other tokenizer; return its size."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(_sentencepiece())
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": False,
        "model_max_length": 1000000000000000019884624838656,
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "use_default_system_prompt": False,
    }
    write_json(folder / "tokenizer_config.json", settings | names)
    write_json(folder / "special_tokens_map.json", names)
    return _PIECES


@functools.cache
def _sentencepiece() -> bytes:
    import sentencepiece

    model = io.BytesIO()
    train: Callable[..., None] = sentencepiece.SentencePieceTrainer.train
    train(
        sentence_iterator=iter(_SENTENCES),
        model_writer=model,
        vocab_size=_PIECES,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    return model.getvalue()
