"""The claims of the paper that a run can speak to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.papers.sparse_trainer.orders import ORDERS, judge_order
from adaptprune.results.stats import chance_over_seeds
from adaptprune.results.verdict import Outcome, Verdict, judge, not_run

if TYPE_CHECKING:
    from adaptprune.report.evidence import Evidence

#: What the tests of these claims are over.
JUDGED_BY = (
    "Two trainings are compared seed by seed, by the logarithm of their perplexity or by how much "
    "of their masks moves. Tests over seeds keep the text fixed and speak of it alone."
)

#: What is early and what is late: the first and the last quarter of the choices of masks (ours).
_QUARTER = 4


def judge_claims(evidence: Evidence) -> list[Verdict]:
    """Return the verdict on every claim."""
    return [*(judge_order(evidence, order) for order in ORDERS), annealing_explores(evidence)]


def annealing_explores(evidence: Evidence) -> Verdict:
    """Judge "modifies a higher percentage of the mask at the beginning" (6.7, Figure 4).

    And "enables a more stable mask towards the end of training": by the mean flip rate over the
    first and over the last quarter of the choices, annealed against static, paired by seed.
    """
    claim = "Annealing moves more of the masks early than a static decay, and settles later on."
    printed = "In words and curves alone (6.7, Figure 4)."
    path = evidence.of("ast_fig4").generated / "figures" / "ast_fig4.csv"
    if not path.is_file():
        return not_run(claim, "ast_fig4", printed)
    early, late = _gains(pd.read_csv(path))
    numbers = [
        f"Flip rate of the first quarter: {100 * early.mean():+.3g} points with annealing, "
        f"{len(early)} seeds.",
        f"Flip rate of the last quarter: {100 * -late.mean():+.3g} points.",
    ]
    if len(early) < 2:
        reason = "One seed says nothing of chance."
        return Verdict(claim, Outcome.OPEN, reason, numbers, printed)
    gains = [early.to_list(), late.to_list()]
    outcome = judge([early.mean(), late.mean()], [chance_over_seeds(gain) for gain in gains])
    return Verdict(claim, outcome, "Both differences, over the seeds.", numbers, printed)


def _gains(data: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return by seed how much more annealing flips early, and how much less late."""
    steps = sorted(data["step"].unique())
    quarter = max(1, len(steps) // _QUARTER)
    differences = []
    for chosen in (steps[:quarter], steps[-quarter:]):
        part = data[data["step"].isin(chosen)]
        means = part.pivot_table(index="seed", columns="annealing", values="flip_rate")
        differences.append(means["annealed"] - means["static"])
    return differences[0], -differences[1]
