"""Figures, ablations and measurements through Snakemake: run on the tiny profile, else planned."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import test_workflow
from test_workflow import runs

from adaptprune.figures.style import SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = (
    *("fig1", "fig2", "size", "speed", "cost"),
    *("table8", "ablation_amplitude", "ablation_distance", "ablation_steps"),
    *("ablation_calibration", "ablation_alignment"),
)
MATRIX = ("methods=dense,adapt-pruner,slicegpt", "sparsities=20", "seeds=0")

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("figures")]


#: Ask for all targets of this kind at once.
run = partial(test_workflow.run, target=TARGETS, timeout=900)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all targets of this kind."""
    folder = tmp_path_factory.mktemp("figures")
    ran = run(folder, *MATRIX)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


def generated(folder: Path) -> Path:
    return folder / "paper_tables" / "generated" / "tiny"


def test_every_figure_is_there_with_its_data(finished: Path) -> None:
    for name in ("fig1", "fig2", "size", "speed"):
        for suffix in SUFFIXES:
            assert (generated(finished) / "figures" / f"{name}{suffix}").stat().st_size > 0
    fig1 = pd.read_csv(generated(finished) / "figures" / "fig1.csv")
    assert set(fig1["uniform"].dropna()) == {0, 10, 20}
    fig2 = pd.read_csv(generated(finished) / "figures" / "fig2.csv")
    assert sorted(set(fig2["step"])) == [1, 2]
    size = pd.read_csv(generated(finished) / "figures" / "size.csv")
    assert set(size["method"]) == {"dense", "adapt-pruner", "slicegpt"}


def test_speed_and_cost_are_tables(finished: Path) -> None:
    speed = pd.read_csv(generated(finished) / "speed.csv")
    assert set(speed["measure"]) == {"prefill", "decode", "memory"}
    assert "Claim" not in (generated(finished) / "speed.md").read_text()
    cost = pd.read_csv(generated(finished) / "cost.csv")
    assert set(cost["method"]) == {"adapt-pruner", "slicegpt"}
    assert (cost["total_s"] > 0).all()
    scored = cost[cost["method"] == "adapt-pruner"].iloc[0]
    assert scored["score_s"] > 0, "the walk is part of the cost"


def test_ablations_show_their_own_cells(finished: Path) -> None:
    for name, rows in (("table8", 6), ("ablation_steps", 6), ("ablation_calibration", 6)):
        table = pd.read_csv(generated(finished) / f"{name}.csv")
        assert table["method"].nunique() == rows
        assert (table["status"] == "ok").all(), name
    table8 = pd.read_csv(generated(finished) / "table8.csv")
    assert set(table8["sparsity"]) == {0, 50}
    text = (generated(finished) / "table8.md").read_text()
    assert "as the amplitude grows, results improve up to A = 0.02 and then degrade" in text
    assert "in one seed: no test." in text or "does not hold" in text


def test_the_profile_s_own_results_are_free_of_ablations(finished: Path) -> None:
    results = pd.read_csv(runs(finished) / "results.csv", keep_default_na=False)
    assert set(results["variant"]) == {""}
    assert set(results["sparsity"]) == {0, 20}
    assert not list(runs(finished).glob("**/checkpoint")), "weights are temporary"


def test_a_second_call_does_nothing(finished: Path) -> None:
    again = run(finished, *MATRIX)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_report_shows_what_lies_there_and_is_made_anew_for_more(finished: Path) -> None:
    page = generated(finished) / "report.html"
    ran = run(finished, *MATRIX, target="report")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = page.read_text()
    for name in ("table1", "table8", "speed", "figure-fig1", "figure-speed"):
        assert f'id="{name}"' in text
    assert "fig3: <code>snakemake fig3" in text, "not run"
    again = run(finished, *MATRIX, target="report")
    assert "Nothing to be done" in again.stdout + again.stderr
    (generated(finished) / "figures" / "fig2.png").unlink()
    ran = run(finished, *MATRIX, target="report")
    assert "fig2: <code>snakemake fig2" in page.read_text(), ran.stdout + ran.stderr


@pytest.mark.parametrize("profile", ["mini", "paper", "small"])
def test_every_target_is_planned(tmp_path: Path, profile: str) -> None:
    planned = run(tmp_path, f"profile={profile}", "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    for rule in ("sensitivity", "measure", "prune_to_measure", "figure", "measured_table"):
        assert f"\n{rule} " in planned.stdout, rule
    stands_in = f"results/runs/{profile}-table8/results-table8.csv" in planned.stdout
    assert stands_in == (profile != "mini")
