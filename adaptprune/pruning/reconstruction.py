"""SparseGPT: prune column by column and let the columns still to come make up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from adaptprune.errors import NumericalError
from adaptprune.pruning import choice
from adaptprune.pruning.metrics import Choice, Rule
from adaptprune.pruning.statistics import Hessian

if TYPE_CHECKING:
    from adaptprune.pruning.choice import Quirk
    from adaptprune.pruning.patterns import Pattern


@dataclass(frozen=True)
class BySparseGPT(Rule):
    """Optimal brain surgery over blocks of columns (SparseGPT, algorithm 1).

    Args:
        pattern: what stays; M divides the block size.
        sparsity: percent, for an unstructured pattern: the share of each block.
        ties: see ``choice.smallest_of_groups``.
        threshold: see ``choice.smallest_of_matrix``, of each block.
        block_size: columns whose updates are computed at once.
        damping: see ``Hessian.inverse_factor``.
        factorisation: in which precision the Hessian is factored.
    """

    statistics = Hessian

    pattern: Pattern
    sparsity: int
    ties: Quirk
    threshold: Quirk
    block_size: int
    damping: float
    factorisation: torch.dtype

    def choose(self, weight: torch.Tensor, statistics: Hessian) -> Choice:
        """Prune block by block; later blocks are updated once per block."""
        factor = statistics.inverse_factor(self.damping, self.factorisation)
        updated = weight.float().clone()
        updated[:, statistics.dead] = 0
        pruned = torch.zeros_like(updated, dtype=torch.bool)
        error = 0.0
        for start in range(0, updated.shape[1], self.block_size):
            block = slice(start, start + self.block_size)
            pruned[:, block], residuals = self._prune_block(updated[:, block], factor[block, block])
            error += residuals.pow(2).sum().item() / 2
            updated[:, block.stop :] -= residuals @ factor[block, block.stop :]
        if not updated.isfinite().all():
            raise NumericalError("an updated weight is not finite")
        trace = statistics.matrix.double().trace().item()
        return Choice(pruned, updated, {"error": error, "hessian_trace": trace})

    def _prune_block(
        self, block: torch.Tensor, factor: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Prune the columns of a block from left to right, in place.

        Args:
            block: weights [outputs, columns].
            factor: of the inverse Hessian, [columns, columns], upper triangular.

        Returns:
            Which weights go, and what was lost of every weight in units of its diagonal entry of
            the factor, both [outputs, columns].
        """
        diagonal = factor.diagonal()
        weights = block.t().contiguous()  # a column of the block is a row here
        residuals = torch.zeros_like(weights)
        pruned = torch.zeros_like(weights, dtype=torch.bool)
        if not self.pattern:
            metric = block**2 / diagonal**2
            pruned = choice.smallest_of_matrix(metric, self.sparsity, self.threshold).t()
            pruned = pruned.contiguous()
        for column, scale in enumerate(diagonal.tolist()):
            if self.pattern and column % self.pattern.group == 0:
                group = slice(column, column + self.pattern.group)
                metric = (weights[group].t() ** 2 / diagonal[group] ** 2).contiguous()
                pruned[group] = choice.smallest_of_groups(metric, self.pattern, self.ties).t()
            lost = torch.where(pruned[column], weights[column], 0) / scale
            residuals[column] = lost
            weights[column + 1 :] -= factor[column, column + 1 :, None] * lost
        block.copy_(torch.where(pruned, 0, weights).t())
        return pruned.t(), residuals.t().contiguous()
