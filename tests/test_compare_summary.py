"""The verdicts count like with like alone, and the picture shows every difference."""

from __future__ import annotations

import pandas as pd
import pytest

from adaptprune.comparison.paired import ALL, COLUMNS, Place
from adaptprune.comparison.panels import PairNames
from adaptprune.comparison.summary import (
    Against,
    forests_of,
    set_against,
    size_warnings,
    sizes_of,
    verdicts_of,
)

AT = Place("tiny-llama", "none", 20)
TITLES = {"mine": "Mine", "flap": "FLAP", "slicegpt": "SliceGPT", "random": "Random"}
TITLES |= {"wanda": "Wanda", "llm-pruner": "LLM-Pruner"}
NAMES = PairNames({"mine": "Mine"}, TITLES)


def against(baseline: str, difference: float, p: float, larger: float = 0.0) -> Against:
    ends = (difference - 1, difference + 1)
    return Against(AT, "mine", baseline, difference, *ends, p, larger, baseline == "wanda")


def test_baselines_of_another_size_or_family_are_named_apart() -> None:
    found = [
        against("flap", 2.0, 0.01),
        against("random", 0.5, 0.05),
        against("llm-pruner", -3.0, 0.001, larger=-0.03),
        against("slicegpt", 4.0, 0.001, larger=-0.2),
        against("wanda", -0.1, 0.9, larger=0.25),
    ]
    assert verdicts_of(found, NAMES, several=False) == [
        "At 20 %: better than 1 of 3 baselines, worse than 1, 1 undecided. Not counted: SliceGPT "
        "(+25.0 % nonzeros): better, +4.0 points; Wanda (another family, −20.0 % nonzeros): "
        "undecided, −0.1 points."
    ]
    assert verdicts_of(found[3:4], NAMES, several=True)[0].startswith(
        "Mine on tiny-llama, at 20 %: no baseline of like size and family. Not counted: SliceGPT"
    )


def test_sizes_are_means_over_seeds_and_families_are_the_methods() -> None:
    row = {"model": "tiny-llama", "recovery": "none", "sparsity": 20}
    sizes = sizes_of(
        pd.DataFrame(
            [
                row | {"method": "llm-pruner", "seed": 0, "nonzeros": 100},
                row | {"method": "llm-pruner", "seed": 1, "nonzeros": 110},
                row | {"method": "wanda (old)", "seed": 0, "nonzeros": 210},
            ]
        )
    )
    assert sizes == {(AT, "llm-pruner"): 105.0, (AT, "wanda (old)"): 210.0}
    line = dict.fromkeys(COLUMNS, 0.0) | row | {"kind": "average", "seed": ALL}
    line |= {"method": "llm-pruner", "baseline": "wanda", "difference": 1.5}
    line |= {"low": 1.0, "high": 2.0, "p_corrected": 0.04}
    of_a_seed = line | {"seed": "0"}
    (found,) = set_against(pd.DataFrame([of_a_seed, line]), "{} (old)".format, sizes)
    assert found.larger == pytest.approx(-0.5)
    assert (found.is_of_another_family, found.is_of_another_size) == (True, True)
    assert found.outcome == "better"


def test_the_picture_is_to_scale() -> None:
    found = [against("flap", 2.0, 0.01), against("slicegpt", -1.0, 0.5, larger=0.1)]
    (forest,) = forests_of(found, NAMES, several=False)
    better, undecided = forest.lines
    assert (better.label, better.text) == ("FLAP", "+2.0 [1.0, 3.0]")
    assert (undecided.label, undecided.outcome) == ("SliceGPT*", "undecided")
    assert better.x - forest.zero == pytest.approx(2 * (forest.zero - undecided.x), abs=0.2)
    assert [text for _, text in forest.ticks] == ["−2.0", "0.0", "+3.0"]
    assert forest.ticks[2][0] == better.high
    assert better.low - forest.zero == pytest.approx((better.high - forest.zero) / 3, abs=0.2)


def test_a_line_is_named_once() -> None:
    found = [against("flap", 2.0, 0.01), against("mine", 0.0, 1.0)]
    names = PairNames({"mine": "Mine"}, TITLES | {"mine": "Mine (a long name of a file)"})
    (forest,) = forests_of(found, names, several=True)
    assert [line.label for line in forest.lines] == ["Mine – FLAP", "Mine"]


def test_other_sizes_at_equal_sparsity_are_warned_of() -> None:
    found = [
        against("flap", 2.0, 0.01, larger=0.03),
        against("slicegpt", 4.0, 0.001, larger=-0.2),
        against("wanda", -0.1, 0.9, larger=0.25),
    ]
    assert size_warnings(found, NAMES) == [
        "At 20 %, beside Mine on tiny-llama: SliceGPT +25.0 %, Wanda −20.0 % nonzero parameters."
    ]
    assert size_warnings(found[:1], NAMES) == []
