"""Small model folders as other people have them, and what each command must make of them.

Every row is one folder: its family, what differs from the small shape, its tokenizer, what was done
to its files afterwards, and what is expected. An expectation is ``EQUAL`` (the numbers are those of
plain transformers and stock lm-eval) or the words of the one line that refuses the folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from byte_tokenizers import bytes_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EQUAL = ""
#: Methods, each with a sparsity and settings.
METHODS: dict[str, tuple[int, tuple[str, ...]]] = {
    "magnitude": (40, ()),
    "llm-pruner": (40, ()),
    "adapt-pruner": (30, ("steps=2", "amplitude=0.3")),
    "flap": (40, ()),
    "slicegpt": (25, ()),
}
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 260,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
_ROPE = {"rope_theta": 5000.0, "original_max_position_embeddings": 24, "factor": 4.0}
_LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 2.5, 3.0, 3.5],
}
_QUARTER = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
_HEAD_16 = {"head_dim": 16, "query_pre_attn_scalar": 16}
_BOTH_WAYS = "what it predicts depends on the tokens that follow"
_LOCAL = {
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "sliding_window": 16,
}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    """Return a config's rotary settings of a kind."""
    return {"rope_parameters": _ROPE | {"rope_type": kind} | more}


@dataclass(frozen=True)
class Folder:
    """One folder and what is expected of the commands.

    Attributes:
        name: unique.
        family: ``model_type``.
        changes: what differs from ``SHAPE``.
        tokenizer: settings of ``bytes_tokenizer``.
        edit: what is done to the folder once it is written.
        saving: options of ``save_pretrained``.
        dtype: of the weights in the file.
        window: tokens that the command is asked for; None for what it takes by itself.
        takes: the window that it takes.
        seen_as: tokenizer that gives stock lm-eval the model's own ids, where this one does not.
        prune: of every method.
        loss: of the folder.
        evaluate: of the folder.
    """

    name: str
    family: str
    changes: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Path], None] | None = None
    saving: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    window: int | None = None
    takes: int = 96
    seen_as: dict[str, Any] | None = None
    prune: str = EQUAL
    loss: str = EQUAL
    evaluate: str = EQUAL

    def write(self, target: Path) -> Path:
        """Write the folder with random weights, norms and biases."""
        config = AutoConfig.for_model(self.family, **{**SHAPE, **self.changes})
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name or "ln_" in name:
                    parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
                elif name.endswith("bias"):
                    parameter.copy_(0.2 * torch.randn_like(parameter))
        model.to(getattr(torch, self.dtype)).save_pretrained(target, **self.saving)
        bytes_tokenizer(**self.tokenizer).save_pretrained(target)
        if self.edit is not None:
            self.edit(target)
        return target


def edit_config(**changes: Any) -> Callable[[Path], None]:
    """Return what changes keys of the config; None removes one."""

    def edit(folder: Path) -> None:
        path = folder / "config.json"
        content = json.loads(path.read_text(encoding="utf-8")) | changes
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(json.dumps(kept), encoding="utf-8")

    return edit


def own_head(embedding: str, head: str = "lm_head.weight") -> Callable[[Path], None]:
    """Return what gives a folder whose config says tied a head of its own."""

    def edit(folder: Path) -> None:
        file = folder / "model.safetensors"
        weights = load_file(file)
        torch.manual_seed(1)
        weights[head] = 0.2 * torch.randn_like(weights[embedding])
        save_file(weights, file, metadata={"format": "pt"})

    return edit


def as_transformers_4(**keys: Any) -> Callable[[Path], None]:
    """Return what writes the rotary settings as transformers 4 does."""
    return edit_config(rope_parameters=None, dtype=None, torch_dtype="float32", **keys)


