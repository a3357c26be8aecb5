"""Rendering declared tables from synthetic results.

After a wanted change of the LaTeX run this file with ``UPDATE_GOLDEN=1`` in the environment, and
read the difference before committing it.
"""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest
from cell_examples import EVALUATION, PRUNING, changed, write_cell
from table_examples import (
    DECLARATIONS,
    METHODS,
    MODEL,
    SUITE,
    Perplexity,
    Run,
    Suite,
    Task,
    cell,
    example,
    full_matrix,
    render,
    stopped,
    tidy,
)

from adaptprune.errors import UserError
from adaptprune.results.rows import Row, collect, write_results
from adaptprune.tables.arrange import build_grid
from adaptprune.tables.declared import Row as DeclaredRow
from adaptprune.tables.latex import MINUS, escape_latex
from adaptprune.tables.measures import columns_of
from adaptprune.tables.notes import perplexity_note
from adaptprune.tables.panels import MISSING
from adaptprune.tables.render import render_table

GOLDEN = Path(__file__).parent / "golden" / "table1_example.tex"


def test_latex_is_as_it_was(tmp_path: Path) -> None:
    text = example(tmp_path).with_suffix(".tex").read_text()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_outputs_are_byte_identical_whatever_the_order_of_rows(tmp_path: Path) -> None:
    rows = full_matrix()
    first, second = render(tmp_path / "a", rows), render(tmp_path / "b", rows[::-1])
    for suffix in (".tex", ".csv", ".md"):
        assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()


def test_numbers_are_means_and_sample_deviations_over_seeds(tmp_path: Path) -> None:
    rows = cell("dense", 0, 0)
    for seed, accuracy in enumerate((0.30, 0.32, 0.37)):
        rows += cell("flap", 20, seed, (accuracy, 0.5), 10.0 + seed)
    table = tidy(render(tmp_path, rows, sparsities=[20]))
    assert table.loc[(20, "flap", "social_iqa"), "value"] == pytest.approx(33.0)
    assert table.loc[(20, "flap", "social_iqa"), "std"] == pytest.approx(3.605551275)
    assert table.loc[(20, "flap", "average"), "value"] == pytest.approx(41.5)
    assert table.loc[(20, "flap", "average"), "std"] == pytest.approx(1.802775638)
    assert table.loc[(20, "flap", "wikitext"), "value"] == pytest.approx(11.0)
    assert table.loc[(20, "flap", "params"), "value"] == 94_080_000
    assert table.loc[(20, "flap", "average"), "n_seeds"] == 3


def test_the_shown_metric_is_the_one_of_the_suite(tmp_path: Path) -> None:
    table = tidy(render(tmp_path, full_matrix()))
    assert table.loc[(0, "dense", "piqa"), "value"] == pytest.approx(70.0)
    assert table.loc[(0, "dense", "piqa"), "metric"] == "acc_norm"


def test_best_and_second_are_marked_within_each_block(tmp_path: Path) -> None:
    stem = render(tmp_path, full_matrix())
    ranks = tidy(stem)["rank"]
    assert ranks[20, "adapt-pruner", "average"] == "best"
    assert ranks[20, "slicegpt", "average"] == "second"
    assert ranks[40, "adapt-pruner", "wikitext"] == "best"
    assert pd.isna(ranks[20, "flap", "average"])
    assert ranks.loc[:, "dense"].isna().all()
    assert ranks.loc[:, :, "params"].isna().all()
    assert "**" in stem.with_suffix(".md").read_text()


def test_ties_share_their_mark(tmp_path: Path) -> None:
    scores = dict(zip(METHODS, (0.4, 0.4, 0.3, 0.2), strict=True))
    rows = cell("dense", 0, 0)
    for method, score in scores.items():
        rows += cell(method, 20, 0, (score, score), 50.0)
    ranks = tidy(render(tmp_path, rows, sparsities=[20], seeds=[0]))["rank"]
    assert ranks[20, "llm-pruner", "average"] == ranks[20, "flap", "average"] == "best"
    assert ranks[20, "slicegpt", "average"] == "second"
    assert (ranks.loc[20, METHODS, "wikitext"] == "best").all()


