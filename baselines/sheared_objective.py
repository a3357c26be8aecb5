"""What ShearedLLaMA's two stages minimise, and how their rows are chosen.

Both stages load their batches dynamically by domain; the first one trains masks beside the
weights. The masks of a step are drawn from the seed and the step's number, so they are alike in
every forward pass and process of a step, and a resumed training draws them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.pruning.method import Context
from adaptprune.recovery.objective import ExtraParameters, Objective, State, next_token_loss
from baselines.dynamic_batches import DomainState, updated_weights
from baselines.masked_model import attach
from baselines.sheared_masks import KINDS

if TYPE_CHECKING:
    from adaptprune.data.packing import Batch, Rows
    from baselines.dynamic_batches import DomainRows
    from baselines.sheared_masks import Masks
    from baselines.sheared_parameters import ShearedLlamaParameters


@dataclass(frozen=True)
class HeldOut:
    """Rows of every domain that are never trained on.

    Args:
        batches: the rows of each domain.
        size: rows of one forward pass.
        device: where the model is.
    """

    batches: list[Batch]
    size: int
    device: torch.device

    @classmethod
    def of(cls, rows: Rows, domains: DomainRows, size: int, device: torch.device) -> HeldOut:
        """Take the held-out rows out of the data."""
        return cls([rows.take(indices) for indices in domains.held_out], size, device)

    @property
    def tokens(self) -> int:
        """Tokens of all these rows."""
        return sum(batch.tokens.numel() for batch in self.batches)

    @torch.no_grad()
    def losses(self, model: Any) -> list[float]:
        """Return a model's mean loss (nats) in each domain, the same in every process.

        Args:
            model: the model, distributed as it is; every process must call this.
        """
        training = model.training
        model.eval()
        means = [self._loss(model, batch) for batch in self.batches]
        model.train(training)
        agreed = torch.tensor(means, dtype=torch.float64, device=self.device)
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(agreed, 0)
        return agreed.tolist()

    def _loss(self, model: Any, batch: Batch) -> float:
        total = 0.0
        for piece in batch.split(self.size):
            total += float(next_token_loss(model, piece.to(self.device))) * piece.predictions
        return total / max(1, batch.predictions)


class DomainTraining(Objective):
    """Next-token training on batches whose domains are weighted by how far their losses are off.

    Args:
        domains: the rows of each domain.
        held_out: the rows that losses are measured on.
        references: loss that each domain is to reach (nats).
        loading: where the loading stands.
        parameters: of the method.
        every: steps between two updates of the weights.
    """

    def __init__(
        self,
        domains: DomainRows,
        held_out: HeldOut,
        references: list[float],
        loading: DomainState,
        parameters: ShearedLlamaParameters,
        every: int,
    ):
        self.domains, self.held_out, self.references = domains, held_out, references
        self.loading, self.parameters, self.every = loading, parameters, every
        self.step = 0
        self._measured_tokens = 0

    def begin_step(self, step: int, rate: float) -> None:
        """Remember which step it is."""
        self.step = step

    def take(self, rows: Rows, start: int, stop: int) -> Batch:
        """Return as many rows, dealt out to the domains by their weights."""
        indices, self.loading = self.domains.take(self.loading, stop - start)
        return rows.take(indices)

    def end_step(self, model: Any) -> dict[str, float]:
        """Update the weights where it is time; return them, and the losses that moved them."""
        names, weights = self.domains.names, self.loading.weights
        figures = {f"weight/{name}": w for name, w in zip(names, weights, strict=True)}
        self._measured_tokens = 0
        if (self.step + 1) % self.every == 0:
            losses = self.held_out.losses(model)
            self._measured_tokens = self.held_out.tokens
            weights = updated_weights(
                weights, losses, self.references, clipped=self.parameters.clip_excess
            )
            self.loading = self.loading.model_copy(update={"weights": weights})
            figures |= {f"held_out_loss/{n}": loss for n, loss in zip(names, losses, strict=True)}
        return figures

    def flops(self, parameters: int, tokens: int) -> int:
        """Count the step, and the forward passes over held-out rows where there were some."""
        return super().flops(parameters, tokens) + 2 * parameters * self._measured_tokens

    def state(self) -> State:
        """Return where the loading stands."""
        return State(values=self.loading.model_dump())

    def restore(self, state: State) -> None:
        """Take up the loading."""
        self.loading = DomainState.model_validate(state.values)


class Shearing(DomainTraining):
    """Joint training of weights and masks: the masks descend, the multipliers ascend.

    Args:
        masks: of the model, on its device.
        seed: of the masks that are drawn.
        warmup_steps: steps in which the targets of the Lagrangian grow from 0.
        loading: the other arguments, of ``DomainTraining``.
    """

    def __init__(self, masks: Masks, seed: int, warmup_steps: int, **loading: Any):
        super().__init__(**loading)
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
