"""Schedules: data per stage, parameters per stage, learning rate per step. Torch-free.

Those of Adapt-Accel follow the released scripts (github.com/research4pan/AdaptPruner at 29bb5ae8)
and say where the paper differs; stages are counted from 0. ``WarmupCosine`` is that of the codes
released with AST (github.com/thu-ml/Adaptive-Sparse-Trainer at 723d742).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from adaptprune.errors import UserError

#: How the sizes between the large and the small model are spaced.
Spacing = Literal["linear", "geometric"]


def data_shares(total: int, stages: int) -> list[int]:
    """Share the training data out among the stages; later stages get more (Eq. 11).

    Stage i of T gets int(|D| · 2(i+1) / (T(T+1))), and the last one the remainder too, as
    ``utils/process_dataset.py`` does. The paper prints 2(i+1) / (|D|(|D|+1)), a number of tokens
    that would be one over tokens squared; the shares add up only with T in the denominator.

    Args:
        total: |D|, in whatever is counted (the script counts samples, the paper tokens).
        stages: T, at least 1.
    """
    shares = [int(total * (2 * (i + 1) / (stages * (stages + 1)))) for i in range(stages - 1)]
    return [*shares, total - sum(shares)]


def parameter_targets(large: int, small: int, stages: int, spacing: Spacing) -> list[int]:
    """Return the parameter count that each stage prunes to; the last one is ``small``.

    Args:
        large: parameters of the model that is pruned.
        small: parameters to end with.
        stages: N_P, at least 1.
        spacing: ``linear`` removes equally many parameters each time (the scripts in
            ``experiments/``); ``geometric`` keeps the share P = (small/large)^(1/N_P) each time
            (Figure 3 of the ACL text).

    Raises:
        UserError: ``small`` is not smaller than ``large``, or the steps would remove nothing.
    """
    if not 0 < small < large:
        raise UserError(
            f"target of {small:,} parameters: must be positive and smaller than the model, "
            f"which has {large:,}"
        )
    if stages > large - small:
        raise UserError(f"{stages} stages cannot share out {large - small:,} parameters")
    if spacing == "linear":
        return [large - (large - small) * (i + 1) // stages for i in range(stages)]
    inner = [round(large * (small / large) ** ((i + 1) / stages)) for i in range(stages - 1)]
    return [*inner, small]


@dataclass(frozen=True)
class WarmupStableDecay:
    """One learning-rate schedule through all stages (WSD; appendix A).

    Linear warm-up from 0 over the first 5 % of all steps, the peak until int(0.9·total), then
    linear towards the minimum ("5% warmup steps and 10% linear decay steps at the end"), rounded
    as in ``post_training/trainer.py`` and ``experiments/*.sh``.

    Args:
        total_steps: optimiser steps of all stages together.
        peak: highest rate (2e-5 in paper and scripts).
        minimum: rate at the end (2e-6 in the paper, 0 in the scripts).
    """

    total_steps: int
    peak: float
    minimum: float

    @property
    def warmup_steps(self) -> int:
        """Steps until the peak is reached."""
        return 5 * self.total_steps // 100

    @property
    def decay_start(self) -> int:
        """First step of the decay, still at the peak."""
        return int(0.9 * self.total_steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 through all stages."""
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        if step < self.decay_start:
            return self.peak
        progress = (step - self.decay_start) / max(1, self.total_steps - self.decay_start)
        return max(self.peak - (self.peak - self.minimum) * progress, self.minimum)


@dataclass(frozen=True)
class WarmupCosine:
    """Linear warm-up from 0, cosine to a minimum, then linear to 0 at the end.

    GPT-2: the cosine ends at 95 % of the steps and the rate falls to 0 behind it. LLaMA-2: the
    cosine ends with the training.

    Args:
        total: steps of the training.
        warmup: steps of the linear warm-up from 0.
        cosine_end: step at which the cosine reaches the minimum.
        peak: highest rate.
        minimum: at the end of the cosine.
    """

    total: int
    warmup: int
    cosine_end: int
    peak: float
    minimum: float

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.peak * step / self.warmup
        if step > self.cosine_end:
            return self.minimum * (self.total - step) / (self.total - self.cosine_end)
        done = (step - self.warmup) / max(1, self.cosine_end - self.warmup)
        return self.minimum + 0.5 * (1 + math.cos(math.pi * done)) * (self.peak - self.minimum)
