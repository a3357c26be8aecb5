"""Tables by other axes than methods by benchmarks: a declaration is all that they take."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from table_examples import COLUMNS, SUITE, TABLES, Run, cell, write_trained

from adaptprune.cells import Cell
from adaptprune.errors import UserError
from adaptprune.tables.declared import load_declaration
from adaptprune.tables.fill import fill
from adaptprune.tables.measures import Measure
from adaptprune.tables.panels import MISSING, panels_of
from adaptprune.tables.render import render_table
from adaptprune.tables.select import EVERY, Line, cells_of
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.results.rows import Row

TINY = load_profile(TABLES.parent / "config", "tiny", {"seeds": [0, 1]})

#: Columns are models, one of which nothing stands in for; all places show one metric.
BY_MODEL = """
name: by_model
caption: Perplexity by method and model.
label: tab:by-model
cells: {metric: perplexity, sparsity: 50}
rows:
  - {title: Dense, method: dense}
  - {title: Wanda, method: wanda, printed: Wanda}
  - {title: Random, method: random}
columns:
  - {title: small, model: org/small, stands_for: OPT-125M, printed: 125M}
  - {title: large, model: org/large}
  - {title: OPT-1.3B, absent: too large for this machine}
published: {table: 1, profile: mini}
notes: ["A note of the table."]
"""

#: Rows are metrics of what each column holds: a method, and the recoveries of a profile.
BY_METRIC = """
name: by_metric
caption: What recovery brings.
label: tab:by-metric
rows:
  - {title: SIQA, task: social_iqa}
  - {title: PIQA (acc), task: piqa, metric: acc}
  - {title: Perplexity, metric: perplexity}
  - {title: Parameters, metric: params}
columns:
  - {title: Dense, model: tiny-llama-small}
  - {title: Adapt-Accel, recovery: accel}
  - {title: Once, recovery: "prune-tr*"}
"""

#: Rows are recoveries, columns models: a pattern names the recovery that belongs to the model.
BY_PATTERN = """
name: by_pattern
caption: Recoveries by model.
label: tab:by-pattern
cells: {metric: perplexity}
rows:
  - {title: Accel, recovery: "acc*"}
columns:
  - {title: tiny, model: tiny-llama}
  - {title: small, model: tiny-llama-small}
