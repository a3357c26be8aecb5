"""Comparing results files: the numbers, the words, what is refused, and what is rendered."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matrix_examples import TASKS, TEXT, stored, write_cells, write_dense, write_scored_cell

from adaptprune.comparison.paired import ALL, COLUMNS
from adaptprune.comparison.report import (
    Comparison,
    compare_files,
    render_html,
    render_markdown,
    write_comparison,
)
from adaptprune.comparison.words import agreeing_seeds, describe_average, describe_perplexity
from adaptprune.errors import UserError
from adaptprune.files.atomic import write_sealed_json
from adaptprune.results.matrix import read_matrix
from adaptprune.results.stats import bootstrap_mean, holm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two baselines with dense, and a new method that is much better than both."""
    folder = tmp_path_factory.mktemp("compare")
    baselines = [write_dense(folder / "old"), *write_cells(folder / "old")]
    new = write_cells(folder / "new", ["mine"], skill=0.85, nats=2.5)
    return stored(folder, "tiny", baselines), stored(folder, "new", new)


@pytest.fixture(scope="module")
def comparison(files: tuple[Path, Path]) -> Comparison:
    return compare_files(*files, "mine")


def documents_of(path: Path, method: str, sparsity: int, seed: int, task: str) -> pd.DataFrame:
    documents = read_matrix(path).documents
    chosen = documents.query(
        "method == @method and sparsity == @sparsity and seed == @seed and task == @task"
    )
    return chosen.pivot(index="document", columns="metric", values="value")


def pick(table: pd.DataFrame, **values: Any) -> pd.Series:
    rows = table
    for column, value in values.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_pairing_has_every_measure_at_every_seed(comparison: Comparison) -> None:
    table = comparison.table
    assert list(table.columns) == COLUMNS
    pairings, measures, seeds = 2 * 2, len(TASKS) + 2, 3
    assert len(table) == pairings * measures * seeds
    assert table.notna().all().all()


@pytest.mark.parametrize("seed", [0, 1])
def test_a_task_is_tested_by_mcnemar_on_the_same_documents(
    files: tuple[Path, Path], comparison: Comparison, seed: int
) -> None:
    task = "tiny_local_thing"
    theirs = documents_of(files[0], "flap", 40, seed, task)["acc_norm"]
    ours = documents_of(files[1], "mine", 40, seed, task)["acc_norm"]
    only_ours, only_theirs = (ours > theirs).sum(), (ours < theirs).sum()
    row = pick(comparison.table, baseline="flap", sparsity=40, measure=task, seed=str(seed))
    assert (row["test"], row["n"]) == ("McNemar", 40)
    assert row["p"] == pytest.approx(
        scipy.stats.binomtest(int(only_ours), int(only_ours + only_theirs)).pvalue
    )
    assert row["difference"] == pytest.approx(100 * (only_ours - only_theirs) / 40)
    assert row["value"] - row["baseline_value"] == pytest.approx(row["difference"])


def test_an_average_is_the_mean_over_tasks_and_seeds(
    files: tuple[Path, Path], comparison: Comparison
) -> None:
    differences = []
    for task, metric in TASKS.items():
        by_seed = [
            documents_of(files[1], "mine", 20, seed, task)[metric].to_numpy()
            - documents_of(files[0], "flap", 20, seed, task)[metric].to_numpy()
            for seed in (0, 1)
        ]
        differences.append(np.mean(by_seed, axis=0))
    expected = bootstrap_mean(differences)
    row = pick(comparison.table, baseline="flap", sparsity=20, kind="average", seed=ALL)
    assert row["difference"] == pytest.approx(100 * np.mean([d.mean() for d in differences]))
    assert (row["low"], row["high"], row["p"]) == pytest.approx(
        (100 * expected.low, 100 * expected.high, expected.p)
    )


def test_perplexities_are_compared_by_their_ratio(
    files: tuple[Path, Path], comparison: Comparison
) -> None:
    ratios = []
    for seed in (0, 1):
        values = []
        for path, method in ((files[1], "mine"), (files[0], "flap")):
            scores = documents_of(path, method, 20, seed, TEXT)
            values.append(math.exp(-scores["log_likelihood"].sum() / scores["words"].sum()))
        row = pick(
            comparison.table, baseline="flap", sparsity=20, kind="perplexity", seed=str(seed)
        )
        assert (row["value"], row["baseline_value"]) == pytest.approx(values)
        assert row["difference"] == pytest.approx(values[0] / values[1])
        ratios.append(values[0] / values[1])
    row = pick(comparison.table, baseline="flap", sparsity=20, kind="perplexity", seed=ALL)
    assert row["difference"] == pytest.approx(math.sqrt(ratios[0] * ratios[1]))
    assert row["low"] < row["difference"] < row["high"] < 1


