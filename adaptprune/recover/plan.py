"""The plan of a recovery: sizes, data and steps of every stage, known before any work starts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pydantic

from adaptprune.errors import UserError
from adaptprune.schedule import WarmupStableDecay, data_shares, parameter_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.recover.presets import Preset


class Stage(pydantic.BaseModel):
    """One pruning and the training that follows it.

    Args:
        number: counted from 1.
        target: parameters to prune to, None for training alone.
        start: first row of its data in the seeded order.
        stop: the row after its last one.
        first_step: how many steps of the learning-rate schedule lie before it.
        steps: optimiser steps that its data make; the last one may hold fewer rows.
        trained_steps: how many of them are taken (see ``Preset.handover``).
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    number: int
    target: int | None
    start: int
    stop: int
    first_step: int
    steps: int
    trained_steps: int

    def trained_rows(self, batch: int) -> int:
        """Return how many rows it is really trained on."""
        return min(self.trained_steps * batch, self.stop - self.start)


def plan_stages(
    preset: Preset, rows: int, large: int | None = None, small: int | None = None
) -> list[Stage]:
    """Lay out all stages of a preset.

    Samples are counted, as in the released scripts, not tokens; here all rows are equally long,
    so both are the same.

    Args:
        preset: the recipe.
        rows: rows of the data that are there.
        large: parameters of the model, needed where it is pruned.
        small: parameters to end with, needed where it is pruned.

    Raises:
        UserError: a target that is no smaller size, or data that do not suffice for one step per
            stage.
    """
    length, count = preset.sequence_length, max(1, preset.interleaves)
    used = rows if preset.tokens is None else preset.tokens // length
    if used > rows:
        raise UserError(
            f"recovery preset {preset.name}: {preset.tokens:,} tokens are asked for, the data hold "
            f"{rows * length:,} in whole rows of {length}"
        )
    shares = data_shares(used, count)
    if shares[0] < preset.batch:
        needed = preset.batch * count * (count + 1) // 2 * length
        raise UserError(
            f"too few tokens for one step per stage: stage 1 of {count} gets {shares[0]:,} rows of "
            f"{length}, one step takes {preset.batch}; {needed:,} tokens in all would do"
        )
    targets: Sequence[int | None] = [None]
    if preset.interleaves:
        assert large is not None, "a model that is pruned has a known size"
        assert small is not None, "and a target"
        targets = parameter_targets(large, small, count, preset.schedule)
    steps = [-(-share // preset.batch) for share in shares]
    return [
        Stage(
            number=index + 1,
            target=target,
            start=stop - share,
            stop=stop,
            first_step=done - step,
            steps=step,
            trained_steps=max(1, int(preset.handover * step)),
        )
        for index, (target, share, stop, step, done) in enumerate(
            zip(
                targets,
                shares,
                itertools.accumulate(shares),
                steps,
                itertools.accumulate(steps),
                strict=True,
            )
        )
    ]


def learning_rates(preset: Preset, stages: Sequence[Stage]) -> WarmupStableDecay:
    """Return the one schedule that runs through all stages."""
    total = stages[-1].first_step + stages[-1].steps
    return WarmupStableDecay(total, preset.peak_learning_rate, preset.minimum_learning_rate)
