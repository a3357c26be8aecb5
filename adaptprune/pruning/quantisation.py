"""Rounding of weights to a few bits, simulated: the values stay floating-point numbers.

Of every group of consecutive inputs of a row, scale and zero point are chosen so that its least and
its greatest weight fit (asymmetric, integer zero point). A zero stays exactly zero, so a sparse
matrix keeps its pattern. Source: the evaluation of AWQ (arXiv 2306.00978) as released.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The least range of a group, so that one of equal weights can be divided by it.
_LEAST_RANGE = 1e-5
#: Group sizes of the released kernels, the largest first.
GROUPS = (128, 64, 32)


@dataclass(frozen=True)
class Grid:
    """How finely weights are rounded.

    Args:
        bits: of a weight.
        group: consecutive inputs of a row that share scale and zero point.

    Raises:
        UserError: a number is out of range.
    """

    bits: int
    group: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise UserError(f"bits {self.bits} is outside 1..16")
        if self.group < 1:
            raise UserError(f"group {self.group} must be positive")

    def fitting(self, length: int) -> Grid:
        """Return the grid for rows of a length: whole rows where the group does not divide them."""
        return self if length % self.group == 0 else replace(self, group=length)

    def round(self, weight: torch.Tensor, *, around_zero: bool = False) -> torch.Tensor:
        """Return a matrix [outputs, inputs] rounded to the nearest values of its groups' grids.

        Args:
            weight: the matrix.
            around_zero: whether every grid has zero within; the released code cuts off a group of
                one sign that is far from zero, which happens where groups are small.

        Raises:
            UserError: the group does not divide a row.
        """
        if weight.shape[-1] % self.group:
            raise UserError(
                f"a group of {self.group} does not divide a row of {weight.shape[-1]} inputs"
            )
        groups = weight.reshape(-1, self.group)
        least, greatest = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        if around_zero:
            least, greatest = least.clamp(max=0), greatest.clamp(min=0)
        top = 2**self.bits - 1
        scale = (greatest - least).clamp(min=_LEAST_RANGE) / top
        zero = (-torch.round(least / scale)).clamp_(0, top)
        steps = (torch.round(groups / scale) + zero).clamp_(0, top)
        return ((steps - zero) * scale).reshape(weight.shape)


def group_for(rows: Iterable[int], largest: int = GROUPS[0]) -> int:
    """Return the largest usual group, up to ``largest``, that divides rows of all these lengths.

    Raises:
        UserError: none does.
    """
    lengths = sorted(set(rows))
    for group in GROUPS:
        if group <= largest and not any(length % group for length in lengths):
            return group
    raise UserError(
        f"no group of {', '.join(map(str, GROUPS))} inputs divides rows of "
        f"{', '.join(map(str, lengths))} inputs"
    )
