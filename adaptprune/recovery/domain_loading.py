"""Batches whose domains are weighted by how far their losses are from what they are to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.recovery.dynamic_batches import DomainState, updated_weights
from adaptprune.recovery.objective import next_token_loss

if TYPE_CHECKING:
    from adaptprune.data.packing import Batch, Rows
    from adaptprune.recovery.dynamic_batches import DomainRows


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


class DomainLoading:
    """Dynamic batch loading in the course of a training.

    Args:
        domains: the rows of each domain.
        held_out: the rows that losses are measured on.
        references: loss that each domain is to reach (nats).
        place: where the loading stands.
        every: steps between two updates of the weights.
        clipped: see ``updated_weights``.
    """

    def __init__(
        self,
        domains: DomainRows,
        held_out: HeldOut,
        references: list[float],
        place: DomainState,
        every: int,
        *,
        clipped: bool = False,
    ):
        self.domains, self.held_out, self.references = domains, held_out, references
        self.place, self.every, self.clipped = place, every, clipped
        #: Tokens that the last step has measured losses on.
        self.measured_tokens = 0

    def take(self, rows: Rows, count: int) -> Batch:
        """Return so many rows, dealt out to the domains by their weights."""
        indices, self.place = self.domains.take(self.place, count)
        return rows.take(indices)

    def end_step(self, step: int, model: Any) -> dict[str, float]:
        """Update the weights where it is time; return them, and the losses that moved them.

        Args:
            step: counted from 0 in the stage.
            model: the model, distributed as it is.
        """
        names, weights = self.domains.names, self.place.weights
        figures = {f"weight/{name}": w for name, w in zip(names, weights, strict=True)}
        self.measured_tokens = 0
        if (step + 1) % self.every == 0:
            losses = self.held_out.losses(model)
            self.measured_tokens = self.held_out.tokens
            weights = updated_weights(weights, losses, self.references, clipped=self.clipped)
            self.place = self.place.model_copy(update={"weights": weights})
            figures |= {f"held_out_loss/{n}": loss for n, loss in zip(names, losses, strict=True)}
        return figures
