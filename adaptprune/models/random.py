"""Tiny random models of all supported families, on which methods are checked and tested."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

#: Named shapes that have tripped pruning codes: many query heads per kv head, plain multi-head
#: attention, odd widths, a hidden size that is not heads * head_dim.
SHAPES: dict[str, dict[str, int]] = {
    "grouped": {"heads": 9, "kv_heads": 3, "head_dim": 4, "hidden": 36, "intermediate": 20},
    "multi_head": {"heads": 4, "kv_heads": 4, "head_dim": 6, "hidden": 24, "intermediate": 17},
    "odd": {"heads": 5, "kv_heads": 5, "head_dim": 2, "hidden": 35, "intermediate": 13},
    "wide_heads": {"heads": 4, "kv_heads": 2, "head_dim": 8, "hidden": 20, "intermediate": 11},
}

#: What the configs of families without a shape call the sizes of ``random_config``.
OTHERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": "hidden", "n_head": "heads", "n_inner": "intermediate", "n_layer": "layers"}
    | {"n_positions": 128, "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 1},
    "opt": {"hidden_size": "hidden", "word_embed_proj_dim": "hidden", "ffn_dim": "intermediate"}
    | {"num_attention_heads": "heads", "num_hidden_layers": "layers"}
    | {"max_position_embeddings": 128, "init_std": 0.2},
}


def random_config(
    family: str = "llama",
    *,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = 4,
    hidden: int = 16,
    intermediate: int = 12,
    layers: int = 2,
    vocabulary: int = 40,
    tied: bool = False,
    **settings: Any,
) -> Any:
    """Return the config of a tiny model; kv heads and their width are for families with both."""
    if family in OTHERS:
        names = OTHERS[family]
        sizes = {"hidden": hidden, "heads": heads, "intermediate": intermediate, "layers": layers}
        own = {key: sizes.get(value, value) for key, value in names.items()}
        return AutoConfig.for_model(
            family, vocab_size=vocabulary, tie_word_embeddings=tied, **own, **settings
        )
    return AutoConfig.for_model(
        family,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=128,
        initializer_range=0.2,
        **settings,
    )


def random_model(family: str = "llama", *, seed: int = 0, **shape: Any) -> Any:
    """Return a tiny random model in which norms and biases are random too.

    Args:
        family: stock ``model_type``.
        seed: of all weights.
        shape: as of ``random_config``.
    """
    config = random_config(family, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
                elif name.endswith("bias"):
                    parameter.copy_(0.2 * torch.randn_like(parameter))
    return model.eval()


def random_tokens(
    sequences: int = 4, length: int = 10, vocabulary: int = 40, seed: int = 0
) -> torch.Tensor:
    """Return random token ids [sequences, length]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (sequences, length), generator=generator)
