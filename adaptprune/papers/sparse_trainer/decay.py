"""How AST's masked weights decay, and what its parameters are called. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How the decay λ (1 − m) ⊙ W enters AdamW.
#:
#: - ``paper``: Eq. 20-23 as printed: added to the first moment u for the update alone, ũ = u + λ …;
#:   the second moment averages ũ², and it is not corrected for its start at zero.
#: - ``gradient``: Eq. 18-19, the released LLaMA-2 code: added to the clipped gradient.
#: - ``gpt2-boolean``: the released GPT-2 code with the sign mended: as ``paper``, but the second
#:   moment is corrected for its start at zero.
#: - ``gpt2-official``: that code as published. Its mask is an integer, and ``~`` is bitwise: the
#:   term is −λ W for pruned and −2 λ W for kept weights, so that all grow.
DecayRule = Literal["paper", "gradient", "gpt2-boolean", "gpt2-official"]
#: How λ moves: up to a step and then constant (Eq. 2); constant (SR-STE); or there is none.
Annealing = Literal["annealed", "static", "none"]
#: How SLoRB's factors begin. ``mean``: Eq. 5-6. ``sum``: not divided by k. ``xavier``: S is zero,
#: X is drawn (the GPT-2 code's). ``xavier-both``: both are drawn (the LLaMA-2 code's "xavier").
#: ``zero``: S is zero, X has its blocks (the LLaMA-2 code's "zero").
Initialisation = Literal["mean", "sum", "xavier", "xavier-both", "zero"]


@dataclass(frozen=True)
class DecayFactor:
    """λ by the step, counted from 0 (Eq. 2).

    Args:
        maximum: λ at the end.
        increase_steps: T0, the step at which it gets there; 0 is there from the beginning.
    """

    maximum: float
    increase_steps: int

    def at(self, step: int) -> float:
        """Return λ of a step."""
        if step >= self.increase_steps:
            return self.maximum
        return self.maximum * step / self.increase_steps
