"""Tiny random models of every family that single weights are pruned of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_models import tiny_model, tiny_tokens

from adaptprune.pruning.method import Context
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from adaptprune.pruning.decisions import Masked

TOKENS = tiny_tokens(3, 12, seed=4)
NAMES = ("weight-magnitude", "wanda", "sparsegpt")
LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3")
FAMILIES = (*LLAMA_LIKE, "opt", "gpt2")


def model_of(family: str, seed: int = 0, **shape: Any) -> Any:
    """Return a tiny random model whose rows are whole groups of 8."""
    return tiny_model(family, seed=seed, intermediate=24, **shape)


def decide(name: str, model: Any, sparsity: int = 50, **parameters: Any) -> tuple[Masked, Any]:
    """Prune a model in place by a method; return the decision and the log."""
    method = find_method(name)
    parsed = method.parse(parameters)
    method.check(sparsity, parsed)
    return method.decide(model, sparsity, Context(TOKENS, 0), parsed)


#: Patterns with the sparsity that they have, or are given.
PATTERNS = [("unstructured", 30), ("2:4", 50), ("4:8", 50), ("1:4", 75)]
