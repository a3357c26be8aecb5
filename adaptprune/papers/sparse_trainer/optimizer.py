"""AdamW with a decay of masked weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from adaptprune.papers.sparse_trainer.decay import DecayRule


class SparseAdamW(torch.optim.AdamW):
    """AdamW whose sparse weights decay where they are masked; all else is updated as ever.

    Args:
        parameters: all that is trained.
        masks: true where a weight stays, in its layout; by sparse weight. They are read at every
            step, so they may be changed in place.
        rule: how the decay is applied.
        factor: λ of a step, counted from 0; the steps that a weight has seen are in its state.
        betas: of the moments.
        eps: added to the root of the second moment.
        weight_decay: decoupled, of every matrix (embeddings too), as in the GPT-2 code.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        masks: Mapping[torch.nn.Parameter, torch.Tensor],
        rule: DecayRule,
        factor: Callable[[int], float],
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, lr=0.0, betas=betas, eps=eps, weight_decay=0.0)
        self.masks, self.rule, self.factor = masks, rule, factor
        self.matrix_decay = weight_decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient."""
        (group,) = self.param_groups
        if self.matrix_decay:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.ndim >= 2:
                    parameter.mul_(1 - group["lr"] * self.matrix_decay)
        gradients = {p: p.grad for p in self.masks if p.grad is not None}
        for parameter, gradient in gradients.items():
            kept = self.masks[parameter]
            if self.rule == "gradient":
                gradient += self._decaying(parameter, kept)
            else:
                self._update(parameter, kept, group)
                parameter.grad = None  # for the library to leave it alone
        result = super().step(closure)
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        return result

    def _decaying(self, parameter: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return λ (1 − m) ⊙ W, or what the published code has in its place."""
        factor = self.factor(int(self.state[parameter].get("step", 0)))
        if self.rule == "gpt2-official":
            # ~1 = −2 where a weight stays, ~0 = −1 where it does not.
            return parameter * torch.where(kept, -2.0 * factor, -factor)
        return (parameter * ~kept).mul_(factor)

    def _update(self, parameter: Any, kept: torch.Tensor, group: dict[str, Any]) -> None:
        """Take one decoupled step (Eq. 20-23) with one weight."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        first, second, (beta1, beta2) = state["exp_avg"], state["exp_avg_sq"], group["betas"]
        first.mul_(beta1).add_(parameter.grad, alpha=1 - beta1)
        decayed = self._decaying(parameter, kept).add_(first)
        state["step"] += 1
        step = state["step"].item()
        second.mul_(beta2).addcmul_(decayed, decayed, value=1 - beta2)
        root = second.sqrt()
        if self.rule != "paper":
            root /= math.sqrt(1 - beta2**step)
        parameter.addcdiv_(decayed, root.add_(group["eps"]), value=-group["lr"] / (1 - beta1**step))
