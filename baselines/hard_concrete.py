"""Hard-concrete gates (Louizos et al. 2018, arXiv 1712.01312) with ShearedLLaMA's constants.

A gate in [0, 1] is exactly 0 or 1 with positive probability, and differentiable in its log-alpha.
Functions of tensors of any shape; constants and rules are those of the released code
(github.com/princeton-nlp/LLM-Shearing at b87218b, ``llmshearing/models/l0_module.py``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

#: A concrete variable in (0, 1) is stretched to (LOW, HIGH) and cut to [0, 1].
LOW, HIGH = -0.1, 1.1
TEMPERATURE = 2 / 3
#: Probabilities, and the uniform numbers that samples are made of, stay this far from 0 and 1.
EPSILON = 1e-6
#: Factor inside the sigmoid of a gate that is not sampled.
DETERMINISTIC_FACTOR = 0.8
#: Log-alphas are kept within these bounds.
BOUNDS = (math.log(1e-2), math.log(1e2))
#: Log-alphas begin as normal numbers of this mean and deviation: nearly every gate is open.
INITIAL_MEAN, INITIAL_DEVIATION = 5.0, 0.01


def initial_log_alpha(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return log-alphas of gates that are open, all but a little noise, within ``BOUNDS``."""
    drawn = torch.empty(shape).normal_(INITIAL_MEAN, INITIAL_DEVIATION, generator=generator)
    return drawn.clamp(*BOUNDS)


def probability_of_zero(log_alpha: Tensor) -> Tensor:
    """Return the probability that a sampled gate is exactly 0."""
    closed = -LOW / (HIGH - LOW)
    logit = math.log(closed) - math.log(1 - closed)
    return torch.sigmoid(logit * TEMPERATURE - log_alpha).clamp(EPSILON, 1 - EPSILON)


def expected_open(log_alpha: Tensor) -> Tensor:
    """Return the probability that a sampled gate is not 0."""
    return 1 - probability_of_zero(log_alpha)


def stretched(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Return the stretched concrete variable at quantiles ``uniform`` in (0, 1)."""
    logit = torch.log(uniform) - torch.log(1 - uniform)
    return torch.sigmoid((logit + log_alpha) / TEMPERATURE) * (HIGH - LOW) + LOW


def sample(log_alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Draw gates; gradients flow to ``log_alpha``.

    Args:
        log_alpha: of the gates.
        generator: a CPU generator, so that every device draws the same gates.
    """
    uniform = torch.empty(log_alpha.shape).uniform_(EPSILON, 1 - EPSILON, generator=generator)
    return stretched(log_alpha, uniform.to(log_alpha.device)).clamp(0, 1)


def deterministic(log_alpha: Tensor, kept: int | None = None) -> Tensor:
    """Return gates without chance: the lowest are 0, the others soft values below 1.

    Args:
        log_alpha: of the gates; each row of the last dimension is decided by itself.
        kept: gates of a row that are not 0; None keeps the expected number, rounded.
    """
    gates = torch.sigmoid(log_alpha / TEMPERATURE * DETERMINISTIC_FACTOR)
    rows, alphas = (
        gates.reshape(-1, gates.shape[-1]).clone(),
        log_alpha.reshape(-1, gates.shape[-1]),
    )
    for row, alpha in zip(rows, alphas, strict=True):
        stay = round(float(expected_open(alpha).sum())) if kept is None else kept
        row[row.topk(len(row) - stay, largest=False).indices] = 0
    return rows.view_as(gates)
