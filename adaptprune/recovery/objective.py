"""What a training step minimises, and what else it trains: the hook of the one training loop.

A method of recovery subclasses ``Objective``; the base is plain next-token training. Imports
torch only inside its functions, as methods do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from adaptprune.data.packing import Batch, Rows


@dataclass
class ExtraParameters:
    """Parameters that are trained besides the model's, by an AdamW of their own.

    Every process holds all of them, outside the wrapped model; the loop sums their gradients over
    the processes. They are not clipped. Values, moments and learning rate are read at each step,
    so an objective may change the rate in ``begin_step``.

    Args:
        parameters: by name.
        learning_rate: of all of them.
        maximise: climb the gradient instead of descending (Lagrangian multipliers).
    """

    parameters: dict[str, torch.nn.Parameter]
    learning_rate: float
    maximise: bool = False


@dataclass
class State:
    """What an objective must remember over a kill, besides its extra parameters.

    Args:
        tensors: by name, on any device.
        values: JSON-able.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


class Objective:
    """Next-token training of the model alone, on the rows in their seeded order."""

    def attach(self, model: Any) -> None:
        """Take hold of the model before it is distributed, to set hooks on its modules, say."""

    def extra_parameters(self) -> list[ExtraParameters]:
        """Return what is trained besides the model; the same tensors at every call."""
        return []

    def begin_step(self, step: int, rate: float) -> None:
        """Prepare a step, before its rows are taken; alike in every process.

        Args:
            step: counted from 0 in the stage.
            rate: the model's learning rate.
        """

    def take(self, rows: Rows, start: int, stop: int) -> Batch:
        """Return the rows of a step, the same in every process.

        Args:
            rows: all rows.
            start: first position in the seeded order that is the step's.
            stop: the position after its last one.
        """
        return rows.batch(start, stop)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return what is minimised, a mean over the predictions that count (nats).

        The losses of a step's passes are averaged by these predictions over all passes and
        processes, so a term that does not depend on the tokens counts once.

        Args:
            model: the model, distributed as it is.
            batch: the rows of a pass.
        """
        return next_token_loss(model, batch)

    def end_step(self, model: Any) -> dict[str, float]:
        """Do what follows an update; return what the log is to say of the step besides."""
        return {}

    def weights(self, state: dict[str, torch.Tensor], *, finished: bool) -> dict[str, torch.Tensor]:
        """Return what a checkpoint's model folder is to hold: the model's tensors, by their names.

        Args:
            state: of the model as ``attach`` left it, whole and on the CPU.
            finished: whether this is the stage's last checkpoint.
        """
        return state

    def flops(self, parameters: int, tokens: int) -> int:
        """Count the floating-point operations of a step, ``end_step`` included.

        A forward pass takes two per parameter and token, a backward pass four.

        Args:
            parameters: N, those of the model without the embedding that is looked up.
            tokens: of the step, over all processes.
        """
        return 6 * parameters * tokens

    def state(self) -> State:
        """Return what ``restore`` needs to go on bit for bit."""
        return State()

    def restore(self, state: State) -> None:
        """Take up what ``state`` gave."""

    def write(self, folder: Path, state: dict[str, torch.Tensor]) -> None:
        """Write into a checkpoint's folder what neither weights nor config hold.

        It becomes part of the result. The main process alone calls this.

        Args:
            folder: of the checkpoint; holds ``kept.json`` where there is one, and nothing else.
            state: gathered weights by name. What is no weight of the architecture is to be taken
                out of it, and written.
        """


def next_token_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Return the mean next-token cross-entropy (nats) over what counts; 0 where nothing does."""
    import torch.nn.functional as F

    logits = model(input_ids=batch.tokens, use_cache=False).logits
    targets = batch.tokens.masked_fill(~batch.counted, -100)[:, 1:]
    total = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
    )
    return total / (targets != -100).sum().clamp(min=1)