def test_p_values_are_corrected_within_their_family(comparison: Comparison) -> None:
    table = comparison.table
    for kind, seed, size in (("task", "0", 8), ("average", "1", 4), ("average", ALL, 4)):
        family = table[(table["kind"] == kind) & (table["seed"] == seed)]
        assert len(family) == size
        assert family["p_corrected"].tolist() == pytest.approx(holm(family["p"]).tolist())


def test_a_task_differs_over_seeds_when_it_does_at_every_one(comparison: Comparison) -> None:
    tasks = comparison.table[comparison.table["kind"] == "task"]
    for _, rows in tasks.groupby(["sparsity", "baseline", "measure"]):
        seeds, overall = rows[rows["seed"] != ALL], rows[rows["seed"] == ALL].iloc[0]
        opposed = seeds["difference"].min() < 0 < seeds["difference"].max()
        expected = 1.0 if opposed else seeds["p_corrected"].max()
        assert overall["p_corrected"] == pytest.approx(expected)


def test_seeds_that_disagree_show_nothing(tmp_path: Path) -> None:
    """At seed 0 much better, at seed 1 much worse: significant each time, and no claim."""
    baselines = write_cells(tmp_path / "old", ["flap"], [20])
    new = [
        write_scored_cell(tmp_path / "new", "mine", 20, 0, skill=1.0),
        write_scored_cell(tmp_path / "new", "mine", 20, 1, skill=0.0),
    ]
    table = compare_files(stored(tmp_path, "old", baselines), stored(tmp_path, "new", new)).table
    task = table[table["measure"] == "tiny_local_place"].set_index("seed")
    assert (task.loc[["0", "1"], "p_corrected"] < 0.01).all()
    assert task.loc[ALL, "p_corrected"] == 1


def test_metrics_that_are_no_right_or_wrong_are_bootstrapped(tmp_path: Path) -> None:
    paths = []
    for name, shift in (("old", 0.0), ("new", 0.2)):
        cell = write_scored_cell(tmp_path / name, "flap" if name == "old" else "mine")
        documents = pd.read_parquet(cell / "documents.parquet")
        place = documents["task"] == "tiny_local_place"
        documents.loc[place, "value"] = np.linspace(0, 0.5, 40) + shift
        documents.to_parquet(cell / "documents.parquet")
        content = json.loads((cell / "evaluation.json").read_text())
        del content["sha256"]
        content["results"]["tiny_local_place"]["acc"] = 0.25 + shift
        write_sealed_json(cell / "evaluation.json", content)
        paths.append(stored(tmp_path, name, [cell]))
    row = pick(compare_files(*paths).table, measure="tiny_local_place", seed="0")
    assert row["test"] == "paired bootstrap"
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((20, 20, 20))


def row_of(difference: float, p: float, low: float = 0.4, high: float = 3.8) -> pd.Series:
    return pd.Series(
        {"difference": difference, "low": low, "high": high, "p_corrected": p, "sparsity": 40}
    )


def test_sentences() -> None:
    assert describe_average(row_of(2.1, 0.013), "Mine", "FLAP", "") == (
        "Mine is better than FLAP at 40 %: +2.1 points, 95 % interval [0.4, 3.8], "
        "corrected p (Holm) = 0.013."
    )
    assert describe_average(row_of(-2.1, 0.0002, -3.8, -0.4), "Mine", "FLAP", "").startswith(
        "Mine is worse than FLAP at 40 %: −2.1 points, 95 % interval [−3.8, −0.4], "
        "corrected p (Holm) < 0.001"
    )
    assert describe_average(row_of(2.1, 0.06), "Mine", "FLAP", " (x)") == (
        "No difference between Mine and FLAP is shown at 40 %: +2.1 points, 95 % interval "
        "[0.4, 3.8], corrected p (Holm) = 0.06 (x)."
    )
    assert describe_perplexity(row_of(0.32, 0.001, 0.28, 0.37), "FLAP") == (
        "Its perplexity is lower: 0.32 times that of FLAP, 95 % interval [0.28, 0.37], "
        "corrected p (Holm) = 0.001."
    )
    assert describe_perplexity(row_of(1.1, 0.5, 0.9, 1.3), "FLAP").startswith(
        "Its perplexity is not shown to differ: 1.1 times"
    )
    seeds = pd.DataFrame({"difference": [1.0, 2.0, -0.5]})
    assert agreeing_seeds(seeds, 0.8) == " (in this direction at 2 of 3 seeds)"
    assert agreeing_seeds(seeds[:1], 0.8) == ""


def test_a_clear_difference_is_said_so(comparison: Comparison) -> None:
    assert len(comparison.sentences) == 4
    assert all(" is better than " in sentence for sentence in comparison.sentences)
    assert all("at 2 of 2 seeds" in sentence for sentence in comparison.sentences)
    assert comparison.sentences[0].startswith("mine is better than FLAP at 20 %: +")


