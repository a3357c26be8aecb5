"""The claims of the paper that a run can speak to: each is one function, listed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.papers.adapt_pruner import other_claims, pruner_claims
from adaptprune.papers.adapt_pruner.evidence import PruningEvidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.report.evidence import Evidence
    from adaptprune.results.verdict import Verdict

#: What the tests of these claims are over.
JUDGED_BY = (
    "Comparisons with the baselines are paired over documents and corrected for their number "
    "(Tables 1 and 7): they speak of other documents of the same kind. Tests over seeds (Table 8, "
    "trained models) keep the documents fixed and speak of these alone."
)

#: In printed order, each with the table or figure whose run it is judged by. A docstring says where
#: the paper makes the claim, and how it is judged.
CLAIMS: tuple[tuple[Callable[[PruningEvidence], list[Verdict]], str], ...] = (
    (pruner_claims.best_average, "table1"),
    (pruner_claims.margin, "table1"),
    (pruner_claims.widest_gap, "table1"),
    (pruner_claims.lowest_perplexity, "table1"),
    (pruner_claims.best_amplitude, "table8"),
    (other_claims.lower_layers, "fig1"),
    (other_claims.best_interleaving, "ablation_interleave"),
    (other_claims.better_than_rivals, "table4"),
    (other_claims.better_than_pruning_once, "table4"),
    (other_claims.recovers_family, "table3"),
)


def judge_claims(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on every claim."""
    run = PruningEvidence.from_run(evidence)
    return [verdict for claim, name in CLAIMS for verdict in claim(run.of(name))]
