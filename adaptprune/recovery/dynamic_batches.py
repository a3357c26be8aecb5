"""Dynamic batch loading (Algorithm 1 of ShearedLLaMA, arXiv 2310.06694): rows by domain weights.

Domains whose loss exceeds its reference by more get more of the next batches. Where the released
code draws the domain of every row at random, rows are dealt out here in proportion to the weights,
so that a place in the data is a handful of numbers. A domain that is used up begins again, as in
the released code. Torch-free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pydantic

from adaptprune.errors import UserError
from adaptprune.files.declared import Closed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Share of the weight that is spread evenly over the domains, "following DoReMi".
SMOOTHING = 1e-4


class DynamicBatches(Closed):
    """How a method that is not ShearedLLaMA loads its batches dynamically.

    Args:
        every: steps between two updates of the domain weights (ShearedLLaMA's scripts: 400).
        held_out_rows: rows of each domain that its loss is measured on, never trained on (ours).
        reference_losses: loss (nats) that each domain is to reach, by the domain's name; None
            measures those of the model that the training begins with, on the held-out rows.
        clip_excess: count a loss below its reference as equal to it.
    """

    every: int = pydantic.Field(400, ge=1)
    held_out_rows: int = pydantic.Field(32, ge=1)
    reference_losses: dict[str, float] | None = None
    clip_excess: bool = False


def updated_weights(
    weights: Sequence[float],
    losses: Sequence[float],
    references: Sequence[float],
    *,
    clipped: bool = False,
) -> list[float]:
    """Return the domains' next weights: w·exp(loss − reference), normalised and smoothed.

    Args:
        weights: present weight of each domain, sum 1.
        losses: present loss of each domain (nats).
        references: loss that each domain is to reach (nats).
        clipped: count a loss below its reference as equal to it (Algorithm 1 as printed); the
            released code does not.
    """
    excess = np.subtract(losses, references)
    if clipped:
        excess = excess.clip(min=0)
    raised = np.asarray(weights) * np.exp(excess - excess.max())
    smoothed = (1 - SMOOTHING) * raised / raised.sum() + SMOOTHING / len(raised)
    return (smoothed / smoothed.sum()).tolist()


class DomainState(Closed):
    """Where dynamic batch loading stands.

    Args:
        weights: share of the next rows of each domain.
        credit: rows that each domain is owed; negative where it has had more than its share.
        used: rows that have been taken of each domain.
    """

    weights: list[float]
    credit: list[float]
    used: list[int]

    @classmethod
    def begin(cls, weights: Sequence[float]) -> DomainState:
        """Return the state before the first row."""
        return cls(weights=list(weights), credit=[0.0] * len(weights), used=[0] * len(weights))


class DomainRows:
    """The rows of every domain in a seeded order, the first of which are held out.

    Args:
        domains: domain of each row of the data [rows].
        names: of the domains, by number.
        held_out: rows of each domain that are never trained on.
        seed: of the order.

    Raises:
        UserError: a domain has no row left to train on.
    """

    def __init__(self, domains: np.ndarray, names: Sequence[str], held_out: int, seed: int):
        self.names = list(names)
        shuffled = np.random.default_rng(seed).permutation(len(domains))
        ordered = [shuffled[domains[shuffled] == number] for number in range(len(self.names))]
        for name, rows in zip(self.names, ordered, strict=True):
            if len(rows) <= held_out:
                raise UserError(
                    f"domain {name!r} holds {len(rows)} rows, {held_out} of each are held out; "
                    "give more of it, or hold out fewer"
                )
        self.held_out = [rows[:held_out] for rows in ordered]
        self._training = [rows[held_out:] for rows in ordered]

    @property
    def sizes(self) -> list[int]:
        """Rows of each domain that may be trained on."""
        return [len(rows) for rows in self._training]

    def proportions(self) -> list[float]:
        """Return each domain's share of the training rows."""
        return [size / sum(self.sizes) for size in self.sizes]

    def take(self, state: DomainState, count: int) -> tuple[np.ndarray, DomainState]:
        """Deal out the next rows: each to the domain that is owed most, the first of equals.

        Args:
            state: where the loading stands.
            count: rows wanted.

        Returns:
            Numbers of rows of the data [count], and the state after them.
        """
        credit, used = list(state.credit), list(state.used)
        rows = np.empty(count, dtype=np.int64)
        for place in range(count):
            credit = [owed + weight for owed, weight in zip(credit, state.weights, strict=True)]
            domain = max(range(len(credit)), key=credit.__getitem__)
            training = self._training[domain]
            rows[place] = training[used[domain] % len(training)]
            credit[domain] -= 1
            used[domain] += 1
        return rows, state.model_copy(update={"credit": credit, "used": used})


def check_references(references: Mapping[str, float], names: Sequence[str]) -> list[float]:
    """Return reference losses in the order of the domains.

    Raises:
        UserError: a domain has none, or there is one of an unknown domain.
    """
    for name in references:
        if name not in names:
            raise UserError(
                f"reference_losses: {name!r} is no domain (domains: {', '.join(names)})"
            )
    missing = [name for name in names if not math.isfinite(references.get(name, math.nan))]
    if missing:
        raise UserError(f"reference_losses lack the domain {missing[0]!r}; name all or none")
    return [references[name] for name in names]