def test_a_method_alone_in_its_block_is_not_marked(tmp_path: Path) -> None:
    rows = cell("dense", 0, 0) + cell("flap", 20, 0)
    assert tidy(render(tmp_path, rows, sparsities=[20], seeds=[0]))["rank"].isna().all()


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    stem = render(tmp_path, full_matrix(seeds=(0,)), seeds=[0])
    assert tidy(stem)["std"].isna().all()
    text = stem.with_suffix(".md").read_text()
    assert "±" not in text
    assert "One seed (0): no spread." in text


def test_dense_is_evaluated_once_at_any_seed(tmp_path: Path) -> None:
    rows = [row for row in full_matrix() if row.method != "dense"]
    stem = render(tmp_path, rows + cell("dense", 0, 5))
    assert tidy(stem).loc[(0, "dense", "average"), "status"] == "ok"
    assert "Not measured" not in stem.with_suffix(".md").read_text()


def test_missing_cells_print_a_dash_and_are_listed(tmp_path: Path) -> None:
    stem = example(tmp_path)
    assert tidy(stem).loc[(40, "slicegpt", "average"), "status"] == "missing"
    text = stem.with_suffix(".md").read_text()
    assert f"| 40% | SliceGPT | {MISSING} | {MISSING} |" in text
    slug = "meta-llama__Llama-3.1-8B"
    listed = f"{slug}/flap/20/none/s2; {slug}/slicegpt/40/none/s0, s1, s2."
    assert f"Not measured ({MISSING}): {listed}" in text


def test_a_missing_cell_beside_equal_ones_is_a_plain_dash(tmp_path: Path) -> None:
    rows = [*cell("llm-pruner", 20, 0), *cell("flap", 20, 0)]  # slicegpt is missing
    stem = render(tmp_path, rows, sparsities=[20], seeds=[0])
    assert f"| 20% | SliceGPT | {MISSING} | {MISSING} | {MISSING} |" in (
        stem.with_suffix(".md").read_text()
    )
    assert pd.isna(tidy(stem).loc[(20, "slicegpt", "average"), "rank"])


def test_a_mean_over_fewer_seeds_says_so(tmp_path: Path) -> None:
    stem = example(tmp_path)
    assert "| 20% | FLAP (2 of 3 seeds) |" in stem.with_suffix(".md").read_text()
    assert tidy(stem).loc[(20, "flap", "average"), "n_seeds"] == 2


def test_marks_do_not_cross_seed_counts(tmp_path: Path) -> None:
    """FLAP lacks a seed at 20 %: whoever is best there, over other seeds, is not said."""
    stem = example(tmp_path)
    ranks = tidy(stem)["rank"]
    assert ranks.loc[20].isna().all()
    assert ranks[40, "adapt-pruner", "average"] == "best"
    assert "- Nothing is marked where a block's numbers" in stem.with_suffix(".md").read_text()
    complete = render(tmp_path / "complete", full_matrix()).with_suffix(".md")
    assert "Nothing is marked" not in complete.read_text()


def test_what_is_run_with_fewer_seeds_is_not_ranked(tmp_path: Path) -> None:
    """Adapt-Pruner would be the best at its one seed; the others are ranked among themselves."""
    rows = [row for row in full_matrix() if row.method != "adapt-pruner" or row.seed == 0]
    stem = render(tmp_path, rows, seedless=["adapt-pruner"])
    ranks = tidy(stem)["rank"]
    assert pd.isna(ranks[20, "adapt-pruner", "average"])
    assert ranks[20, "slicegpt", "average"] == "best"
    text = stem.with_suffix(".md").read_text()
    assert "- Run with fewer seeds than others, and therefore not marked: Adapt-Pruner." in text
    assert "| 20% | Adapt-Pruner |" in text
    assert "Nothing is marked" not in text


