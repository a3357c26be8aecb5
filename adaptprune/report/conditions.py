"""What was run, on what, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from adaptprune.results.conditions import describe_cell
from adaptprune.results.matrix import cell_of, said_of_stored
from adaptprune.results.rows import CELL, read_results
from adaptprune.tables.select import cells_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptprune.cells import Cell
    from adaptprune.evaluation.suites import PerplexityTask, SuiteTask
    from adaptprune.report.evidence import Evidence


_PACKAGES = ("torch", "transformers", "lm_eval")


class Fact(NamedTuple):
    """One condition and its value, or values."""

    name: str
    value: str


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values} - {"", "nan", "<NA>"})) or "none"


def facts_of(evidence: Evidence) -> list[Fact]:
    """Return the conditions of the profile's results, and when and where they came about."""
    results, stages = evidence.matrix.results, evidence.matrix.provenance
    profile = evidence.source.profile
    computed = f"{_distinct(results['dtype'])} on {_distinct(results['device'])}"
    sparsities, seeds = (", ".join(map(str, v)) for v in (profile.sparsities, profile.seeds))
    return [
        Fact("Profile", profile.title),
        Fact("Profiles that stand in for it", _stand_ins(evidence)),
        Fact("Models", _hashed(results, "model", "model_hash")),
        Fact("Methods", ", ".join(profile.methods)),
        Fact("Sparsities and seeds", f"{sparsities} %; seeds {seeds}"),
        Fact("Calibration", _hashed(results, "calibration", "calibration_hash")),
        Fact("Precision and device", f"{computed}, {profile.threads} thread(s) per job"),
        Fact("Window", f"{_distinct(results['max_length'])} tokens"),
        Fact("Scorer", _distinct(results["scorer"])),
        Fact("Software", "; ".join(_version(results, name) for name in _PACKAGES)),
        Fact("Commit", _distinct(str(commit) for commit in stages["commit"])),
        Fact("Machines", _machines(stages)),
        Fact("Dates", _span(stages["date"])),
        Fact("Job time", _job_time(stages)),
        Fact("Rows", f"{len(results):,} in {evidence.source.results}{_stored(evidence)}"),
    ]


def _stored(evidence: Evidence) -> str:
    """Say where results were stored and not computed in this run."""
    stored = evidence.source.stored
    return f". {said_of_stored(stored)}" if stored else ""


def _stand_ins(evidence: Evidence) -> str:
    """Return the profiles that other tables were run in, each with those tables."""
    tables: dict[str, list[str]] = {}
    for table in evidence.tables:
        run = evidence.of(table).source
        is_run = (run.folder / f"results-{table}.csv").is_file()
        if is_run and run.name != evidence.source.name:
            tables.setdefault(run.profile.title, []).append(table)
    return "; ".join(f"{title} ({', '.join(names)})" for title, names in tables.items()) or "none"


def _hashed(results: pd.DataFrame, name: str, digest: str) -> str:
    """Return names with the beginnings of their hashes."""
    there = results[results[digest] != ""]
    parts = [
        f"{key} (sha256 {', '.join(sorted({value[:12] for value in rows[digest]}))})"
        for key, rows in there.groupby(name)
    ]
    return "; ".join(parts) or "none"


def _version(results: pd.DataFrame, name: str) -> str:
    return f"{name.replace('_', '-')} {_distinct(results[name])}"


def _machines(stages: pd.DataFrame) -> str:
    """Return every host with its CPU, cores, memory and GPUs, as far as they were recorded."""
    listed = []
    for (host, cpu), rows in stages[stages["host"] != ""].groupby(["host", "cpu"]):
        machine = rows.iloc[0]
        told = [cpu] if cpu else []
        if pd.notna(machine["cores"]):
            told.append(f"{machine['cores']:.0f} cores, {machine['memory_mb'] / 1024:.0f} GB")
        told += sorted(set(rows["gpu"]) - {""})
        listed.append(f"{host} ({', '.join(told)})" if told else host)
    return "; ".join(listed) or "none"


def _job_time(stages: pd.DataFrame) -> str:
    """Return the minutes of each stage summed over its jobs, scores that cells share left out."""
    minutes = stages.groupby("stage")["wall_s"].sum() / 60
    return "; ".join(f"{stage} {value:.1f} min" for stage, value in minutes.items())


def _span(dates: pd.Series) -> str:
    known = sorted(str(date) for date in dates if str(date) not in ("", "nan"))
    return f"{known[0]} to {known[-1]}" if known else "unknown"


def summary_of(evidence: Evidence) -> str:
    """Return in a sentence what was run: cells, models, methods, benchmarks, precision, device."""
    results, profile = evidence.matrix.results, evidence.source.profile
    cells, ok = profile.cells(), results[results["status"] == "ok"]
    done = {cell_of(row) for _, row in ok.drop_duplicates(CELL).iterrows()}
    sparsities = ", ".join(map(str, profile.sparsities))
    documents = ok.drop_duplicates(["task"])["n"].sum()
    methods = _counted(len(profile.methods), "method")
    parts = [
        f"{_distinct(profile.models)}, {methods} at {sparsities} %",
        _counted(len(profile.seeds), "seed"),
        f"{_counted(len(evidence.suite.tasks), 'benchmark')} with {documents:,.0f} documents",
        f"{_distinct(ok['dtype'])} on {_distinct(ok['device'])}",
    ]
    return f"{len(done & set(cells))} of {len(cells)} cells have their numbers: {'; '.join(parts)}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


class TaskFact(NamedTuple):
    """A benchmark as it was run."""

    title: str
    task: str
    metric: str
    version: str
    shots: str
    documents: str
    hash: str


def tasks_of(evidence: Evidence) -> list[TaskFact]:
    """Return every benchmark of the suite with the version, shots and documents of the results."""
    results, suite = evidence.matrix.results, evidence.suite
    listed: list[SuiteTask | PerplexityTask] = [*suite.tasks]
    listed += [suite.perplexity] if suite.perplexity else []
    facts = []
    for task in listed:
        rows = results[(results["task"] == task.task) & (results["metric"] == task.metric)]
        facts.append(
            TaskFact(
                task.title,
                task.task,
                task.metric,
                _distinct(rows["task_version"]),
                _distinct(rows["num_fewshot"]),
                _distinct(rows["n"]),
                _distinct(value[:12] for value in rows["task_hash"]),
            )
        )
    return facts


def problems_of(evidence: Evidence) -> list[str]:
    """Return the cells without a result: failed and skipped ones with reasons, missing ones.

    They are those of the profile's matrix, and of the tables with cells of their own that were run.
    """
    problems = _problems(evidence.matrix.results, evidence.source.profile.cells())
    for table in evidence.tables:
        run = evidence.of(table).source
        own = run.folder / f"results-{table}.csv"
        if own.is_file():
            cells = cells_of(evidence.declaration(table), run.profile, run.name)
            where = "" if run.name == evidence.source.name else f"profile {run.name}: "
            problems += [where + problem for problem in _problems(read_results(own), cells)]
    return list(dict.fromkeys(problems))


def _problems(results: pd.DataFrame, expected: Iterable[Cell]) -> list[str]:
    stopped = results[results["status"] != "ok"]
    there = {cell_of(row) for _, row in results.drop_duplicates(CELL).iterrows()}
    return [
        *(
            f"{describe_cell(row)}: {row['status']}, {row['reason']}"
            for _, row in stopped.iterrows()
        ),
        *(f"{cell.key}: not run" for cell in expected if cell not in there),
    ]
