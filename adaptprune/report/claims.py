"""The claims of the paper that a run can speak to: each is one function, listed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.report import other_claims, pruner_claims

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.report.evidence import Evidence
    from adaptprune.verdict import Verdict

#: In printed order. A docstring says where the paper makes the claim, and how it is judged.
CLAIMS: tuple[Callable[[Evidence], list[Verdict]], ...] = (
    pruner_claims.best_average,
    pruner_claims.margin,
    pruner_claims.widest_gap,
    pruner_claims.lowest_perplexity,
    pruner_claims.best_amplitude,
    other_claims.lower_layers,
    other_claims.best_interleaving,
    other_claims.better_than_rivals,
    other_claims.better_than_pruning_once,
    other_claims.recovers_family,
)


def judge_claims(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on every claim."""
    return [verdict for claim in CLAIMS for verdict in claim(evidence)]
