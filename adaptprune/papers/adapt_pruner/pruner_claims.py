"""Claims about Adapt-Pruner against other pruners (Tables 1, 7 and 8), paired over documents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from adaptprune.comparison.paired import ALL, Place
from adaptprune.comparison.words import describe_average, describe_perplexity
from adaptprune.papers.adapt_pruner.evidence import BASELINES, OURS, PruningEvidence
from adaptprune.pruning.registry import method_title
from adaptprune.results.numerals import interval, signed
from adaptprune.results.stats import bootstrap_mean
from adaptprune.results.verdict import Outcome, Verdict, judge, not_run
from adaptprune.tables.grid import with_seeds
from adaptprune.tables.peak import peak_verdicts

if TYPE_CHECKING:
    import pandas as pd

#: "by an average of 1%-7% in accuracy on commonsense benchmarks" (abstract).
MARGIN = (1.0, 7.0)
#: "especially at 40% sparsity level" (appendix B.1).
WIDEST = 40

_REASONS = {
    Outcome.HOLDS: "Every difference is larger than chance explains.",
    Outcome.REFUTED: "At least one difference points the other way by more than chance explains.",
    Outcome.OPEN: "Not every difference is larger than chance explains.",
}
#: Whose numbers Table 1 prints.
_PRINTED_MODEL = "LLaMA-3.1-8B"
_LACKING = "Not all of Adapt-Pruner, LLM-Pruner, FLAP and SliceGPT have results to be compared."


def _where(evidence: PruningEvidence, place: Place) -> str:
    """Return what a claim is judged on, and that it is fewer seeds than were asked for."""
    found, asked = len(evidence.seeds(place)), len(evidence.source.profile.seeds)
    return with_seeds(f"{place.model} at {place.sparsity} %", found, asked)


def _rows(evidence: PruningEvidence, place: Place, kind: str) -> pd.DataFrame:
    """Return the comparisons over all seeds at one place, one row per baseline."""
    table = evidence.comparison
    chosen = (table["model"] == place.model) & (table["sparsity"] == place.sparsity)
    return table[chosen & (table["kind"] == kind) & (table["seed"] == ALL)]


def _printed(evidence: PruningEvidence, sparsity: int, key: str) -> dict[str, float]:
    """Return what Table 1 prints at a sparsity, by method, the paper's own first."""
    table = evidence.published
    rows = table[
        (table["table_arxiv"] == 1) & (table["sparsity"] == sparsity) & (table["key"] == key)
    ]
    values = dict(zip(rows["method"], rows["value"], strict=True))
    return {method: values[method] for method in (OURS, *BASELINES) if method in values}


def _quote(values: dict[str, float]) -> str:
    listed = ", ".join(f"{method_title(method)} {value:.2f}" for method, value in values.items())
    return f"{_PRINTED_MODEL}: {listed}." if listed else "Nothing at this sparsity."


def _printed_lead(evidence: PruningEvidence, sparsity: int) -> float | None:
    values = _printed(evidence, sparsity, "average")
    if OURS not in values:
        return None
    return values[OURS] - max(value for method, value in values.items() if method != OURS)


def _quote_leads(evidence: PruningEvidence, sparsities: list[int]) -> str:
    leads = {sparsity: _printed_lead(evidence, sparsity) for sparsity in sparsities}
    listed = [f"{signed(lead, 2)} at {at} %" for at, lead in leads.items() if lead is not None]
    return f"{_PRINTED_MODEL}: {', '.join(listed)}." if listed else "Nothing at this sparsity."


