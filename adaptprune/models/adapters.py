"""Adapters (LoRA) beside a model's weights, in the form that ``peft`` loads.

They lie in the folder ``adapter`` of a model's folder, not beside the config, where transformers
would take the folder for an adapter alone.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ADAPTER = "adapter"
_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
#: Name of a linear layer's weight → B [outputs, rank] and A [rank, inputs]; B · A is added to it.
Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]


def write_adapter(folder: Path, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Write factors as a LoRA of ``peft`` into a model's folder.

    Args:
        folder: of the model.
        factors: by the name of the weight.
    """
    from peft import LoraConfig

    modules = {name.removesuffix(".weight"): pair for name, pair in factors.items()}
    ranks = {name: pair[0].shape[1] for name, pair in modules.items()}
    usual = collections.Counter(ranks.values()).most_common(1)[0][0]
    others = {name: rank for name, rank in ranks.items() if rank != usual}
    target = folder / ADAPTER
    target.mkdir()
    LoraConfig(
        task_type="CAUSAL_LM",
        inference_mode=True,
        target_modules=sorted(modules),
        r=usual,
        lora_alpha=usual,  # so that B · A is not scaled
        rank_pattern=others,
        alpha_pattern=others,
    ).save_pretrained(str(target))
    tensors = {}
    for name, (outer, inner) in modules.items():
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = inner.detach().cpu().contiguous()
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = outer.detach().cpu().contiguous()
    save_file(tensors, target / _WEIGHTS, metadata={"format": "pt"})


def read_adapter(folder: Path) -> Factors:
    """Return the factors that ``write_adapter`` wrote into a model's folder; none, if none."""
    path = folder / ADAPTER / _WEIGHTS
    if not path.is_file():
        return {}
    tensors = load_file(path)
    found = {}
    for name, inner in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix(_PREFIX).removesuffix(".lora_A.weight")
            found[f"{module}.weight"] = (tensors[f"{_PREFIX}{module}.lora_B.weight"], inner)
    return found


@torch.no_grad()
def merge_adapter(model: Any, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Add every B · A to its weight, in place.

    Args:
        model: with ``torch.nn.Linear`` layers, or GPT-2's ``Conv1D``.
        factors: by the name of the weight.
    """
    for name, (outer, inner) in factors.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        product = (outer @ inner).to(module.weight.device, module.weight.dtype)
        module.weight += product.t() if type(module).__name__ == "Conv1D" else product


class Product(torch.nn.Module):
    """B · A beside a linear layer, as two matrices.

    Args:
        outer: B [outputs, rank].
        inner: A [rank, inputs].
        train_inner: whether A is trained, as a dense matrix.
    """

    def __init__(self, outer: torch.Tensor, inner: torch.Tensor, *, train_inner: bool = True):
        super().__init__()
        self.weight = torch.nn.Parameter(outer.detach().clone())
        self.projection = torch.nn.Parameter(inner.detach().clone(), requires_grad=train_inner)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return (x Aᵀ) Bᵀ [..., outputs]."""
        return F.linear(F.linear(inputs, self.projection), self.weight)


def add_product(module: Any, name: str, product: Product) -> None:
    """Let a linear layer add a product to its output; it is a submodule of that name from now on.

    Args:
        module: the layer, which may have been changed before.
        name: of the submodule.
        product: what is added.
    """
    bare = module.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = bare(inputs) + getattr(module, name)(inputs)
        return output

    module.add_module(name, product)
    module.forward = forward


#: Name of the submodule of a layer that ``attach_adapter`` has added a product to.
PRODUCT = "product"


def attach_adapter(model: Any, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Add every B · A to the output of its layer; the weights stay as they are.

    Args:
        model: with ``torch.nn.Linear`` layers, or GPT-2's ``Conv1D``.
        factors: by the name of the weight.
    """
    for name, (outer, inner) in factors.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        pair = (factor.to(module.weight.device, module.weight.dtype) for factor in (outer, inner))
        add_product(module, PRODUCT, Product(*pair))
