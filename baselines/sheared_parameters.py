"""What a run of ShearedLLaMA is set to; defaults are those of the released scripts."""

from __future__ import annotations

import pydantic

from adaptprune.plugins import Parameters


class ShearedLlamaParameters(Parameters):
    """Parameters of ShearedLLaMA.

    Args:
        shearing_share: share of the tokens that masks and weights are trained on together
            (Adapt-Pruner, appendix A: 10 %; the original: 0.4 of 50.4 billion tokens).
        mask_learning_rate: of the log-alphas (scripts: ``lag_lr=1.0``).
        multiplier_learning_rate: of the Lagrangian's multipliers (scripts: the same).
        lagrangian_warmup: share of the first stage's steps in which the targets of the sparsities
            grow from 0 (scripts: 640 of 3,200 steps).
        shearing_update_every: steps of the first stage between two updates of the domain weights
            (scripts: 50).
        training_update_every: the same of the second stage (scripts: 400).
        held_out_rows: rows of each domain that its loss is measured on, never trained on (ours).
        reference_losses: loss (nats) that each domain is to reach, by the domain's name; None
            measures those of the source model on the held-out rows, the "source reference" of the
            paper. The scripts give predictions of a scaling law for the target size, which exist
            for their domains and tokenizer alone.
        clip_excess: count a loss below its reference as equal to it when weights are updated, as
            Algorithm 1 prints; the released code does not.
    """

    shearing_share: float = pydantic.Field(0.1, gt=0, lt=1)
    mask_learning_rate: float = pydantic.Field(1.0, gt=0)
    multiplier_learning_rate: float = pydantic.Field(1.0, gt=0)
    lagrangian_warmup: float = pydantic.Field(0.2, ge=0, le=1)
    shearing_update_every: int = pydantic.Field(50, ge=1)
    training_update_every: int = pydantic.Field(400, ge=1)
    held_out_rows: int = pydantic.Field(32, ge=1)
    reference_losses: dict[str, float] | None = None
    clip_excess: bool = False
