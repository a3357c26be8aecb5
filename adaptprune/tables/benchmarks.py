"""Table 6 and its like: the benchmarks of a suite, rendered from the files that are run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.evaluation.catalog import TASK_FOLDER, task_config
from adaptprune.evaluation.hubtasks import hub_source
from adaptprune.files.atomic import write_texts
from adaptprune.tables.latex import to_latex
from adaptprune.tables.markdown import to_markdown
from adaptprune.tables.panels import Heading, Panel, Text, lay_out

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.evaluation.benchmarks import Benchmark
    from adaptprune.evaluation.suites import PerplexityTask, Suite, SuiteTask

CAPTION = "Benchmarks of the suite {name}: what is run (the paper's Table 6 beside it)."


def _versions(benchmark: Benchmark) -> str:
    return ", ".join(dict.fromkeys(str(member.version) for member in benchmark.tasks().values()))


def _data(benchmark: Benchmark) -> str:
    """Return the data sets and splits that lm-eval's task files name, the same ones once."""
    places: dict[str, None] = {}
    for task in benchmark.tasks():
        source = hub_source(task_config(task, TASK_FOLDER) | {"num_fewshot": benchmark.shots})
        if source is None:
            places["built locally"] = None
            continue
        several = len(benchmark.members) > 1
        name = source.dataset
        if several and name.startswith("hails/agieval-"):
            name = "hails/agieval-*"
        elif source.configuration and not several:
            name += f" ({source.configuration})"
        places[f"{name}, {' and '.join(source.splits)}"] = None
    return "; ".join(places)


def _decided(benchmark: SuiteTask | PerplexityTask) -> str:
    """Say whose the choice is, and what it is where it is ours."""
    if benchmark.paper is None:
        return f"ours: {benchmark.choice}" if benchmark.choice else "ours"
    if not benchmark.choice:
        return "Table 6"
    return f"Table 6, and ours: {benchmark.choice}"


def overview(suite: Suite) -> pd.DataFrame:
    """Return one row per benchmark of a suite, in its order."""
    rows = []
    for benchmark in suite.benchmarks:
        paper = benchmark.paper
        rows.append(
            {
                "Benchmark": benchmark.title,
                "lm-eval task": benchmark.task,
                "Tasks": len(benchmark.tasks()),
                "Version": _versions(benchmark),
                "Metric": benchmark.metric,
                "n-shot": "task file" if benchmark.shots is None else str(benchmark.shots),
                "Documents": benchmark.documents,
                "Data": _data(benchmark),
                "Table 6": f"{paper.metric}, {paper.shots}-shot" if paper else "",
                "Decided by": _decided(benchmark),
            }
        )
    return pd.DataFrame(rows)


def _panel(table: pd.DataFrame) -> Panel:
    label, *headers = table.columns
    lines = [("", (row[0],), list(map(Text, row[1:]))) for row in table.astype(str).to_numpy()]
    return Panel("", headers, lay_out(lines), heading="", labels=(label,), align="l")


def render_overview(suite: Suite, output_stem: Path) -> None:
    """Render the benchmarks of a suite to ``<stem>.md``, ``<stem>.csv`` and ``<stem>.tex``."""
    table = overview(suite)
    name = output_stem.name
    heading = Heading(name, CAPTION.format(name=suite.name), f"tab:{name}")
    # On paper the narrow columns are the table, and the choices its notes.
    narrow = table.drop(columns=["Data", "Decided by"])
    notes = [
        f"{row['Benchmark']}: {row['Decided by']}."
        for _, row in table.iterrows()
        if "ours" in row["Decided by"]
    ]
    outputs = {
        ".md": to_markdown([_panel(table)], [], heading),
        ".csv": table.to_csv(index=False, lineterminator="\n"),
        ".tex": to_latex([_panel(narrow)], notes, heading),
    }
    write_texts(output_stem, outputs)
