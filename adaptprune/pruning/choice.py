"""Which weights go, given a metric of every weight: the smaller, the sooner.

Three official rules, with the corrected ones beside them. All return a boolean matrix
[outputs, inputs], true where a weight is pruned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from adaptprune.pruning.patterns import Pattern

#: What the official codes do, or what they should.
Quirk = Literal["official", "corrected"]


def share(count: int, sparsity: int) -> int:
    """Return how many of ``count`` weights a sparsity (percent) removes: official rounding."""
    return int(count * (sparsity / 100))


def smallest_of_groups(metric: torch.Tensor, pattern: Pattern, ties: Quirk) -> torch.Tensor:
    """Prune the M − N smallest of every M consecutive inputs of a row.

    Args:
        metric: [outputs, inputs], float32.
        pattern: N:M; M divides the inputs.
        ties: ``official`` leaves equal values to ``torch.topk``, whose choice depends on the
            device; ``corrected`` prunes the first of them.
    """
    groups = metric.reshape(-1, pattern.group)
    if ties == "official":
        smallest = groups.topk(pattern.pruned, dim=1, largest=False).indices
    else:
        smallest = groups.sort(dim=1, stable=True).indices[:, : pattern.pruned]
    pruned = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, smallest, True)
    return pruned.view_as(metric)


def smallest_of_matrix(metric: torch.Tensor, sparsity: int, threshold: Quirk) -> torch.Tensor:
    """Prune a share of all weights of a matrix.

    Args:
        metric: [outputs, inputs].
        sparsity: percent.
        threshold: ``official`` prunes all that are not above the value at the place that the
            share ends, so at least one weight too many and every tie; ``corrected`` prunes
            the share exactly, of equal values the first.
    """
    count = share(metric.numel(), sparsity)
    if threshold == "official":
        return metric <= metric.flatten().sort().values[count]
    smallest = metric.flatten().sort(stable=True).indices[:count]
    pruned = torch.zeros(metric.numel(), dtype=torch.bool, device=metric.device)
    pruned[smallest] = True
    return pruned.view_as(metric)


def smallest_of_rows(metric: torch.Tensor, sparsity: int) -> torch.Tensor:
    """Prune the same share of every row, of equal values the first (Wanda)."""
    smallest = metric.sort(dim=1, stable=True).indices[:, : share(metric.shape[1], sparsity)]
    return torch.zeros_like(metric, dtype=torch.bool).scatter_(1, smallest, True)


def smallest_sums_of_rows(metric: torch.Tensor, sparsity: int) -> torch.Tensor:
    """Prune every row as long as what goes is at most a fraction α of its sum (Wanda's variant).

    α is bisected in 0..0.8 from 0.4 until the share of pruned weights is within 0.001 of the
    sparsity, or the interval is narrower than 0.001; so rows differ, and the sparsity is only
    near the one asked for. A row of which nothing fits keeps everything (the official code ends
    with an error there).
    """
    ordered = metric.sort(dim=1, stable=True).values
    sums, total = ordered.cumsum(1), metric.sum(1, keepdim=True)
    low, high, alpha = 0.0, 0.8, 0.4
    while True:
        count = (sums <= total * alpha).sum(1, keepdim=True)
        limit = ordered.gather(1, (count - 1).clamp(min=0))
        pruned = (metric <= limit) & (count > 0)
        reached = (pruned.sum() / pruned.numel()).item()
        if abs(reached - sparsity / 100) <= 1e-3 or high - low < 1e-3:
            return pruned
        if reached > sparsity / 100:
            alpha, high = (alpha + low) / 2, alpha
        else:
            alpha, low = (alpha + high) / 2, alpha
