"""The claim of Table 8: better with growing amplitude, then worse again."""

from __future__ import annotations

import pytest

from adaptprune.results.stats import summarize
from adaptprune.tables.declared import Peak
from adaptprune.tables.grid import Entry, Grid, TableRow
from adaptprune.tables.measures import Measure
from adaptprune.tables.peak import peak_sentence, peak_verdicts

AVERAGE = Measure("average", "Average", "accuracy", "mean")
PROSE = Measure("prose", "Prose ppl.", "perplexity", "word_perplexity")
PEAK = Peak(along="the amplitude", methods=["m@0", "m@1", "m@2"], best="m@1")


def sentence(column: Measure, peak: Peak = PEAK, **rows: list[float]) -> str:
    """Return the sentence about rows ``m0``, ``m1`` … with one value per seed."""
    grid = Grid([column])
    for name, values in rows.items():
        entry = Entry("missing")
        if values:
            summary = summarize(values)
            by_seed = dict(enumerate(values))
            entry = Entry("ok", summary.mean, summary.std, summary.count, by_seed=by_seed)
        method = f"m@{name[1:]}"
        row = TableRow("model", 50, method, f"A = {name[1:]}", "", {column.key: entry}, 1, 1)
        grid.rows.append(row)
    (found,) = peak_verdicts(peak, grid)
    return peak_sentence(found)


def test_a_clear_peak_holds() -> None:
    text = sentence(AVERAGE, m0=[30, 31, 30], m1=[40, 41, 41], m2=[35, 36, 35])
    assert "30.33 (A = 0), 40.67 (A = 1), 35.33 (A = 2); best at A = 1." in text
    assert text.endswith("over 3 seeds: the claim holds.")


def test_a_peak_within_the_spread_is_not_decided() -> None:
    text = sentence(AVERAGE, m0=[30, 35, 40], m1=[41, 34, 37], m2=[36, 35, 34])
    assert text.endswith("over 3 seeds: not decided.")


def test_a_better_row_in_between_is_against_the_claim() -> None:
    peak = Peak(along="the amplitude", methods=["m@0", "m@1", "m@2", "m@3"], best="m@2")
    rows = {"m0": [30, 31, 30], "m1": [45, 46, 45], "m2": [40, 41, 41], "m3": [35, 36, 35]}
    text = sentence(AVERAGE, peak, **rows)
    assert "best at A = 1. A = 2 is no better than A = 1, p = 0." in text
    assert text.endswith("over 3 seeds: the claim does not hold.")
    assert sentence(AVERAGE, peak, **rows | {"m1": [31, 32, 31]}).endswith("the claim holds.")


def test_both_ends_must_be_beaten() -> None:
    text = sentence(AVERAGE, m0=[30, 31, 30], m1=[40, 41, 41], m2=[45, 46, 45])
    assert "best at A = 2. A = 1 is no better than A = 2, p = 0." in text
    assert text.endswith("over 3 seeds: the claim does not hold.")


def test_a_loss_by_chance_decides_nothing() -> None:
    text = sentence(AVERAGE, m0=[30, 31, 30], m1=[40, 41, 41], m2=[39, 43.1, 40])
    assert "A = 1 is no better than A = 2" in text
    assert text.endswith("over 3 seeds: not decided.")


def test_a_lower_perplexity_is_better() -> None:
    text = sentence(PROSE, m0=[900, 950, 980], m1=[90, 92, 91], m2=[300, 310, 320])
    assert "best at A = 1" in text
    assert text.endswith("the claim holds.")
    text = sentence(PROSE, m0=[90, 92, 91], m1=[900, 950, 980], m2=[3000, 3100, 3200])
    assert "A = 1 is no better than A = 0" in text


def test_equal_gains_in_few_seeds_are_no_certainty() -> None:
    text = sentence(AVERAGE, m0=[30, 31], m1=[40, 41], m2=[35, 36])
    assert text.endswith("p = 0.5 over 2 seeds: not decided.")
    # Averages of percentages that are equal but for their last bits.
    gains = [0.985221674876847, 0.985221674876847, 0.9852216748768399]
    text = sentence(AVERAGE, m0=[0, 0, 0], m1=gains, m2=[-1, -2, -1.5])
    assert "p = 0.25 over 3 seeds: not decided." in text


def test_rows_are_compared_at_the_seeds_that_all_have() -> None:
    """The third seed of A = 1 would make its mean the best; the others were not run there."""
    text = sentence(AVERAGE, m0=[30, 31], m1=[40, 41, 99], m2=[45, 46])
    assert "30.50 (A = 0), 40.50 (A = 1), 45.50 (A = 2) (over seeds 0, 1, which all rows have)" in (
        text
    )
    assert "best at A = 2" in text


def test_one_seed_is_no_test_and_a_gap_is_told() -> None:
    assert sentence(AVERAGE, m0=[30], m1=[40], m2=[35]).endswith("in one seed: no test.")
    assert sentence(AVERAGE, m0=[30], m1=[40], m2=[]).endswith("a row has no number.")


def test_the_paper_s_own_numbers_bear_it_out() -> None:
    # Table 8, averages and WikiText2 perplexities at amplitudes 0, 0.02 and 0.04.
    assert "best at A = 1" in sentence(AVERAGE, m0=[36.24], m1=[44.07], m2=[40.21])
    assert "best at A = 1" in sentence(PROSE, m0=[621.03], m1=[90.80], m2=[314.90])


@pytest.mark.parametrize("missing", ["m0", "m2"])
def test_a_row_that_was_not_run_is_no_number(missing: str) -> None:
    rows = {"m0": [30.0], "m1": [40.0], "m2": [35.0]}
    del rows[missing]
    assert "not tested, a row has no number" in sentence(AVERAGE, **rows)