def best_average(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "Adapt-Pruner outperforms all baselines by a non-trivial margin" (4.1, Table 1)."""
    claim, verdicts = "Adapt-Pruner has the best average accuracy.", []
    for place in evidence.places:
        where = _where(evidence, place)
        printed = _quote(_printed(evidence, place.sparsity, "average"))
        rows = _rows(evidence, place, "average")
        if set(rows["baseline"]) != set(BASELINES):
            verdicts.append(Verdict(claim, Outcome.NOT_RUN, _LACKING, [], printed, where))
            continue
        corrected = list(rows["p_corrected"])
        outcome = judge(list(rows["difference"]), corrected, corrected)
        numbers = [
            describe_average(row, method_title(OURS), method_title(row["baseline"]), "")
            for _, row in rows.iterrows()
        ]
        verdicts.append(Verdict(claim, outcome, _REASONS[outcome], numbers, printed, where))
    return verdicts


def lowest_perplexity(evidence: PruningEvidence) -> list[Verdict]:
    """Judge whether Adapt-Pruner has the lowest perplexity, as in all of Table 1 but SliceGPT's."""
    claim, verdicts = "Adapt-Pruner has the lowest perplexity.", []
    for place in evidence.places:
        where = _where(evidence, place)
        printed = _quote(_printed(evidence, place.sparsity, "wikitext"))
        rows = _rows(evidence, place, "perplexity")
        if set(rows["baseline"]) != set(BASELINES):
            verdicts.append(Verdict(claim, Outcome.NOT_RUN, _LACKING, [], printed, where))
            continue
        corrected = list(rows["p_corrected"])
        outcome = judge(list(-np.log(rows["difference"])), corrected, corrected)
        numbers = [
            describe_perplexity(row, method_title(row["baseline"])) for _, row in rows.iterrows()
        ]
        verdicts.append(Verdict(claim, outcome, _REASONS[outcome], numbers, printed, where))
    return verdicts


def margin(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "by an average of 1%-7% in accuracy" (abstract): the lead over the best baseline."""
    claim, verdicts = "Adapt-Pruner leads the next best method by 1 to 7 points.", []
    for place in evidence.places:
        where = _where(evidence, place)
        printed = _quote_leads(evidence, [place.sparsity])
        rows = _rows(evidence, place, "average")
        if set(rows["baseline"]) != set(BASELINES):
            verdicts.append(Verdict(claim, Outcome.NOT_RUN, _LACKING, [], printed, where))
            continue
        row = rows.loc[rows["difference"].idxmin()]
        number = (
            f"{signed(row['difference'], 2)} points over {method_title(row['baseline'])}, 95 % "
            f"interval {interval(row['low'], row['high'], 2)}."
        )
        if row["low"] >= MARGIN[0] and row["high"] <= MARGIN[1]:
            outcome, reason = Outcome.HOLDS, "The whole interval lies within 1 to 7 points."
        elif row["high"] < MARGIN[0] or row["low"] > MARGIN[1]:
            outcome, reason = Outcome.REFUTED, "The whole interval lies outside of 1 to 7 points."
        else:
            outcome, reason = Outcome.OPEN, "The interval lies only partly within 1 to 7 points."
        verdicts.append(Verdict(claim, outcome, reason, [number], printed, where))
    return verdicts


def widest_gap(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "especially at 40% sparsity level" (B.1): the lead over the best baseline by sparsity.

    The leads at two sparsities are over the same documents, so their difference is bootstrapped
    over these, paired. The next best method is that of the highest average there.
    """
    claim = f"Adapt-Pruner's lead over the next best method is largest at {WIDEST} %."
    verdicts = []
    for model in dict.fromkeys(place.model for place in evidence.places):
        found = {p.sparsity: _lead(evidence, p) for p in evidence.places if p.model == model}
        leads = {sparsity: lead for sparsity, lead in found.items() if lead is not None}
        others = [sparsity for sparsity in leads if sparsity != WIDEST]
        printed = _quote_leads(evidence, [20, 40, 60])
        if WIDEST not in leads or len(others) < 2:
            reason = f"It takes results at {WIDEST} % and at two other sparsities."
            if len(leads) < len(found):
                reason = _LACKING
            verdicts.append(Verdict(claim, Outcome.NOT_RUN, reason, [], printed, model))
            continue
        if len({evidence.seeds(p) for p in evidence.places if p.model == model}) > 1:
            reason = "The leads are over different seeds."
            verdicts.append(Verdict(claim, Outcome.OPEN, reason, [], printed, model))
            continue
        gains, chances, numbers = [], [], []
        for sparsity in others:
            pairs = zip(leads[WIDEST], leads[sparsity], strict=True)
            gain = bootstrap_mean([here - there for here, there in pairs])
            gains.append(gain.estimate)
            chances.append(gain.p)
            numbers.append(
                f"{signed(100 * gain.estimate)} points more lead at {WIDEST} % than at "
                f"{sparsity} %, 95 % interval {interval(100 * gain.low, 100 * gain.high)}."
            )
        outcome = judge(gains, chances)
        verdicts.append(Verdict(claim, outcome, _REASONS[outcome], numbers, printed, model))
    return verdicts


def _lead(evidence: PruningEvidence, place: Place) -> list[np.ndarray] | None:
    """Return by how much each document is scored better than by the next best method, by task.

    The differences are averaged over the seeds; the next best method is that of the highest
    average accuracy.
    """
    rows = _rows(evidence, place, "average")
    if set(rows["baseline"]) != set(BASELINES):
        return None
    pairing = evidence.pairing(place, rows.loc[rows["difference"].idxmin(), "baseline"])
    lead = []
    for task in evidence.suite.tasks:
        scores = [pairing.accuracies(seed, task) for seed in pairing.seeds]
        lead.append(np.mean([ours - theirs for ours, theirs in scores], axis=0))
    return lead


def _by_amplitude(evidence: PruningEvidence) -> str:
    """Return the averages and perplexities that Table 8 prints."""
    table = evidence.published[evidence.published["table_arxiv"] == 8]
    listed = []
    for key, name in (("average", "Average"), ("wikitext", "WikiText2 perplexity")):
        rows = table[table["key"] == key]
        pairs = zip(rows["amplitude"], rows["value"], strict=True)
        listed.append(f"{name} " + ", ".join(f"{value:.2f} ({at:g})" for at, value in pairs))
    return "; ".join(listed)


def best_amplitude(evidence: PruningEvidence) -> list[Verdict]:
    """Judge "A = 0.02 achieves optimal performance" and its peak (B.2, Table 8)."""
    found = evidence.table("table8")
    claim = "An amplitude of 0.02 is best: results improve up to it and then degrade."
    printed = f"{_PRINTED_MODEL} at 50 % by amplitude. {_by_amplitude(evidence)}."
    if found is None:
        return [not_run(claim, "ablation_amplitude", printed)]
    declaration, grid = found
    assert declaration.peak is not None, "Table 8 declares its claim"
    return [
        replace(verdict, claim=claim, printed=printed)
        for verdict in peak_verdicts(declaration.peak, grid)
    ]
