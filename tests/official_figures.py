"""Figures of the official implementations and the random models they were run on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from adaptprune.pruning.units import KeptUnits, LayerUnits

_FOLDER = Path(__file__).parent / "golden"


def figures(name: str) -> dict[str, Any]:
    """Read the figures of a run."""
    return json.loads((_FOLDER / f"{name}.json").read_text())


def calibration_tokens() -> torch.Tensor:
    """Return the token ids that every run was calibrated on [32, 64]."""
    return torch.tensor(json.loads((_FOLDER / "calib_32x64.json").read_text()))


def evaluation_tokens() -> torch.Tensor:
    """Return the token ids that losses were measured on [8, 128]."""
    return torch.tensor(json.loads((_FOLDER / "eval_8x128.json").read_text()))


def kept_units(run: dict[str, Any]) -> KeptUnits:
    """Return the units that a run kept."""
    return KeptUnits(
        tuple(
            LayerUnits(tuple(layer["kv_heads"]), _set_bits(int(layer["mlp"], 16)))
            for layer in run["layers"]
        )
    )


def _set_bits(mask: int) -> tuple[int, ...]:
    return tuple(index for index in range(mask.bit_length()) if mask >> index & 1)


def evaluation_loss(model: Any) -> float:
    """Return the mean next-token cross-entropy (nats) over the evaluation tokens."""
    tokens = evaluation_tokens()
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).item()


def tiny_gqa() -> Any:
    """Return the random model with 8 query and 4 kv heads."""
    config = LlamaConfig(
        hidden_size=128,
        num_attention_heads=8,
        num_key_value_heads=4,
        num_hidden_layers=4,
        intermediate_size=352,
        vocab_size=49152,
        tie_word_embeddings=True,
        initializer_range=0.08,
        rope_theta=10000,
        max_position_embeddings=2048,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
                if "embed" in name:
                    parameter.mul_(0.25)
    return model.eval()


def flap_tiny() -> Any:
    """Return the random multi-head model that FLAP was run on."""
    config = LlamaConfig(
        hidden_size=256,
        num_attention_heads=8,
        num_hidden_layers=6,
        intermediate_size=688,
        vocab_size=49152,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()