"""

PUBLISHED = """table_arxiv,model,model_id,sparsity,method,row_label,column,key,metric,value,std,unit
1,OPT,,,,Wanda,125M,wikitext,word_perplexity,60.91,,ppl
"""


def declared(folder: Path, text: str) -> Path:
    path = folder / f"{text.split()[1]}.yaml"
    path.write_text(text)
    return path


def of_models() -> list[Row]:
    """Return results of two methods on two models; the random one lacks a seed on the large."""
    rows = []
    for model, shift in (("org/small", 0.0), ("org/large", -10.0)):
        rows += cell("dense", 0, 0, perplexity=20 + shift, model=model)
        for seed in (0, 1):
            rows += cell("wanda", 50, seed, perplexity=40 + shift + seed, model=model)
            if (model, seed) != ("org/large", 1):
                rows += cell("random", 50, seed, perplexity=90 + shift, model=model)
    return rows


def test_columns_may_be_models(tmp_path: Path) -> None:
    (tmp_path / "published.csv").write_text(PUBLISHED)
    files = write_trained(tmp_path, of_models())
    path, stem = declared(tmp_path, BY_MODEL), tmp_path / "by_model"
    run = Run(models=["org/small", "org/large"], seeds=[0, 1])
    render_table(path, *files, stem, name="mini", profile=run, suite=SUITE)
    text = stem.with_suffix(".md").read_text()
    assert "# Perplexity by method and model. Stand-ins: small for OPT-125M.\n" in text
    assert "| Method | small | large | OPT-1.3B |\n|---|---:|---:|---:|\n" in text
    assert f"| Dense | 20.00 | 10.00 | {MISSING} |" in text
    assert f"| Wanda | **40.50 ± 0.71** | 30.50 ± 0.71 | {MISSING} |" in text
    assert f"| Random | <u>90.00 ± 0.00</u> | 80.00 | {MISSING} |" in text
    assert f"- Nothing to show ({MISSING}): OPT-1.3B: too large for this machine.\n" in text
    assert f"- Not measured ({MISSING}): org__large/random/50/none/s1.\n" in text
    assert "- Nothing is marked where" in text, "the seeds of a column differ"
    assert "| Wanda | 60.91 | \N{MINUS SIGN}20.41 |" in text
    assert "A note of the table." in text
    assert "Accuracy in %" not in text, "no accuracy is shown"
    numbers = pd.read_csv(stem.with_suffix(".csv")).set_index(["title", "column"])
    assert numbers.loc[("Wanda", "small"), "value"] == 40.5
    assert numbers.loc[("Wanda", "OPT-1.3B"), "status"] == "absent"
    latex = stem.with_suffix(".tex").read_text()
    assert r"\begin{tabular}{lrrr}" in latex
    assert r"Wanda & \textbf{40.50 $\pm$ 0.71} & 30.50 $\pm$ 0.71 & -- \\" in latex


def of_recoveries() -> list[Row]:
    """Return results of a dense model and of two recoveries of the tiny profile."""
    place = {"profile": "tiny", "params": 2_000_000}
    rows = cell("dense", 0, 0, (0.4, 0.6), 30.0, **place | {"model": "tiny-llama-small"})
    for name, accuracy in (("accel", 0.5), ("prune-train", 0.45)):
        for wanted in TINY.recovery_cells(name):
            where = {"model": wanted.model, "recovery": name, "params": 1_000_000}
            scores = (accuracy + wanted.seed / 100, 0.7)
            perplexity = 10 / accuracy
            rows += cell(
                wanted.method, wanted.sparsity, wanted.seed, scores, perplexity, **place | where
            )
    return rows


def test_rows_may_be_metrics(tmp_path: Path) -> None:
    files = write_trained(tmp_path, of_recoveries())
    path, stem = declared(tmp_path, BY_METRIC), tmp_path / "by_metric"
    render_table(path, *files, stem, name="tiny", profile=TINY, suite=SUITE)
    lines = stem.with_suffix(".md").read_text().splitlines()
    assert lines[2:8] == [
        "| Measure | Dense | Adapt-Accel | Once |",
        "|---|---:|---:|---:|",
        "| SIQA | 40.00 | **50.50 ± 0.71** | <u>45.50 ± 0.71</u> |",
        "| PIQA (acc) | 10.00 | **10.00 ± 0.00** | **10.00 ± 0.00** |",
        "| Perplexity | 30.00 | **20.00 ± 0.00** | <u>22.22 ± 0.00</u> |",
        "| Parameters | 2.00M | 1.00M | 1.00M |",
    ]
    assert any("Trained: mean ± sample" in line for line in lines)
    assert any("within each row; dense is left out" in line for line in lines)
    cells = cells_of(load_declaration(path), TINY, "tiny")
    assert len(cells) == 5
    assert {cell.recovery for cell in cells} == {"none", "accel", "prune-train"}


def test_a_pattern_finds_the_recovery_of_a_model(tmp_path: Path) -> None:
    files = write_trained(tmp_path, of_recoveries())
    path, stem = declared(tmp_path, BY_PATTERN), tmp_path / "by_pattern"
    render_table(path, *files, stem, name="tiny", profile=TINY, suite=SUITE)
    text = stem.with_suffix(".md").read_text()
    assert f"| Accel | 20.00 ± 0.00 | {MISSING} |" in text
    assert f"Nothing to show ({MISSING}): Accel, small: the profile has no such recovery." in text
    path.write_text(BY_PATTERN.replace('"acc*"', '"*"'))
    with pytest.raises(UserError, match=r"recovery '\*' stands for several: accel, "):
        cells_of(load_declaration(path), TINY, "tiny")


def test_columns_may_be_the_sparsities_of_a_profile_s_methods(tmp_path: Path) -> None:
    """What rows and columns leave open becomes blocks: here the models."""
    text = BY_MODEL[: BY_MODEL.index("columns:")].replace(", sparsity: 50", "")
    text += "columns: [{title: half, sparsity: 50}, {title: third, sparsity: 33}]\n"
    files = write_trained(tmp_path, of_models())
    path, stem = declared(tmp_path, text), tmp_path / "by_sparsity"
    run = Run(models=["org/small", "org/large"], seeds=[0, 1])
    render_table(path, *files, stem, name="mini", profile=run, suite=SUITE)
    lines = stem.with_suffix(".md").read_text()
    assert "| Model | Method | half | third |" in lines
    assert f"| org/large | Wanda | 30.50 ± 0.71 | {MISSING} |" in lines


def test_a_column_of_the_results_takes_one_line() -> None:
    """Counts and texts that are not among the built-in measures are printed by their kind."""
    rows = [replace(row, params=134_000_000) for row in cell("wanda", 50, 0)]
    results = pd.DataFrame([asdict(row) for row in rows], columns=COLUMNS)
    results = results.assign(nonzeros=67_000_000, pattern="2:4")
    columns = [
        Measure("nonzeros", "#Nonzero", "params", "params"),
        Measure("pattern", "Pattern", "text", "text"),
    ]
    place = {EVERY: [Cell(rows[0].model, "wanda", 50, "none", 0)]}
    grid = fill(results, columns, [Line("m", 50, "wanda", "Wanda", place)])
    (panel,) = panels_of(grid)
    assert panel.flat_headers == ["#Nonzero", "Pattern"]
    assert [text.text for text in panel.rows[0].texts] == ["67.00M", "2:4"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("{title: large, model", "{title: large, sparsity: 20, model", "sparsity is chosen twice"),
        ("metric: perplexity, ", "", "nothing says what is measured"),
        ("metric: perplexity", "metric: perplexety", "unknown metric 'perplexety'.*'perplexity'"),
        ("metric: perplexity", "task: piqua", "unknown task 'piqua'.*did you mean 'piqa'"),
        ("{title: large", "{title: small", "columns lists a title twice"),
        ("{title: Random, method", "{title: Random, task: piqa, method", "and some do not"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in BY_MODEL
    path = declared(tmp_path, BY_MODEL.replace(before, after))
    files = write_trained(tmp_path, of_models())
    run = Run(models=["org/small"], seeds=[0])
    with pytest.raises(UserError, match=message) as error:
        render_table(path, *files, tmp_path / "t", name="mini", profile=run, suite=SUITE)
    assert "\n" not in str(error.value)


def test_the_cells_of_a_table_are_checked_like_those_of_a_profile(tmp_path: Path) -> None:
    text = BY_MODEL.replace("wanda", "magnitude").replace("sparsity: 50", "sparsity: 40")
    path = declared(tmp_path, text)
    run = TINY.model_copy(update={"further_models": ["org/small", "org/large"]})
    cells = cells_of(load_declaration(path), run, "tiny")
    assert Cell("org/large", "magnitude", 40, "none", 1) in cells
    assert len(cells) == 2 * (1 + 2 * 2), "dense once, two methods at two seeds, on two models"
    for before, after, message in (
        ("method: random", "method: random@none", "unknown variant 'random@none'"),
        ("method: random", "method: randon", "unknown method 'randon'.*'random'"),
        ("sparsity: 40", "sparsity: 33", "is cut from scores of the profile's sparsities"),
    ):
        path.write_text(text.replace(before, after))
        with pytest.raises(UserError, match=message):
            cells_of(load_declaration(path), run, "tiny")
    path.write_text(text)
    with pytest.raises(UserError, match=r"unknown model in table by_model 'org/small'"):
        cells_of(load_declaration(path), TINY, "tiny")
