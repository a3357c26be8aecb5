"""Kernels that make use of zeros in the pattern 2:4: torch's semi-structured tensors, on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.models.anatomy import all_linears

if TYPE_CHECKING:
    import torch

#: The one pattern that the kernels know.
PATTERN = "2:4"


def has_kernels(pattern: str | None, device: torch.device, dtype: str) -> bool:
    """Say whether a model of a pattern can be run by them: on CUDA, in half precision."""
    return pattern == PATTERN and device.type == "cuda" and dtype in ("float16", "bfloat16")


def use_kernels(model: Any) -> Any:
    """Hold the weights of all linear layers packed, in place; return the model.

    GPT-2's layers, whose weights lie [inputs, outputs], stay dense: the kernels take [outputs,
    inputs] alone.

    Args:
        model: a causal language model with an anatomy, in the pattern 2:4, on a CUDA device.
    """
    import torch

    for linear in all_linears(model):
        if isinstance(linear.module, torch.nn.Linear):
            packed = torch.sparse.to_sparse_semi_structured(linear.matrix)
            linear.module.weight = torch.nn.Parameter(packed, requires_grad=False)
    return model
