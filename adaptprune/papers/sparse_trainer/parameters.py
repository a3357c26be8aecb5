"""Parameters of AST.

The plain values are those of the paper's text. Where the released codes do otherwise, a value of a
parameter does as they do; where text and codes are silent, the choice is ours and marked so.
Torch-free.
"""

from __future__ import annotations

from typing import Literal

import pydantic

from adaptprune.papers.sparse_trainer.decay import (
    Annealing,
    DecayFactor,
    DecayRule,
    Initialisation,
)
from adaptprune.recovery.dynamic_batches import DynamicBatches  # noqa: TC001 - read at runtime
from adaptprune.recovery.sparse import SparseTrainingParameters


class SparseTrainerParameters(SparseTrainingParameters):
    """Parameters of AST.

    Args:
        update_every: Δt, steps between two choices of the masks (released codes: 10; the paper
            gives none); 0 keeps the first ones.
        update_moment: ``before`` the step's gradient, in steps that Δt divides counted from 1
            (Algorithm 1, LLaMA-2 code); or ``after`` the update, counted from 0 (GPT-2 code).
        metric: what ranks the weights: their magnitude, or that times what the dense model's
            inputs say (Wanda, SparseGPT), gathered once before the training.
        statistics_rows: rows of the training data that these are gathered from (ours).
        annealing: whether λ grows up to T0 (Eq. 2), is constant (SR-STE), or 0.
        decay: how the decay enters AdamW, see ``DecayRule``.
        decay_factor: λ at T0 (Table 8: 6e-5 for LLaMA2-7B and most others).
        increase: T0 as a share of all steps ("one-fourth of the total training iteration").
        increase_steps: T0 in steps, in its place (GPT-2 code: 10,000, LLaMA-2 code: 3,000).
        weight_decay: of every matrix (GPT-2 code: 0.1, LLaMA-2 code: 0; not in the paper).
        slorb_k: k of SLoRB's groups (AST-Boosted: 16); 0 adds nothing.
        slorb_start: how S and X begin, see ``Initialisation``.
        slorb_train_projection: whether X is trained, as a dense matrix.
        loading: dynamic batch loading by domains ("the dynamic batching feature provided in the
            ShearedLLaMA codebase", 4.1), None for rows as they come.
    """

    update_every: int = pydantic.Field(10, ge=0)
    update_moment: Literal["before", "after"] = "before"
    metric: Literal["magnitude", "wanda", "sparsegpt"] = "magnitude"
    statistics_rows: int = pydantic.Field(128, ge=1)
    annealing: Annealing = "annealed"
    decay: DecayRule = "paper"
    decay_factor: float = pydantic.Field(6e-5, ge=0)
    increase: float = pydantic.Field(0.25, ge=0, le=1)
    increase_steps: int | None = pydantic.Field(None, ge=0)
    weight_decay: float = pydantic.Field(0.0, ge=0)
    slorb_k: int = pydantic.Field(0, ge=0)
    slorb_start: Initialisation = "mean"
    slorb_train_projection: bool = True
    # Left out of records where it is not used: those of trainings without it stay as they are.
    loading: DynamicBatches | None = pydantic.Field(None, exclude_if=lambda value: value is None)

    def factor(self, steps: int) -> DecayFactor:
        """Return λ by the step, of so many steps."""
        if self.annealing == "none":
            return DecayFactor(0.0, 0)
        if self.annealing == "static":
            return DecayFactor(self.decay_factor, 0)
        increase = self.increase_steps
        return DecayFactor(
            self.decay_factor, round(self.increase * steps) if increase is None else increase
        )