def test_a_column_that_lacks_a_number_at_one_seed_is_not_marked(tmp_path: Path) -> None:
    rows = [
        row
        for row in full_matrix()
        if (row.method, row.sparsity, row.task, row.seed) != ("flap", 20, "piqa", 1)
    ]
    ranks = tidy(render(tmp_path, rows))["rank"]
    assert ranks.loc[20, METHODS, "piqa"].isna().all()
    assert ranks.loc[20, METHODS, "average"].isna().all()
    assert "best" in set(ranks.loc[20, METHODS, "social_iqa"])


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_stopped_cells_say_why(tmp_path: Path, status: str) -> None:
    rows = cell("dense", 0, 0) + stopped("flap", 20, 0, status, "not_for 100% & more")
    stem = render(tmp_path, rows, sparsities=[20], seeds=[0])
    assert tidy(stem).loc[(20, "flap", "average"), "status"] == status
    # The parameters are known all the same.
    assert f"| FLAP | 94.08M | {status} | {status} |" in stem.with_suffix(".md").read_text()
    tex = stem.with_suffix(".tex").read_text()
    assert rf"flap/20/none/s0 {status}: not\_for 100\% \& more" in tex


def test_a_task_that_was_not_measured_leaves_no_average(tmp_path: Path) -> None:
    rows = [row for row in full_matrix() if (row.method, row.task) != ("flap", "piqa")]
    stem = render(tmp_path, rows)
    assert tidy(stem).loc[(20, "flap", "average"), "status"] == "missing"
    assert "flap/20/none/s0, s1, s2 (PIQA, Average)" in stem.with_suffix(".md").read_text()


def test_models_of_other_windows_are_told_apart(tmp_path: Path) -> None:
    rows = full_matrix()
    other = [replace(row, model="other", max_length="256") for row in rows]
    frame = pd.DataFrame([asdict(row) for row in rows + other])
    note = perplexity_note(frame, SUITE.perplexity)
    assert "sequence length 256 tokens (other); 1024 tokens (meta-llama/Llama-3.1-8B)" in note


def test_what_was_measured_is_told_under_the_table(tmp_path: Path) -> None:
    text = render(tmp_path, full_matrix(), note="Extra.").with_suffix(".md").read_text()
    assert "SIQA (acc, 40 documents, chance 33.3); PIQA (acc_norm, 60 documents" in text
    assert "words of the raw text, sequence length 1024 tokens, n = 3." in text
    assert "over seeds 0, 1, 2" in text
    assert "up to 2.50 points" in text  # sqrt(3^2 + 4^2) / 2
    assert "- Extra.\n" in text
    assert "- Extra." in text


def test_the_claims_sentence_is_left_out_where_it_does_not_hold(tmp_path: Path) -> None:
    stem = render(tmp_path, full_matrix(profile="offline"), profile="offline")
    assert "larger" not in stem.with_suffix(".md").read_text()


def test_the_paper_profile_is_set_beside_the_published_numbers(tmp_path: Path) -> None:
    rows = cell("dense", 0, 0, params=8_030_261_248, profile="paper")
    rows += cell("flap", 20, 0, (0.44, 0.73), 16.0, 6_490_000_000, profile="paper")
    stem = render(tmp_path, rows, profile="paper", sparsities=[20], seeds=[0])
    table = tidy(stem)
    siqa = table.loc[(20, "flap", "social_iqa")]
    assert (siqa["published"], siqa["published_std"]) == (43.40, 0.58)
    assert siqa["difference"] == pytest.approx(0.60)
    assert table.loc[(20, "flap", "params"), "difference"] == pytest.approx(1e7)
    assert pd.isna(table.loc[(20, "slicegpt", "piqa"), "difference"])
    # The paper's average is over seven tasks and not over these two.
    assert pd.isna(table.loc[(20, "flap", "average"), "published"])
    text = stem.with_suffix(".md").read_text()
    assert f"| 43.40 | +0.60 | 73.27 | {MINUS}0.27 |" in text
    assert "6.48B | +0.01B" in text
    assert "$-$0.27" in stem.with_suffix(".tex").read_text()


def test_other_profiles_are_not_set_beside_it(tmp_path: Path) -> None:
    stem = render(tmp_path, full_matrix())
    assert "published" not in tidy(stem).columns
    assert "publ." not in stem.with_suffix(".tex").read_text()


