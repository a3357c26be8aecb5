"""Tiny random models of all supported families, for tests that need real weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from adaptprune.models.random import SHAPES
from adaptprune.models.random import random_config as tiny_config
from adaptprune.models.random import random_model as tiny_model
from adaptprune.models.random import random_tokens as tiny_tokens

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FAMILIES", "SHAPES", "tiny_config", "tiny_model", "tiny_tokens"]

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def save_tiny_model(folder: Path, family: str = "llama", **shape: Any) -> Path:
    """Write a tiny random model as a Hugging Face folder."""
    tiny_model(family, **shape).save_pretrained(folder)
    return folder


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return a model's logits [sequences, length, vocabulary]."""
    with torch.no_grad():
        return model(input_ids=tokens, use_cache=False).logits


def count_parameters(model: Any) -> int:
    """Count a model's parameters one tensor at a time, shared tensors once."""
    return sum({id(p): p.numel() for p in model.parameters()}.values())
