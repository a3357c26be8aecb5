"""The numbers that results/README.md prints are those of the stored matrix, rightly rounded."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.evaluation.suites import load_suite
from adaptprune.pruning.registry import METHODS, method_title
from adaptprune.results.rows import labels_of, read_results
from adaptprune.tables.arrange import build_grid
from adaptprune.tables.declared import Row
from adaptprune.tables.measures import columns_of

if TYPE_CHECKING:
    from adaptprune.tables.grid import Entry, Grid
from adaptprune.workflow.profiles import load_profile

RESULTS = Path(__file__).parent.parent / "results"
SUITE = load_suite("commonsense-offline")
README = (RESULTS / "README.md").read_text()
#: Sparsity, title, parameters, average accuracy and perplexity, as they are printed.
LINE = re.compile(r"\| (\d+) % \| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|")
POWER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def printed_lines() -> dict[tuple[int, str], tuple[str, str, str]]:
    return {
        (int(sparsity), title): (params, average, perplexity)
        for sparsity, title, params, average, perplexity in LINE.findall(README)
    }


@functools.cache
def stored_grid() -> Grid:
    """Return the numbers of all methods, straight from the results."""
    results = read_results(RESULTS / "offline.csv")
    profile = load_profile(RESULTS.parent / "config", "offline")
    stored = set(labels_of(results))
    methods = [name for name in METHODS.installed() if name in stored]
    methods += sorted(stored - set(methods))
    grid = build_grid(
        results,
        columns_of(SUITE),
        [Row(method=method, title=method_title(method)) for method in methods],
        models=["smollm2-135m"],
        sparsities=profile.all_sparsities,
        seeds=profile.seeds,
        has=profile.has,
    )
    lacking = pd.read_csv(RESULTS / "offline.not-run.csv", keep_default_na=False)
    keys = zip(lacking["model"], labels_of(lacking), lacking["sparsity"], strict=True)
    listed = {f"{model}/{label}/{sparsity}/none" for model, label, sparsity in keys}
    assert {missing.rpartition("/")[0] for missing in grid.missing} <= listed
    return grid


def measured() -> dict[tuple[int, str], dict[str, Entry]]:
    """Return the table's entries by sparsity and title; none of rows of which no cell was run."""
    assert SUITE.perplexity is not None
    return {
        (row.sparsity, row.title): {
            "params": row.entries["params"],
            "average": row.entries["average"],
            "perplexity": row.entries[SUITE.perplexity.task],
        }
        for row in stored_grid().rows
        if row.entries["params"].value is not None
    }


def is_rounded(text: str, value: float) -> bool:
    """Say whether a printed number is a value, rounded to as many digits as are printed."""
    digits, _, power = text.replace(",", "").partition("·10")
    scale = 10.0 ** int(power.translate(POWER) or 0)
    decimals = len(digits.partition(".")[2])
    return f"{value / scale:.{decimals}f}" == digits and (float(digits) == 0) == (value == 0)


def check(text: str, entry: Entry, spread: bool = True) -> None:
    """Compare ``mean ± std``, or a mean, with an entry; only a zero deviation is printed as 0."""
    mean, _, std = text.partition(" ± ")
    assert entry.value is not None
    assert is_rounded(mean, entry.value), f"{mean} is not {entry.value}"
    assert bool(std) == (entry.std is not None and spread)
    if entry.std is not None and spread:
        # Equal numbers have a deviation that is zero but for the rounding of their mean.
        deviation = entry.std if entry.std > 1e-9 * entry.value else 0.0
        assert is_rounded(std, deviation), f"± {std} is not {entry.std}"


def test_every_row_of_the_matrix_is_printed() -> None:
    assert set(printed_lines()) == set(measured())


def test_the_printed_numbers_are_those_of_the_matrix() -> None:
    printed = printed_lines()
    for place, entries in measured().items():
        params, average, perplexity = printed[place]
        value = entries["params"].value
        assert value is not None
        assert params == f"{value / 1e6:.1f}M"
        check(average, entries["average"])
        check(perplexity, entries["perplexity"])


def test_the_printed_standard_error_and_conditions_are_those_of_the_matrix() -> None:
    (printed,) = re.findall(r"the standard error of one average .*? is ([\d.]+)\s", README)
    stderr = stored_grid().average_stderr
    assert stderr is not None
    assert is_rounded(printed, stderr)
    results = read_results(RESULTS / "offline.csv")
    numbers = results[results["status"] == "ok"].drop_duplicates("task").set_index("task")["n"]
    assert SUITE.perplexity is not None
    assert {numbers[task.task] for task in SUITE.tasks} == {200}
    assert numbers[SUITE.perplexity.task] == 60
    assert "200 documents of each of seven BIG-bench tasks and 60 passages" in README
    assert set(results["calibration"]) - {""} == {"bigbench-prose 64x64"}
    assert "calibrated on 64 × 64 tokens of prose" in README