def store_frequencies(folder: Path) -> None:
    """Put the rotary frequencies beside the weights, as old conversions have them."""
    file = folder / "model.safetensors"
    layers = range(SHAPE["num_hidden_layers"])
    extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in layers}
    save_file(load_file(file) | extra, file, metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    """Leave the weights as a pickle alone."""
    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()


def classifying(folder: Path) -> None:
    """Put the head of a classifier in the place of the output head."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["score.weight"] = weights.pop("lm_head.weight")[:2].clone()
    save_file(weights, file, metadata={"format": "pt"})


def broken(name: str, edit: Callable[[Path], None], words: str) -> Folder:
    """Return a folder that no command takes."""
    return Folder(f"llama {name}", "llama", edit=edit, prune=words, loss=words, evaluate=words)


def unsupported(family: str) -> str:
    """Return the words that refuse to prune a family."""
    return rf"unknown architecture \(model_type\) '{family}'"


def other(name: str, family: str, changes: dict[str, Any], **expected: Any) -> Folder:
    """Return a folder of a family that the suite measures and does not prune."""
    return Folder(name, family, changes, prune=unsupported(family), **expected)


_LLAMA = [
    Folder("llama", "llama"),
    Folder("llama tied", "llama", {"tie_word_embeddings": True}),
    Folder(
        "llama tied with a head of its own",
        "llama",
        {"tie_word_embeddings": True},
        edit=own_head("model.embed_tokens.weight"),
    ),
    Folder("llama linear", "llama", rope("linear")),
    Folder(
        "llama dynamic",
        "llama",
        {"max_position_embeddings": 48, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0}},
        window=128,
        takes=128,
    ),
    Folder("llama yarn", "llama", rope("yarn")),
    Folder("llama llama3", "llama", rope("llama3", **_LLAMA3)),
    Folder("llama longrope", "llama", rope("longrope", **_LONG)),
    Folder(
        "llama of transformers 4",
        "llama",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 700.0}},
        edit=as_transformers_4(rope_theta=700.0, rope_scaling=None, head_dim=None),
    ),
    Folder(
        "llama linear of transformers 4",
        "llama",
        rope("linear"),
        edit=as_transformers_4(rope_theta=5000.0, rope_scaling={"type": "linear", "factor": 4.0}),
    ),
    Folder("llama with attention biases", "llama", {"attention_bias": True}),
    Folder("llama with all biases", "llama", {"attention_bias": True, "mlp_bias": True}),
    Folder(
        "llama of odd widths", "llama", {"hidden_size": 40, "intermediate_size": 37, "head_dim": 6}
    ),
    Folder("llama with one kv head in all", "llama", {"num_key_value_heads": 1}),
    Folder("llama without groups", "llama", {"num_key_value_heads": 4}),
    Folder(
        "llama with five queries a head",
        "llama",
        {"num_attention_heads": 10, "num_key_value_heads": 2, "hidden_size": 40},
    ),
    Folder("llama with gelu", "llama", {"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-3}),
    Folder("llama in bfloat16", "llama", dtype="bfloat16"),
    Folder("llama in shards", "llama", saving={"max_shard_size": "30KB"}),
    Folder("llama of a short window", "llama", {"max_position_embeddings": 40}, takes=40),
    Folder("llama with a padding row", "llama", {"pad_token_id": 0}),
    Folder("llama of a padded vocabulary", "llama", {"vocab_size": 320}),
    Folder("llama in float64", "llama", dtype="float64"),
    Folder("llama with stored frequencies", "llama", edit=store_frequencies),
    Folder(
        "llama that does not count its kv heads",
        "llama",
        {"num_key_value_heads": 4},
        edit=edit_config(num_key_value_heads=None),
    ),
]
_BROKEN = [
    broken("without safetensors", pickled, "holds no safetensors weights"),
    broken("with another head", classifying, "missing keys in the weights: .*lm_head.weight"),
    broken("of fewer rows", edit_config(vocab_size=258), "not a loadable model"),
    broken(
        "of an unknown rotary type",
        edit_config(rope_parameters={"rope_type": "magic", "rope_theta": 1e4}),
        r"not a loadable model \('magic'\)",
    ),
    broken(
        "packed in four bits",
        edit_config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "not a loadable model",
    ),
]
_TOKENIZERS = [
    Folder("tokenizer that begins", "llama", tokenizer={"template": "<s> $A"}),
    Folder(
        "tokenizer that ends",
        "llama",
        tokenizer={"template": "<s> $A </s>"},
        seen_as={"template": "<s> $A"},
    ),
    Folder("tokenizer without padding", "llama", tokenizer={"pad": None}),
    Folder("tokenizer without a begin token", "llama", tokenizer={"begin": None}),
    Folder("tokenizer without an end token", "llama", tokenizer={"end": None}),
    Folder(
        "tokenizer with neither",
        "llama",
        tokenizer={"begin": None, "end": None},
        evaluate="no begin or end token",
    ),
    Folder(
        "tokenizer that begins twice",
        "llama",
        tokenizer={"template": "<s> <s> $A"},
        evaluate="adds the begin token '<s>' 2 times",
    ),
    Folder(
        "tokenizer with ids without rows",
        "llama",
        tokenizer={"extra": ("one", "two", "three")},
        evaluate=r"makes token id 260 \('three'\), the model has rows for 0..259",
    ),
]
_MISTRAL = [
    Folder("mistral", "mistral", {"sliding_window": None}),
    Folder(
        "mistral that does not count its kv heads",
        "mistral",
        {"num_attention_heads": 16, "num_key_value_heads": 8, "sliding_window": None},
        edit=edit_config(num_key_value_heads=None),
    ),
    Folder("mistral sliding", "mistral", {"sliding_window": 16}),
    Folder("mistral of wide heads", "mistral", {"sliding_window": None, "head_dim": 12}),
    Folder("mistral with six queries", "mistral", {"num_attention_heads": 6, "hidden_size": 48}),
    Folder(
        "mistral in shards of bfloat16",
        "mistral",
        {"tie_word_embeddings": True},
        saving={"max_shard_size": "30KB"},
        dtype="bfloat16",
    ),
]
_QWEN = [
    Folder("qwen2", "qwen2"),
    Folder("qwen2 tied", "qwen2", {"tie_word_embeddings": True}),
    Folder(
        "qwen2 tied with a head of its own",
        "qwen2",
        {"tie_word_embeddings": True},
        edit=own_head("model.embed_tokens.weight"),
    ),
    Folder(
        "qwen2 sliding in its last layers",
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
    Folder("qwen2 yarn", "qwen2", rope("yarn")),
    Folder("qwen3", "qwen3", {"head_dim": 12}),
    Folder(
        "qwen3 that does not state its head size",
        "qwen3",
        {"head_dim": 128, "num_attention_heads": 2, "num_key_value_heads": 1},
        edit=edit_config(head_dim=None),
    ),
    Folder("qwen3 tied", "qwen3", {"tie_word_embeddings": True, "head_dim": 8}),
    Folder("qwen3 with biases", "qwen3", {"attention_bias": True, "head_dim": 8}),
    Folder(
        "qwen3 sliding",
        "qwen3",
        {
            "head_dim": 8,
            "use_sliding_window": True,
            "sliding_window": 16,
            "max_window_layers": 1,
        },
    ),
    Folder("qwen3 yarn", "qwen3", {"head_dim": 8, **rope("yarn")}),
]
_GEMMA = [
    other("gemma", "gemma", {"head_dim": 8, "tie_word_embeddings": True}),
    other(
        "gemma2 capped",
        "gemma2",
        _HEAD_16 | _LOCAL | {"final_logit_softcapping": 1.0, "attn_logit_softcapping": 5.0},
    ),
    other("gemma3", "gemma3_text", _HEAD_16 | _LOCAL),
]
_PHI = [
    other("phi partial", "phi", {"partial_rotary_factor": 0.5}),
    other("phi3", "phi3", {}),
    other(
        "phi3 longrope",
        "phi3",
        {"original_max_position_embeddings": 24, **rope("longrope", **_LONG)},
    ),
    other("phi3 sliding", "phi3", {"sliding_window": 16}),
]
_LEARNED = [
    other("gpt2", "gpt2", {"tie_word_embeddings": True}),
    other("gpt2 of a short window", "gpt2", {"max_position_embeddings": 40}, takes=40),
    other("opt", "opt", {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2}),
    other(
        "opt with projections",
        "opt",
        {"ffn_dim": 48, "word_embed_proj_dim": 16, "init_std": 0.2, "do_layer_norm_before": False},
    ),
    other(
        "gpt_neo local",
        "gpt_neo",
        {
            "num_hidden_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
        },
    ),
]
_ROTARY = [
    other(
        "gpt_neox partial",
        "gpt_neox",
        {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.25,
            }
        },
    ),
    other("gpt_neox one after the other", "gpt_neox", {"use_parallel_residual": False}),
    other("gptj", "gptj", {"rotary_dim": 4}),
    other("stablelm partial", "stablelm", {"rope_parameters": _QUARTER, "use_qkv_bias": True}),
    other("starcoder2 sliding", "starcoder2", {"sliding_window": 16}),
    other("olmo clipped", "olmo", {"clip_qkv": 2.0}),
    other("olmo2", "olmo2", {}),
    other("smollm3 without positions", "smollm3", {"no_rope_layer_interval": 2}),
]
_ALIBI = [
    other("bloom", "bloom", {"n_layer": 2, "n_head": 4, "seq_length": 96}),
    other("falcon alibi", "falcon", {"alibi": True, "new_decoder_architecture": False}),
    other("falcon rotary", "falcon", {"multi_query": True, "parallel_attn": True}),
    other("mpt", "mpt", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 96}),
]
_ENCODERS = [
    other("bert that decodes", "bert", {"is_decoder": True}),
    other("bert", "bert", {}, loss=_BOTH_WAYS, evaluate=_BOTH_WAYS),
    other(
        "gemma3 that looks both ways",
        "gemma3_text",
        _HEAD_16 | _LOCAL | {"use_bidirectional_attention": True},
        loss=_BOTH_WAYS,
        evaluate=_BOTH_WAYS,
    ),
]
_SCALED = [
    other("cohere scaled", "cohere", {"logit_scale": 0.0625, "tie_word_embeddings": True}),
    other("cohere2 sliding", "cohere2", {"logit_scale": 0.25, "head_dim": 8, **_LOCAL}),
    other(
        "granite scaled",
        "granite",
        {"logits_scaling": 8.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    ),
    other("mixtral", "mixtral", {"num_local_experts": 2, "num_experts_per_tok": 1}),
]
#: The groups, each of which runs in one process.
GROUPS: dict[str, list[Folder]] = {
    "llama": _LLAMA,
    "tokenizers": _TOKENIZERS,
    "broken": _BROKEN,
    "mistral": _MISTRAL,
    "qwen": _QWEN,
    "gemma": _GEMMA,
    "phi": _PHI,
    "learned": _LEARNED,
    "rotary": _ROTARY,
    "alibi": _ALIBI,
    "encoders": _ENCODERS,
    "scaled": _SCALED,
}