def test_the_published_average_is_shown_for_the_same_tasks(tmp_path: Path) -> None:
    names = ["arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa"]
    tasks = [Task(name, name, "acc_norm", 0.25, 100) for name in names]
    tasks += [Task(name, name, "acc", 0.5, 100) for name in ("social_iqa", "winogrande")]
    rows = full_matrix(profile="paper")
    stem = render(tmp_path, rows, profile="paper", suite=replace(SUITE, tasks=tasks))
    assert tidy(stem).loc[(20, "flap", "average"), "published"] == 53.33


def test_a_model_without_any_result_is_a_table_of_dashes(tmp_path: Path) -> None:
    table = tidy(render(tmp_path, full_matrix(), models=["other"]))
    assert set(table["status"]) == {"missing"}


def test_collected_cells_become_a_table(tmp_path: Path) -> None:
    """The way from the files of cells to a table, through the real results CSV."""
    dense = changed(PRUNING, method="dense", sparsity=0, calibration=None)
    cells = [write_cell(tmp_path, dense, EVALUATION), write_cell(tmp_path, None, EVALUATION)]
    results_csv = tmp_path / "results.csv"
    write_results(collect(cells, "mini"), results_csv, tmp_path / "provenance.csv")
    suite = Suite(
        "few",
        [Task("winowhy", "WinoWhy", "acc", 0.5, 40)],
        Perplexity("prose", "Prose ppl.", "word_perplexity", "words"),
    )
    stem = tmp_path / "table1"
    render_table(
        DECLARATIONS / "table1.yaml",
        results_csv,
        tmp_path / "provenance.csv",
        stem,
        name="mini",
        profile=Run(models=["org/small"], sparsities=[20], seeds=[0]),
        suite=suite,
    )
    assert tidy(stem).loc[(20, "flap", "prose"), "value"] == pytest.approx(33.33333333)
    assert tidy(stem).loc[(0, "dense", "average"), "value"] == pytest.approx(50.0)


def test_table_1_shows_the_first_model_and_table_7_all(tmp_path: Path) -> None:
    other = "meta-llama/Llama-3.2-1B"
    rows = full_matrix() + full_matrix(model=other)
    one = render(tmp_path / "one", rows, models=[MODEL, other])
    all_ = render(tmp_path / "all", rows, models=[MODEL, other], name="table7")
    assert set(pd.read_csv(one.with_suffix(".csv"))["model"]) == {MODEL}
    assert list(pd.read_csv(all_.with_suffix(".csv"))["model"].unique()) == [MODEL, other]


def test_variants_and_other_recoveries_are_other_cells(tmp_path: Path) -> None:
    rows = full_matrix() + cell("flap", 20, 0, (0.9, 0.9), variant="big")
    rows += cell("flap", 20, 0, (0.9, 0.9), recovery="lora")
    assert tidy(render(tmp_path, rows)).loc[(20, "flap", "average"), "value"] < 50


CHANGES = """
name: changes
caption: c
label: l
rows:
  - {method: dense, title: Dense}
  - {method: flap, title: FLAP}
  - {method: flap@mended, title: Mended, against: flap}
"""


def changes(folder: Path, mended: list[Row]) -> Path:
    """Render a table of FLAP at three seeds and of a variant that is set against it."""
    (folder / "changes.yaml").write_text(CHANGES)
    rows = cell("dense", 0, 0)
    for seed, accuracy in enumerate((0.30, 0.40, 0.50)):
        rows += cell("flap", 20, seed, (accuracy, 0.5), 100.0 + seed)
    return render(folder, rows + mended, "changes", declarations=folder, sparsities=[20])


