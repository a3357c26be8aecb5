"""What a run says about a claim of a paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from adaptprune.results.stats import holm

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Error probability below which a difference counts as shown.
LEVEL = 0.05


class Outcome(StrEnum):
    """Whether a claim is borne out.

    What chance may have done decides nothing, nor does a number of one seed: that is ``OPEN``.
    ``NOT_RUN`` is what lacks the numbers to be judged by.
    """

    HOLDS = "holds"
    REFUTED = "does not hold"
    OPEN = "not decided"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Verdict:
    """One claim under the conditions of one run.

    Attributes:
        claim: the claim in one sentence, the same wherever it is judged.
        outcome: what the run says of it.
        reason: why, in one sentence.
        numbers: the measured numbers behind it, a sentence each.
        printed: what the paper prints.
        place: where it is judged, as far as there are several places: model, sparsity, measure.
        target: what snakemake is asked for to have it run, where that would help.
    """

    claim: str
    outcome: Outcome
    reason: str
    numbers: list[str] = field(default_factory=list)
    printed: str = ""
    place: str = ""
    target: str = ""


def not_run(claim: str, target: str, printed: str = "") -> Verdict:
    """Return the verdict on a claim whose run is not there.

    Args:
        claim: in one sentence.
        target: what snakemake is asked for to have it run.
        printed: what the paper prints.
    """
    return Verdict(claim, Outcome.NOT_RUN, "Its run is not there.", [], printed, target=target)


def judge(
    gains: Sequence[float], chances: Sequence[float], corrected: Sequence[float] | None = None
) -> Outcome:
    """Judge a claim that needs every one of several gains.

    That all are gains is as probable by chance as the least certain of them (an intersection-union
    test). One loss is enough against the claim, so losses are corrected for the number of tests.

    Args:
        gains: estimates, positive where they agree with the claim.
        chances: how probable so large a gain, or loss, is if there is none.
        corrected: the same, corrected for their number; by Holm's method where it is not given.

    Returns:
        ``HOLDS`` where every gain is shown, ``REFUTED`` where a loss is, else ``OPEN``.
    """
    losses = holm(chances) if corrected is None else corrected
    if any(gain <= 0 and loss < LEVEL for gain, loss in zip(gains, losses, strict=True)):
        return Outcome.REFUTED
    shown = [gain > 0 and chance < LEVEL for gain, chance in zip(gains, chances, strict=True)]
    return Outcome.HOLDS if shown and all(shown) else Outcome.OPEN
