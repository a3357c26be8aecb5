"""A comparison is of like with like: all that one page shows at a place is over the same seeds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from matrix_examples import stored, write_cells, write_dense
from test_compare import row_of

from adaptprune.comparison.report import Comparison, compare_files, render_html, render_markdown
from adaptprune.comparison.words import describe_average, describe_perplexity
from adaptprune.results.matrix import read_matrix
from adaptprune.results.numerals import MINUS

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.tables.panels import Panel


@pytest.fixture(scope="module")
def baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two baselines at three seeds, which differ from seed to seed."""
    folder = tmp_path_factory.mktemp("baselines")
    cells = write_cells(folder / "cells", sparsities=(20, 40), seeds=(0, 1, 2))
    return stored(folder, "old", [write_dense(folder / "cells"), *cells])


def rows_of(panel: Panel, sparsity: str = "20 %") -> dict[str, dict[str, str]]:
    """Return the printed texts of a panel's rows at a sparsity, by label and header."""
    return {
        row.labels[-1]: dict(
            zip(panel.flat_headers, (text.text for text in row.texts), strict=True)
        )
        for row in panel.rows
        if len(row.labels) == 1 or row.labels[0] == sparsity
    }


def marks_of(panel: Panel, sparsity: str) -> set[str]:
    return {text.rank for row in panel.rows if row.labels[0] == sparsity for text in row.texts} - {
        ""
    }


def average_of(path: Path, method: str, seed: int) -> float:
    """Return the mean accuracy (percent) of a cell at 20 %, straight from the stored results."""
    results = read_matrix(path).results
    rows = results.query("method == @method and sparsity == 20 and seed == @seed")
    accuracies = rows[rows["metric"].isin(["acc", "acc_norm"])]["value"]
    assert len(accuracies) == 2
    return 100 * accuracies.mean()


@pytest.fixture
def narrowed(tmp_path: Path, baselines: Path) -> Comparison:
    """A new method at seed 0 alone, against baselines at three seeds."""
    new = write_cells(tmp_path / "cells", ["mine"], seeds=[0])
    return compare_files(baselines, stored(tmp_path, "new", new), "mine")


def test_one_seed_of_a_method_stands_beside_the_same_seed_of_the_baselines(
    narrowed: Comparison, baselines: Path
) -> None:
    scores, differences, _, cost = narrowed.panels
    rows = rows_of(scores)
    flap, mine = (float(rows[label]["Average"]) for label in ("FLAP", "mine"))
    assert flap == pytest.approx(average_of(baselines, "flap", 0), abs=0.005)
    assert average_of(baselines, "flap", 1) != average_of(baselines, "flap", 0)
    # The printed difference is that of the printed scores.
    said = rows_of(differences)["FLAP"]["Average"]
    printed = float(said.replace(MINUS, "-"))
    assert printed == pytest.approx(mine - flap, abs=0.06)
    assert f"{said} points" in narrowed.sentences[0]
    for panel in narrowed.panels:
        for texts in rows_of(panel).values():
            assert not any("±" in text for text in texts.values()), "one seed has no spread"
    assert {"FLAP", "LLM-Pruner", "mine"} == set(rows_of(cost))


def test_the_page_says_which_seeds_it_is_over(narrowed: Comparison) -> None:
    notes = "\n".join(narrowed.notes)
    assert "over seed 0, where they are compared" in notes
    assert "mine, against FLAP, 20 %: compared at seeds 0." in notes
    for text in (render_markdown(narrowed), render_html(narrowed)):
        assert not re.search("seeds 0, 1, 2", text)


def test_places_of_other_seeds_are_told_apart(tmp_path: Path, baselines: Path) -> None:
    new = write_cells(tmp_path / "cells", ["mine"], [20], [0, 1, 2])
    new += write_cells(tmp_path / "cells", ["mine"], [40], [1])
    comparison = compare_files(baselines, stored(tmp_path, "new", new), "mine")
    assert "over seeds 0, 1, 2 at 20 %; seed 1 at 40 %, where they are" in comparison.notes[1]
    (scores, *_) = comparison.panels
    assert all("±" in texts["Average"] for texts in rows_of(scores, "20 %").values())
    assert not any("±" in texts["Average"] for texts in rows_of(scores, "40 %").values())
    assert marks_of(scores, "20 %") == marks_of(scores, "40 %") == {"best", "second"}


def test_nothing_is_marked_across_different_seeds(tmp_path: Path) -> None:
    """FLAP lacks one seed of 40 %: the page says so at every row, and marks nothing there."""
    cells = write_cells(tmp_path / "old", seeds=(0, 1, 2))
    cells = [cell for cell in cells if cell.parts[-4:] != ("flap", "40", "none", "s2")]
    new = write_cells(tmp_path / "new", ["mine"], seeds=(0, 1, 2))
    paths = (stored(tmp_path, "old", cells), stored(tmp_path, "new", new))
    comparison = compare_files(*paths, "mine")
    scores, differences, tasks, cost = comparison.panels
    assert marks_of(scores, "20 %") == {"best", "second"}
    assert marks_of(scores, "40 %") == set()
    for panel, label in (
        (scores, "FLAP (2 of 3 seeds)"),
        (differences, "FLAP (2 of 3 seeds)"),
        (tasks, "FLAP (2 of 3 seeds)"),
        (cost, "FLAP (2 of 3 seeds)"),
    ):
        assert label in rows_of(panel, "40 %")
        assert label not in rows_of(panel, "20 %")
    said = [sentence for sentence in comparison.sentences if " (2 of 3 seeds)" in sentence]
    assert [("FLAP" in sentence, "40 %" in sentence) for sentence in said] == [(True, True)]
    notes = "\n".join(comparison.notes)
    assert "Nothing is marked where" in notes
    assert "mine, against FLAP, 40 %: compared at seeds 0, 1." in notes


def test_an_interval_that_leaves_zero_out_does_not_print_it() -> None:
    assert f"[{MINUS}3.8, {MINUS}0.04]" in describe_average(
        row_of(-1.9, 0.01, -3.8, -0.04), "Mine", "FLAP", ""
    )
    said = describe_average(row_of(1.9, 0.0496, 0.04, 3), "M", "F", "")
    assert "corrected p (Holm) = 0.0496" in said
    assert "[0.91, 0.9996]" in describe_perplexity(row_of(0.95, 0.01, 0.91, 0.9996), "FLAP")
