"""Claims of the paper that one training gives a lower perplexity than another."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.results.rows import labels_of, profile_results
from adaptprune.results.stats import chance_over_seeds
from adaptprune.results.verdict import Outcome, Verdict, judge, not_run

if TYPE_CHECKING:
    import pandas as pd

    from adaptprune.report.evidence import Evidence


@dataclass(frozen=True)
class Order:
    """A claimed order of perplexities.

    Args:
        claim: in one sentence.
        printed: where, and what is printed.
        table: whose run can speak to it.
        pairs: what is lower, and than what: beginnings of the names of recoveries, or methods of
            cells without a recovery.
    """

    claim: str
    printed: str
    table: str
    pairs: tuple[tuple[str, str], ...]


def _against(ours: str, *others: str) -> tuple[tuple[str, str], ...]:
    return tuple((ours, other) for other in others)


_PATTERNS = ("any-half", "sixteen-of-32", "eight-of-16", "four-of-8", "ast-boosted", "one-of-2")
ORDERS = (
    Order(
        "AST is ahead of one-shot pruning, and of iterative and gradual magnitude pruning.",
        "Table 1: on all of 7 models.",
        "ast_table1",
        _against(
            "ast-naive", "wanda@2-4", "sparsegpt@2-4", "iterative-magnitude", "gradual-magnitude"
        ),
    ),
    Order(
        "SLoRB improves on AST alone.",
        "Table 1: on all of 7 models.",
        "ast_table1",
        _against("ast-boosted", "ast-naive"),
    ),
    Order(
        "Of the parts of AST, distillation matters most.",
        "Table 4: without it 39.29, a static decay 32.84, a fixed mask 32.93 (GPT2-124M).",
        "ast_table4",
        (("static", "no-teacher"), ("fixed", "no-teacher")),
    ),
    Order(
        "An annealed decay is better than a static one.",
        "Table 4: 32.23 and 32.84 (GPT2-124M).",
        "ast_table4",
        _against("ast-naive", "static"),
    ),
    Order(
        "A mask that is learnt is better than a fixed one.",
        "Table 4: 32.23 and 32.93 (GPT2-124M).",
        "ast_table4",
        _against("ast-naive", "fixed"),
    ),
    Order(
        "Retraining with the task's loss alone ends higher than with distillation (the retraining "
        "dilemma).",
        "Figure 2 and Table 4: 32.23 and 39.29 (GPT2-124M).",
        "ast_table4",
        _against("ast-naive", "no-teacher"),
    ),
    Order(
        "KL is enough: losses on intermediate outputs are harmful.",
        "Table 5: 32.23 against 41.19 to 44.87 (GPT2-124M).",
        "ast_table5",
        _against("ast-naive", "tinybert", "mobilebert", "squarehead"),
    ),
    Order(
        "Looser patterns are better.",
        "Table 7: 32.56 at 1:2 down to 30.18 without a pattern (GPT2-124M).",
        "ast_table7",
        tuple(itertools.pairwise(_PATTERNS)),
    ),
    Order(
        "SLoRB's mean initialisation converges faster.",
        "Table 9: 31.78 against 31.82 and 32.93 after half of the tokens (GPT2-124M).",
        "ast_table9",
        _against("mean-half", "xavier-half", "zero-half"),
    ),
    Order(
        "Magnitude ranks weights better than Wanda's and SparseGPT's metrics.",
        "Table 13: 32.23 against 32.51 and 32.58 (GPT2-124M).",
        "ast_table13",
        _against("ast-naive", "by-wanda", "by-sparsegpt"),
    ),
)


def judge_order(evidence: Evidence, order: Order) -> Verdict:
    """Judge one order: every pair, on every model, paired over seeds."""
    shown = evidence.of(order.table)
    path = shown.source.folder / f"results-{order.table}.csv"
    if not path.is_file():
        return not_run(order.claim, order.table, order.printed)
    text = shown.suite.perplexity
    rows = profile_results(path, shown.source.name)
    rows = rows[(rows["task"] == text.task) & (rows["metric"] == text.metric)] if text else rows[:0]
    found = {
        (model, pair): changes
        for model in dict.fromkeys(rows["model"])
        for pair in order.pairs
        if (changes := _changes(rows[rows["model"] == model], *pair))
    }
    numbers = [
        f"{model}, {better} against {worse}: {100 * (math.exp(-_mean(changes)) - 1):+.2f} % in "
        f"perplexity, {len(changes)} seeds."
        for (model, (better, worse)), changes in found.items()
    ]
    if not found:
        reason = "None of its pairs was run."
        return Verdict(order.claim, Outcome.NOT_RUN, reason, [], order.printed)
    if any(len(changes) < 2 for changes in found.values()):
        reason = "One seed says nothing of chance."
        return Verdict(order.claim, Outcome.OPEN, reason, numbers, order.printed)
    gains = list(found.values())
    outcome = judge([_mean(gain) for gain in gains], [chance_over_seeds(gain) for gain in gains])
    lacking = [pair for pair in order.pairs if pair not in {pair for _, pair in found}]
    if lacking and outcome != Outcome.REFUTED:
        pairs = "; ".join(f"{better} against {worse}" for better, worse in lacking)
        reason = f"Without numbers: {pairs}."
        return Verdict(order.claim, Outcome.NOT_RUN, reason, numbers, order.printed)
    return Verdict(order.claim, outcome, "Every pair, over the seeds.", numbers, order.printed)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _changes(rows: pd.DataFrame, better: str, worse: str) -> list[float]:
    """Return by seed how much lower the logarithm of the perplexity is."""
    low, high = _perplexities(rows, better), _perplexities(rows, worse)
    return [math.log(high[seed]) - math.log(low[seed]) for seed in sorted(low.keys() & high.keys())]


def _perplexities(rows: pd.DataFrame, name: str) -> dict[int, float]:
    """Return the perplexity by seed of the recovery whose name begins so, or of a method."""
    trained = rows["recovery"].str.fullmatch(f"{name}(-[a-z0-9-]+)?")
    chosen = rows[trained | ((rows["recovery"] == "none") & (labels_of(rows) == name))]
    return {int(row["seed"]): float(row["value"]) for _, row in chosen.iterrows()}
