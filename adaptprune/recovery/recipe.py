"""A recipe of training: what a preset says, with values of the released scripts as defaults."""

from __future__ import annotations

from typing import Any

import pydantic


class Preset(pydantic.BaseModel):
    """How a model is trained, and what is done to it between two trainings.

    Args:
        name: the file's name, and the ``recovery`` of a cell.
        title: one line that says what it is.
        method: name of the method of recovery.
        parameters: of the method, all of them.
        tokens: |D|, tokens of all stages together, a teacher's excepted; None takes all data.
        flops: budget in place of ``tokens``: floating-point operations of all training steps.
        sequence_length: tokens of one row (scripts: ``cutoff_len=1024``).
        batch: rows of one optimiser step, over all processes and accumulations ("The global batch
            size is set to 128", appendix A; scripts: 32 on each of 4 GPUs).
        peak_learning_rate: of the schedule (paper and scripts: 2e-5).
        minimum_learning_rate: at its end (scripts: ``min_learning_rate=0``; appendix A: 2e-6).
        handover: the share of a stage's steps after which its weights go on to the next stage, the
            last one's into the result (scripts: the checkpoint of ``save_steps =
            int(steps * 0.99)``). Later steps would have no effect and are not computed; data and
            learning rate move on as if they had been.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = pydantic.Field(pattern=r"^[a-z0-9-]+$")
    title: str
    method: str
    parameters: dict[str, Any] = {}
    tokens: int | None = pydantic.Field(None, ge=1)
    flops: float | None = pydantic.Field(None, gt=0)
    sequence_length: int = pydantic.Field(1024, ge=2)
    batch: int = pydantic.Field(128, ge=1)
    peak_learning_rate: float = pydantic.Field(2e-5, gt=0, le=1)
    minimum_learning_rate: float = pydantic.Field(0.0, ge=0, le=1)
    handover: float = pydantic.Field(1.0, gt=0, le=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Preset:
        if self.minimum_learning_rate > self.peak_learning_rate:
            raise ValueError("minimum_learning_rate must not exceed peak_learning_rate")
        if self.tokens is not None and self.flops is not None:
            raise ValueError("give tokens or flops, not both")
        return self
