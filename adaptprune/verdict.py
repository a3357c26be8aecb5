"""What a run says about a claim of the paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Error probability below which a difference counts as shown.
LEVEL = 0.05


class Outcome(StrEnum):
    """Whether a claim is borne out; what chance may have done decides nothing."""

    HOLDS = "holds"
    REFUTED = "does not hold"
    OPEN = "not testable here"


@dataclass(frozen=True)
class Verdict:
    """One claim under the conditions of one run.

    Attributes:
        claim: the claim in one sentence.
        outcome: what the run says of it.
        reason: why, in one sentence.
        numbers: the measured numbers behind it, a sentence each.
        printed: what the paper prints.
    """

    claim: str
    outcome: Outcome
    reason: str
    numbers: list[str] = field(default_factory=list)
    printed: str = ""


def judge(gains: Sequence[float], chances: Sequence[float]) -> Outcome:
    """Judge a claim that needs every one of several gains.

    Args:
        gains: estimates, positive where they agree with the claim.
        chances: how probable so large a gain, or loss, is if there is none.

    Returns:
        ``HOLDS`` where every gain is shown, ``REFUTED`` where a loss is, else ``OPEN``.
    """
    shown = [(gain, chance < LEVEL) for gain, chance in zip(gains, chances, strict=True)]
    if any(gain <= 0 and certain for gain, certain in shown):
        return Outcome.REFUTED
    if shown and all(gain > 0 and certain for gain, certain in shown):
        return Outcome.HOLDS
    return Outcome.OPEN
