"""Table 6, rendered from the files that are run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

from adaptprune.evaluation.suites import load_suite
from adaptprune.tables.benchmarks import overview, render_overview

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("lm_eval")


def test_table_6_is_rendered_with_every_choice(cache: Path, tmp_path: Path) -> None:
    suite = load_suite("all-paper")
    render_overview(suite, tmp_path / "table6")
    table = pd.read_csv(tmp_path / "table6.csv", dtype=str, keep_default_na=False)
    assert len(table) == 13
    rows = table.set_index("lm-eval task")
    for benchmark in suite.benchmarks:
        row = rows.loc[benchmark.task]
        assert row["Metric"] == benchmark.metric
        assert row["n-shot"] == str(benchmark.shots)
        assert row["Documents"] == str(benchmark.documents)
        assert ("ours" in row["Decided by"]) == bool(benchmark.choice)
        if benchmark.choice:
            assert benchmark.choice in row["Decided by"]
    assert rows.loc["mmlu", "Data"] == "cais/mmlu, test and dev"
    assert rows.loc["boolq", "Data"] == "aps/super_glue (boolq), validation"
    assert rows.loc["agieval", "Data"] == "hails/agieval-*, test"
    assert rows.loc["truthfulqa", ["Version", "Table 6"]].tolist() == ["2.0, 3.0", "acc, 1-shot"]
    markdown = (tmp_path / "table6.md").read_text()
    assert markdown.count("\n| ") == 14
    latex = (tmp_path / "table6.tex").read_text()
    assert r"exact\_match,get-answer" in latex
    assert "TruthfulQA: Table 6, and ours: shots:" in latex


def test_a_suite_of_local_tasks_is_rendered_too(tmp_path: Path) -> None:
    table = overview(load_suite("commonsense-offline"))
    assert set(table["Data"]) == {"built locally"}
    assert set(table["Decided by"]) == {"ours"}
