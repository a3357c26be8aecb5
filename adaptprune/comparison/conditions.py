"""What must be equal before two results files may be compared; known in part before any work."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.cells import split_variant
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.pruning.registry import find_method
from adaptprune.results.conditions import OF_METHOD, SOURCE, check_comparable, minor_version
from adaptprune.results.rows import read_results

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptprune.workflow.profiles import Profile


def check_between(baseline: pd.DataFrame, new: pd.DataFrame, sources: tuple[str, str]) -> None:
    """Refuse two results files that were not measured under equal conditions.

    The version and the parameters of a method may differ: what a change brought can be asked.

    Args:
        baseline: rows of the one file.
        new: rows of the other.
        sources: what the files are called.

    Raises:
        UserError: naming the condition that differs, its two values and their files.
    """
    suites = [set(rows["suite"]) - {""} for rows in (baseline, new)]
    if len(suites[0] | suites[1]) > 1:
        values = [", ".join(sorted(names)) or "none" for names in suites]
        raise UserError(
            f"mixed conditions: suite is {values[0]} in {sources[0]} but {values[1]} in "
            f"{sources[1]}; run both under the same conditions"
        )
    both = pd.concat(
        [baseline.assign(**{SOURCE: sources[0]}), new.assign(**{SOURCE: sources[1]})],
        ignore_index=True,
    )
    check_comparable(both, apart_from=OF_METHOD)


def _differs(condition: str, stored: object, planned: object, sources: tuple[str, str]) -> None:
    if str(stored) != str(planned):
        raise UserError(
            f"mixed conditions: {condition} is {stored} in {sources[0]} but {planned} in "
            f"{sources[1]}; compare under the conditions of the stored baselines"
        )


def _check_listed(kind: str, planned: Iterable[object], stored: pd.Series, source: str) -> None:
    known = sorted(set(stored))
    for value in planned:
        if value not in known:
            raise UserError(
                f"{source}: holds no baselines of {kind} {value} "
                f"(allowed: {', '.join(map(str, known))})"
            )


def check_stored(profile: Profile, method: str, stored: str) -> None:
    """Do what ``check_plan`` does with the rows of a results file.

    Raises:
        UserError: see there; or the file cannot be read.
    """
    check_plan(profile, method, read_results(Path(stored)), stored)


def check_plan(profile: Profile, method: str, baseline: pd.DataFrame, source: str) -> None:
    """Refuse, before any work, a run whose results could not be compared with stored ones.

    What only a run shows (hashes of the model, the documents and the calibration set) is checked
    when it is compared.

    Args:
        profile: that the new method's cells will be computed with.
        method: ``name`` or ``name@variant`` of the new method.
        baseline: the stored rows.
        source: what their file is called.

    Raises:
        UserError: the stored rows hold no such model, sparsity or seed, or differ in a condition.
    """
    if split_variant(method)[0] == "dense":
        raise UserError("config key method: dense is no method to compare; it is in the baselines")
    rows = baseline[baseline["status"] == "ok"]
    pruned = rows[rows["sparsity"] > 0]
    _check_listed("model", profile.models, rows["model"], source)
    _check_listed("sparsity", profile.sparsities_of(method), pruned["sparsity"], source)
    _check_listed("seed", profile.seeds, pruned["seed"], source)
    sources = (source, "this run")
    suite, asked = load_suite(profile.evaluation.suite), profile.evaluation
    planned = {
        "suite": suite.name,
        "dtype": profile.dtype,
        "device": profile.device.split(":")[0],
    }
    for condition, value in planned.items():
        for stored in sorted(set(rows[condition])):
            _differs(condition, stored, value, sources)
    for condition, package in (("lm_eval", "lm-eval"), ("transformers", "transformers")):
        for stored in sorted(set(rows[condition]) - {""}):
            installed = importlib.metadata.version(package)
            _differs(condition, minor_version(stored), minor_version(installed), sources)
    if find_method(split_variant(method)[0]).needs_calibration and "@" not in method:
        drawn = profile.calibration_of(method)
        set_size = f"{drawn.dataset} {drawn.sequences}x{drawn.length}"
        plain = pruned[(pruned["variant"] == "") & (pruned["calibration"] != "")]
        for stored in sorted(set(plain["calibration"])):
            _differs("calibration", stored, set_size, sources)
    counts = rows.dropna(subset=["n"]).groupby("task")["n"].max()
    for benchmark in suite.tasks:
        documents = min(benchmark.documents, asked.documents_per_task or benchmark.documents)
        if benchmark.task in counts:
            condition = f"number of documents of {benchmark.task}"
            _differs(condition, counts[benchmark.task], documents, sources)
