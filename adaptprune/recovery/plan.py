"""The plan of a recovery: data, steps and learning rates of every stage, known before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.errors import UserError
from adaptprune.files.declared import Closed
from adaptprune.recovery.schedules import WarmupStableDecay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptprune.recovery.recipe import Preset

#: Kind of a stage that trains a teacher: its tokens are counted apart.
TEACHER = "teacher"


@dataclass(frozen=True)
class Draft:
    """What a method says of a stage; ``lay_out`` adds the steps.

    Args:
        stop: the row after its last one.
        start: its first row in the seeded order.
        kind: a word for what it does.
        target: parameters that the model has afterwards, where that is decided beforehand.
        schedule: number of its learning-rate schedule; stages with one number share one.
        parameters: N of the model that is trained, without the embedding that is looked up, as
            far as it is known beforehand.
        forward_parameters: N of a model that only does forward passes beside it.
    """

    stop: int
    start: int = 0
    kind: str = "train"
    target: int | None = None
    schedule: int = 1
    parameters: int = 0
    forward_parameters: int = 0


class Stage(Closed):
    """What may be done to a model, and the training that follows it.

    Args:
        number: counted from 1.
        kind: a word of the method for what it does; ``teacher`` trains a teacher.
        target: parameters to prune to, None for training alone.
        start: first row of its data in the seeded order.
        stop: the row after its last one.
        first_step: how many steps of the recovery lie before it.
        steps: optimiser steps that its data make; the last one may hold fewer rows.
        trained_steps: how many of them are taken (see ``Preset.handover``).
        schedule_step: how many steps of its learning-rate schedule lie before it.
        schedule_steps: all steps of that schedule.
    """

    number: int
    kind: str
    target: int | None
    start: int
    stop: int
    first_step: int
    steps: int
    trained_steps: int
    schedule_step: int
    schedule_steps: int

    def trained_rows(self, batch: int) -> int:
        """Return how many rows it is really trained on."""
        return min(self.trained_steps * batch, self.stop - self.start)

    def learning_rates(self, preset: Preset) -> Callable[[int], float]:
        """Return the learning rate by the step, counted from 0 in the stage."""
        schedule = WarmupStableDecay(
            self.schedule_steps, preset.peak_learning_rate, preset.minimum_learning_rate
        )
        return lambda step: schedule.rate(self.schedule_step + step)


def plan_stages(preset: Preset, rows: int, draft: Callable[[int], Sequence[Draft]]) -> list[Stage]:
    """Lay out all stages of a preset within its budget.

    Samples are counted, as in the released scripts, not tokens; here all rows are equally long,
    so both are the same. A budget in FLOPs is that of the training steps (see ``planned_flops``)
    and takes the most rows that it pays for.

    Args:
        preset: the recipe.
        rows: rows of the data that are there.
        draft: the method's stages for a number of rows (``RecoveryMethod.plan``).

    Raises:
        UserError: the data do not hold the budget, or do not suffice for one step per stage.
    """
    length = preset.sequence_length
    if preset.flops is not None:
        return lay_out(preset, draft(_affordable(preset, rows, draft)))
    used = rows if preset.tokens is None else preset.tokens // length
    if used > rows:
        raise UserError(
            f"recovery preset {preset.name}: {preset.tokens:,} tokens are asked for, the data hold "
            f"{rows * length:,} in whole rows of {length}"
        )
    return lay_out(preset, draft(used))


def lay_out(preset: Preset, drafts: Sequence[Draft]) -> list[Stage]:
    """Add the steps to the stages that a method has drafted.

    Raises:
        UserError: a stage has fewer rows than one step takes.
    """
    steps = [-(-(draft.stop - draft.start) // preset.batch) for draft in drafts]
    totals: dict[int, int] = {}
    for draft, count in zip(drafts, steps, strict=True):
        totals[draft.schedule] = totals.get(draft.schedule, 0) + count
    stages: list[Stage] = []
    done = dict.fromkeys(totals, 0)
    for number, (draft, count) in enumerate(zip(drafts, steps, strict=True), 1):
        share = draft.stop - draft.start
        if share < preset.batch:
            total = max(other.stop for other in drafts)
            needed = -(-total * preset.batch // max(1, share)) * preset.sequence_length
            raise UserError(
                f"too few tokens for one step per stage: stage {number} of {len(drafts)} gets "
                f"{share:,} rows of {preset.sequence_length}, one step takes {preset.batch}; "
                f"about {needed:,} tokens in all would do"
            )
        stages.append(
            Stage(
                number=number,
                kind=draft.kind,
                target=draft.target,
                start=draft.start,
                stop=draft.stop,
                first_step=sum(done.values()),
                steps=count,
                trained_steps=max(1, int(preset.handover * count)),
                schedule_step=done[draft.schedule],
                schedule_steps=totals[draft.schedule],
            )
        )
        done[draft.schedule] += count
    return stages


def planned_flops(preset: Preset, drafts: Sequence[Draft]) -> int:
    """Return the FLOPs of all training steps of a plan: 6N per token, 2N of a forward pass.

    N are parameters without the embedding that is looked up; attention scores, calibration and
    recomputed activations are left out, steps beyond a handover are not.
    """
    return sum(
        (draft.stop - draft.start)
        * preset.sequence_length
        * (6 * draft.parameters + 2 * draft.forward_parameters)
        for draft in drafts
    )


def _affordable(preset: Preset, rows: int, draft: Callable[[int], Sequence[Draft]]) -> int:
    """Return the most rows whose plan stays within the preset's FLOPs."""
    assert preset.flops is not None, "a budget in FLOPs"
    if planned_flops(preset, draft(rows)) < preset.flops:
        raise UserError(
            f"recovery preset {preset.name}: {preset.flops:g} FLOPs are asked for, all data pay "
            f"for {planned_flops(preset, draft(rows)):.3g}"
        )
    low, high = 0, rows
    while low < high:
        middle = (low + high + 1) // 2
        if planned_flops(preset, draft(middle)) <= preset.flops:
            low = middle
        else:
            high = middle - 1
    return low
