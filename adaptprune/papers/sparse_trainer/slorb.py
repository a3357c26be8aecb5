"""SLoRB: a low-rank product S·X beside every sparse matrix (AST, section 3.4).

y = x (W ⊙ m)ᵀ + (x Xᵀ) Sᵀ with S [outputs, inputs/k] and X [inputs/k, inputs]: a LoRA of rank
inputs/k, but trained together with W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from adaptprune.errors import UserError
from adaptprune.models.adapters import Product, add_product

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adaptprune.models.anatomy import Linear
    from adaptprune.papers.sparse_trainer.decay import Initialisation

_NAME = "slorb"


def check_group(group: int, shapes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse rows that are no whole number of groups.

    Raises:
        UserError: naming the first such weight.
    """
    for name, (_, inputs) in shapes.items():
        if inputs % group:
            raise UserError(
                f"slorb_k {group} does not divide the rows of {name}, which have {inputs} inputs"
            )


def initial_factors(
    matrix: torch.Tensor, kept: torch.Tensor, group: int, start: Initialisation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return S [outputs, inputs/k] and X [inputs/k, inputs] to begin with.

    Args:
        matrix: W [outputs, inputs].
        kept: true where a weight stays [outputs, inputs].
        group: k, which divides the inputs.
        start: how.
    """
    outputs, inputs = matrix.shape
    rank = inputs // group
    weight = matrix.new_zeros(outputs, rank)
    blocks = torch.eye(rank, dtype=matrix.dtype, device=matrix.device)
    projection = blocks.repeat_interleave(group, dim=1)
    if start in ("mean", "sum"):
        pruned = (matrix * ~kept).view(outputs, rank, group)
        weight = pruned.sum(2) / (group if start == "mean" else 1)
    if start in ("xavier", "xavier-both"):
        torch.nn.init.xavier_uniform_(projection)
    if start == "xavier-both":
        torch.nn.init.xavier_uniform_(weight)
    return weight, projection


def boost(linear: Linear, factors: tuple[torch.Tensor, torch.Tensor], *, train: bool) -> None:
    """Add a trained product to a linear layer; it is the submodule ``slorb`` from now on.

    Args:
        linear: the layer, its mask installed.
        factors: S and X.
        train: whether X is trained too.
    """
    add_product(linear.module, _NAME, Product(*factors, train_inner=train))


def factor_names(linears: Iterable[Linear]) -> dict[str, tuple[str, str]]:
    """Return, by the name of each layer's weight, the names of S and X in the state dict."""
    found = {}
    for linear in linears:
        module = linear.name.removesuffix(".weight")
        found[linear.name] = (f"{module}.{_NAME}.weight", f"{module}.{_NAME}.projection")
    return found


def extra_parameters(shapes: Mapping[str, tuple[int, int]], group: int) -> int:
    """Count S and X of all layers: inputs/k · (outputs + inputs) each, 2/k of a square matrix."""
    return sum(inputs // group * (outputs + inputs) for outputs, inputs in shapes.values())
