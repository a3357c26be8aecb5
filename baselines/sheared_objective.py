"""What ShearedLLaMA's two stages minimise, and how their rows are chosen.

Both stages load their batches dynamically by domain; the first one trains masks beside the
weights. The masks of a step are drawn from the seed and the step's number, so they are alike in
every forward pass and process of a step, and a resumed training draws them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from adaptprune.pruning.method import Context
from adaptprune.recovery.dynamic_batches import DomainState
from adaptprune.recovery.objective import ExtraParameters, Objective, State, next_token_loss
from baselines.masked_model import attach
from baselines.sheared_masks import KINDS

if TYPE_CHECKING:
    from adaptprune.data.packing import Batch, Rows
    from adaptprune.recovery.domain_loading import DomainLoading
    from baselines.sheared_masks import Masks
    from baselines.sheared_parameters import ShearedLlamaParameters


class DomainTraining(Objective):
    """Next-token training on batches that are loaded dynamically.

    Args:
        loading: of the batches.
    """

    def __init__(self, loading: DomainLoading):
        self.loading = loading
        self.step = 0

    def begin_step(self, step: int, rate: float) -> None:
        """Remember which step it is."""
        self.step = step

    def take(self, rows: Rows, start: int, stop: int) -> Batch:
        """Return as many rows, dealt out to the domains by their weights."""
        return self.loading.take(rows, stop - start)

    def end_step(self, model: Any) -> dict[str, float]:
        """Update the weights where it is time; return them, and the losses that moved them."""
        return self.loading.end_step(self.step, model)

    def flops(self, parameters: int, tokens: int) -> int:
        """Count the step, and the forward passes over held-out rows where there were some."""
        return super().flops(parameters, tokens) + 2 * parameters * self.loading.measured_tokens

    def state(self) -> State:
        """Return where the loading stands."""
        return State(values=self.loading.place.model_dump())

    def restore(self, state: State) -> None:
        """Take up the loading."""
        self.loading.place = DomainState.model_validate(state.values)


class Shearing(DomainTraining):
    """Joint training of weights and masks: the masks descend, the multipliers ascend.

    Args:
        masks: of the model, on its device.
        seed: of the masks that are drawn.
        warmup_steps: steps in which the targets of the Lagrangian grow from 0.
        loading: of the batches.
        parameters: of the method.
    """

    def __init__(
        self,
        masks: Masks,
        seed: int,
        warmup_steps: int,
        loading: DomainLoading,
        parameters: ShearedLlamaParameters,
    ):
        super().__init__(loading)
        self.parameters = parameters
        self.masks, self.seed, self.warmup_steps = masks, seed, warmup_steps
        self.gates = masks.deterministic(at_target=False)
        self._lagrangian = torch.zeros(())

    def attach(self, model: Any) -> None:
        """Let the gates act on the model."""
        attach(model, lambda: self.gates)

    def extra_parameters(self) -> list[ExtraParameters]:
        """Return the log-alphas and the multipliers, each with its learning rate."""
        alphas = {f"log_alpha.{kind}": self.masks.log_alpha[kind] for kind in KINDS}
        multipliers = {"linear": self.masks.linear, "quadratic": self.masks.quadratic}
        return [
            ExtraParameters(alphas, self.parameters.mask_learning_rate),
            ExtraParameters(multipliers, self.parameters.multiplier_learning_rate, maximise=True),
        ]

    @property
    def warmed(self) -> float:
        """Share of the warm-up that is over."""
        return min(1.0, self.step / self.warmup_steps) if self.warmup_steps else 1.0

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return the loss of the model under this step's gates, plus the Lagrangian."""
        generator = Context(None, self.seed).generator(f"masks of step {self.step}")
        self.gates = self.masks.sample(generator)
        lagrangian = self.masks.lagrangian(self.warmed)
        self._lagrangian = lagrangian.detach()
        return next_token_loss(model, batch) + lagrangian

    @torch.no_grad()
    def end_step(self, model: Any) -> dict[str, float]:
        """Put the masks back within their bounds; domain losses are those at the expected size."""
        self.masks.clamp()
        self.gates = self.masks.deterministic(at_target=False)
        figures = super().end_step(model)
        expected, targets = self.masks.expected_sparsity(), self.masks.target_sparsity(self.warmed)
        figures["lagrangian"] = float(self._lagrangian)
        figures["expected_parameters"] = float(self.masks.expected_parameters())
        for kind in KINDS:
            figures[f"sparsity/{kind}"] = float(expected[kind].mean())
            figures[f"target_sparsity/{kind}"] = targets[kind]
        return figures