def test_a_method_against_itself_ties(tmp_path: Path, files: tuple[Path, Path]) -> None:
    table = compare_files(files[0], files[0]).table
    assert set(table["method"]) == set(table["baseline"]) == {"flap", "llm-pruner"}
    assert (table["method"] == table["baseline"]).all()
    assert set(table.loc[table["kind"] != "perplexity", "difference"]) == {0.0}
    assert (table["p_corrected"] == 1).all()
    text = render_markdown(compare_files(files[0], files[0]))
    assert "FLAP, against FLAP (" in text
    assert "W/T/L 0/2/0" in text, "the same in every row"


def test_a_method_of_a_matrix_meets_the_others_there(files: tuple[Path, Path]) -> None:
    comparison = compare_files(files[0], files[0], "flap")
    assert set(comparison.table["method"]) == {"flap"}
    assert set(comparison.table["baseline"]) == {"llm-pruner"}
    text = render_markdown(comparison)
    assert "| Sparsity | FLAP against |" in text
    assert "FLAP (tiny)" not in text


def test_markdown_holds_everything(comparison: Comparison) -> None:
    text = render_markdown(comparison)
    verdicts = "- **At 20 %: better than 2 of 2 baselines, none better.**\n- **At 40 %: "
    assert text.startswith(f"# mine against the baselines of tiny\n\n{verdicts}")
    assert "\n\n- mine is better than FLAP at" in text
    for title in ("Difference to every baseline", "Task by task", "Size reached, and what it cost"):
        assert f"## {title}" in text
    assert "The same in every row: Model tiny-llama" in text
    assert "| Sparsity | mine against | Average | Average 95 % interval |" in text
    assert "| 20 % | LLM-Pruner | **+" in text
    assert re.search(r"\| 20 % \| mine \| [0-9.]+ ± ", text)
    assert "| 0 % | Dense |" in text
    assert "W/T/L 2/0/0" in text, "the same in every row"
    assert "| 20 % | mine | 20.0 ± 0.0 | 1.5 ± 0.0 | 300.0 ± 0.0 |" in text
    assert "(average: 4, perplexity: 4, task: 8)" in text


def test_masked_weights_are_told_apart_from_removed_ones(tmp_path: Path) -> None:
    zeros = {"counts__params": 1000, "counts__nonzeros": 640, "counts__pattern": "2:4"}
    baselines = stored(tmp_path, "old", write_cells(tmp_path / "old", ["flap"], [20]))
    new = stored(tmp_path, "new", write_cells(tmp_path / "new", ["mine"], [20], pruning=zeros))
    comparison = compare_files(baselines, new)
    text = render_markdown(comparison)
    assert "#Nonzero 0.00M; Channels removed (%) 20.0 ± 0.0" in text
    assert any(
        note.startswith("#Nonzero: the parameters that no mask") for note in comparison.notes
    )
    cut_alone = compare_files(baselines, baselines)
    assert "Nonzero" not in render_markdown(cut_alone)