def test_changes_are_taken_seed_by_seed(tmp_path: Path) -> None:
    mended = []
    for seed, accuracy in enumerate((0.32, 0.42, 0.58)):
        parameters = 94_080_000 - 1_000_000 * seed
        mended += cell("flap", 20, seed, (accuracy, 0.5), 99.0 + seed, parameters, variant="mended")
    stem = changes(tmp_path, mended)
    row = tidy(stem).loc[(20, "flap@mended")]
    # SIQA rises by 2, 2 and 8 points, the mean of two tasks by half of that.
    assert row.loc["social_iqa", "change"] == pytest.approx(4.0)
    assert row.loc["average", "change"] == pytest.approx(2.0)
    assert row.loc["average", "change_std"] == pytest.approx(3**0.5)
    assert (row.loc["wikitext", "change"], row.loc["wikitext", "change_std"]) == (-1.0, 0.0)
    assert row.loc["params", "change"] == -1_000_000
    assert (row["change_seeds"] == 3).all()
    assert tidy(stem).loc[(20, "flap"), "change"].isna().all()
    text = stem.with_suffix(".md").read_text()
    assert (
        f"| Mended, against FLAP | {MINUS}1.00M ± 1.00 | +4.00 ± 3.46 | 0.00 ± 0.00 | "
        f"+2.00 ± 1.73 | {MINUS}1.00 ± 0.00 |"
    ) in text
    assert "difference of two methods at the same seed" in text


def test_large_changes_are_told_by_their_magnitude(tmp_path: Path) -> None:
    mended = cell("flap", 20, 0, (0.3, 0.5), 2.5e8, variant="mended")
    text = changes(tmp_path, mended).with_suffix(".md").read_text()
    assert "| 0.00M | 0.00 | 0.00 | 0.00 | +2.50·10⁸ |" in text


def test_changes_count_the_seeds_that_both_methods_have(tmp_path: Path) -> None:
    mended = cell("flap", 20, 1, (0.46, 0.5), variant="mended")
    mended += stopped("flap", 20, 2, "failed", "why", variant="mended")
    row = tidy(changes(tmp_path, mended)).loc[(20, "flap@mended", "social_iqa")]
    assert (row["change"], row["change_seeds"]) == (pytest.approx(6.0), 1)
    assert pd.isna(row["change_std"])


def test_a_change_over_fewer_seeds_than_its_row_says_so(tmp_path: Path) -> None:
    """The mended method has all three seeds, the one it is set against lacks one."""
    mended = [row for seed in range(3) for row in cell("flap", 20, seed, variant="mended")]
    (tmp_path / "changes.yaml").write_text(CHANGES)
    rows = cell("dense", 0, 0) + cell("flap", 20, 0) + cell("flap", 20, 1) + mended
    stem = render(tmp_path, rows, "changes", declarations=tmp_path, sparsities=[20])
    text = stem.with_suffix(".md").read_text()
    assert "| 20% | Mended |" in text
    assert "| 20% | Mended, against FLAP (2 of 3 seeds) |" in text


def test_a_small_change_is_not_printed_as_none(tmp_path: Path) -> None:
    mended = cell("flap", 20, 0, (0.29998, 0.5), 100.004, variant="mended")
    text = changes(tmp_path, mended).with_suffix(".md").read_text()
    assert f"| 0.00M | {MINUS}0.002 | 0.00 | {MINUS}0.001 | +0.004 |" in text


def test_change_of_a_method_without_result_is_a_dash(tmp_path: Path) -> None:
    stem = changes(tmp_path, [])
    dashes = " | ".join([MISSING] * 5)
    assert f"| Mended, against FLAP | {dashes} |" in stem.with_suffix(".md").read_text()


def test_dense_stands_above_recovered_models_too() -> None:
    rows = cell("dense", 0, 0) + cell("flap", 20, 0, recovery="lora")
    results = pd.DataFrame([asdict(row) for row in rows])
    lines = [DeclaredRow(method=method, title=method) for method in ("dense", "flap")]
    where = {"models": [MODEL], "sparsities": [20], "seeds": [0]}
    grid = build_grid(results, columns_of(SUITE), lines, recovery="lora", **where)
    assert [row.entries["average"].n_seeds for row in grid.rows] == [1, 1]


def test_latex_specials_are_escaped() -> None:
    assert escape_latex("20% of a_b & #3 {x} ~ ^ $ \\") == (
        r"20\% of a\_b \& \#3 \{x\} \textasciitilde{} \textasciicircum{} \$ \textbackslash{}"
    )


def test_a_profile_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results of profile 'paper'"):
        render(tmp_path, full_matrix(), profile="paper")
