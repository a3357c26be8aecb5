"""What a comparison says, in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adaptprune.comparison.paired import ALL
from adaptprune.results.numerals import interval, print_p, ratio, ratio_interval, signed
from adaptprune.results.verdict import LEVEL

if TYPE_CHECKING:
    import pandas as pd


class Tally(NamedTuple):
    """Tasks on which the new method's mean is above, equal to, and below the baseline's."""

    wins: int
    ties: int
    losses: int

    def __str__(self) -> str:
        return f"{self.wins}/{self.ties}/{self.losses}"


def tally(comparison: pd.DataFrame) -> Tally:
    """Count the tasks of one pairing's rows by the mean over seeds."""
    tasks = comparison[(comparison["kind"] == "task") & (comparison["seed"] == ALL)]
    differences = tasks["difference"]
    wins, losses = int((differences > 1e-9).sum()), int((differences < -1e-9).sum())
    return Tally(wins, len(tasks) - wins - losses, losses)


def describe_average(row: pd.Series, method: str, baseline: str, remark: str) -> str:
    """Return the sentence on the average accuracy of one pairing.

    Args:
        row: its comparison over all seeds.
        method: title of the new method.
        baseline: title of the baseline.
        remark: on the seeds, may be empty.
    """
    shown = row["p_corrected"] < LEVEL
    at = f"at {int(row['sparsity'])} %"
    if not shown:
        verdict = f"No difference between {method} and {baseline} is shown {at}"
    elif row["difference"] > 0:
        verdict = f"{method} is better than {baseline} {at}"
    else:
        verdict = f"{method} is worse than {baseline} {at}"
    return (
        f"{verdict}: {signed(row['difference'])} points, 95 % interval "
        f"{interval(row['low'], row['high'])}, corrected p (Holm) "
        f"{print_p(row['p_corrected'])}{remark}."
    )


def describe_perplexity(row: pd.Series, baseline: str) -> str:
    """Return the sentence on the perplexity of one pairing, which follows that on the average."""
    shown = row["p_corrected"] < LEVEL
    verdict = "lower" if row["difference"] < 1 else "higher"
    verdict = f"is {verdict}" if shown else "is not shown to differ"
    return (
        f"Its perplexity {verdict}: {ratio(row['difference'])} times that of {baseline}, "
        f"95 % interval {ratio_interval(row['low'], row['high'])}, "
        f"corrected p (Holm) {print_p(row['p_corrected'])}."
    )


def agreeing_seeds(seeds: pd.DataFrame, difference: float) -> str:
    """Say at how many seeds the average differs in the direction of the mean over seeds."""
    if len(seeds) < 2:
        return ""
    same = int((seeds["difference"] * difference > 0).sum())
    return f" (in this direction at {same} of {len(seeds)} seeds)"