class Tags(html.parser.HTMLParser):
    """Note what a page loads, and whether its tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_stands_alone(comparison: Comparison) -> None:
    page = render_html(comparison)
    tags = Tags()
    tags.feed(page)
    assert (tags.open, tags.links) == ([], [])
    blocks = sum(row.starts_block for panel in comparison.panels for row in panel.rows)
    assert tags.rows == blocks + sum(1 + len(panel.rows) for panel in comparison.panels)
    assert "url(" not in page
    assert "<strong>+" in page
    assert "<script" not in page


def test_html_escapes_what_a_name_holds(comparison: Comparison) -> None:
    page = render_html(dataclasses.replace(comparison, sentences=["<b> & co"]))
    assert "&lt;b&gt; &amp; co" in page


def test_all_formats_are_written_and_are_the_same_each_time(
    comparison: Comparison, files: tuple[Path, Path], tmp_path: Path
) -> None:
    write_comparison(comparison, tmp_path / "one")
    write_comparison(compare_files(*files, "mine"), tmp_path / "two")
    for suffix in (".md", ".tex", ".html", ".csv"):
        first = (tmp_path / f"one{suffix}").read_bytes()
        assert first == (tmp_path / f"two{suffix}").read_bytes()
    latex = (tmp_path / "one.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 4
    assert r"at 20 \%: +" in latex
    assert len(pd.read_csv(tmp_path / "one.csv")) == len(comparison.table)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"evaluation": {"conditions__dtype": "bfloat16"}}, "dtype is float32 in .* but bfloat16"),
        ({"evaluation": {"conditions__max_length": 99}}, "max_length of model tiny-llama is 1024"),
        ({"evaluation": {"suite": "other"}}, "suite is commonsense-tiny in .* but other in"),
        ({"pruning": {"model_hash": "m2"}}, "model_hash of model tiny-llama is m1"),
        ({"pruning": {"calibration__hash": "x"}}, "calibration_hash of model tiny-llama, seed 0"),
        (
            {"evaluation": {"conditions__tasks__tiny_local_place__documents_hash": "x"}},
            "documents_hash of task tiny_local_place is d1",
        ),
        (
            {"evaluation": {"conditions__versions__lm_eval": "0.5.0"}},
            "lm_eval is 0.4 in .* but 0.5 in",
        ),
    ],
)
def test_other_conditions_are_refused(
    tmp_path: Path, files: tuple[Path, Path], changes: dict[str, Any], told: str
) -> None:
    new = stored(tmp_path, "other", write_cells(tmp_path / "cells", ["mine"], [20], [0], **changes))
    with pytest.raises(UserError, match=told) as error:
        compare_files(files[0], new)
    assert "mixed conditions" in str(error.value)
    assert str(files[0]) in str(error.value)
    assert str(new) in str(error.value)


def test_two_versions_of_a_method_may_be_compared(tmp_path: Path, files: tuple[Path, Path]) -> None:
    newer = {"method_version": 2}
    cells = write_cells(tmp_path / "cells", ["flap"], pruning=newer, skill=0.7)
    text = render_markdown(compare_files(files[0], stored(tmp_path, "today", cells)))
    assert "FLAP has version 2, in tiny version 1." in text
    assert "| Sparsity | FLAP against |" in text
    assert "| 20 % | FLAP (tiny) |" in text


def test_a_method_may_be_compared_with_itself_under_other_parameters(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    other = {"parameters": {"layers": "4-25"}}
    cells = write_cells(tmp_path / "cells", ["flap"], pruning=other, skill=0.7)
    text = render_markdown(compare_files(files[0], stored(tmp_path, "today", cells)))
    assert 'FLAP has parameters {"layers": "4-25"}, in tiny parameters {}.' in text
    assert "has version" not in text


def test_a_variant_on_another_calibration_set_is_named_with_it(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    longer = {"variant": "long", "calibration__length": 512, "calibration__hash": "c9"}
    cells = [write_scored_cell(tmp_path / "cells", "mine", pruning=longer)]
    text = render_markdown(compare_files(files[0], stored(tmp_path, "new", cells)))
    assert "between mine@long on prose 8x512 and FLAP is shown at 20 %" in text
    assert "calibration sets but where a name says which other one" in text


def test_other_documents_are_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    cell = write_scored_cell(tmp_path / "cells", "mine")
    documents = pd.read_parquet(cell / "documents.parquet")
    documents.loc[documents["task"] == TEXT, "document_hash"] = "other"
    documents.to_parquet(cell / "documents.parquet")
    with pytest.raises(UserError, match=f"different documents of {TEXT}"):
        compare_files(files[0], stored(tmp_path, "new", [cell]))


def test_what_is_missing_is_said(tmp_path: Path, files: tuple[Path, Path]) -> None:
    cells = write_cells(tmp_path / "cells", ["mine"], [20])
    cells.append(
        write_scored_cell(
            tmp_path / "cells",
            "mine",
            40,
            0,
            pruning={"status": "failed", "reason": "loss is nan", "counts": None},
        )
    )
    cells.append(write_scored_cell(tmp_path / "cells", "mine", 40, 1))
    comparison = compare_files(files[0], stored(tmp_path, "new", cells), "mine")
    notes = "\n".join(comparison.notes)
    assert "mine, against FLAP, 40 %: compared at seeds 1." in notes
    assert "Without a result: mine, 40 %: seed 0 failed: loss is nan." in notes


def test_nothing_in_common_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    new = stored(tmp_path, "new", write_cells(tmp_path / "cells", ["mine"], [60]))
    with pytest.raises(UserError, match="share no model, sparsity and seed"):
        compare_files(files[0], new)


def test_a_method_alone_in_its_matrix_has_nothing_to_meet(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="holds no method to compare 'mine' with"):
        compare_files(files[1], files[1], "mine")


def test_a_method_that_is_not_there_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"unknown method in .*new.csv 'min'; did you mean 'mine'"):
        compare_files(*files, "min")


def test_the_command_prints_or_writes(
    command: Callable[..., Any], files: tuple[Path, Path], comparison: Comparison, tmp_path: Path
) -> None:
    status, output, errors = command("compare", *files, "--method", "mine")
    assert status == 0, errors
    assert output == render_markdown(comparison)
    status, output, errors = command("compare", *files, "--output", tmp_path / "out")
    assert (status, output) == (0, "")
    assert {path.suffix for path in tmp_path.glob("out.*")} == {".md", ".tex", ".html", ".csv"}
    status, _, errors = command("compare", files[0], tmp_path / "nothing.csv")
    assert (status, errors.count("\n")) == (2, 1)
