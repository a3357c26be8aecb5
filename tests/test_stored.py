"""What is stored is shown without computing; anything else, and whatever is asked again, is not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adaptprune.cells import Cell
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.pruning.registry import find_method
from adaptprune.tables.declared_tables import DeclaredTables
from adaptprune.tables.render import render_table
from adaptprune.workflow.papers import declared_tables
from adaptprune.workflow.paths import Run
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.request import Request
from adaptprune.workflow.stored import Stored

ROOT = Path(__file__).parents[1]
MATRIX = ROOT / "results" / "offline.csv"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def decided(root: Path = ROOT, **config: Any) -> tuple[Request, str]:
    """Return a request for the stored profile once it has decided, and what it said."""
    said: list[str] = []
    tables = DeclaredTables(declared_tables(ROOT / "paper_tables"))
    request = Request(root, {"profile": "offline"} | config, tables, print, said.append)
    request.stored("offline")
    return request, "\n".join(said)


def test_the_stored_matrix_is_shown_where_there_is_no_run() -> None:
    request, said = decided()
    files = [str(MATRIX), str(MATRIX.with_name("offline.provenance.csv"))]
    assert request.collected("offline") == files
    assert request.source("offline").results == MATRIX
    lacking = len(MATRIX.with_name("offline.not-run.csv").read_text().splitlines()) - 1
    assert said == (
        f"profile offline: shown from {MATRIX}, without {lacking} cells that were not run; "
        "--config rerun=true computes it"
    )


def test_cells_that_the_matrix_does_not_know_are_computed() -> None:
    request, _ = decided()
    assert request.selection("offline", "table7") == "-table7"
    run = Run("offline")
    computed = [run.collected(kind, "-table7") for kind in ("results", "provenance")]
    assert request.collected("offline", "-table7") == computed


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"seeds": "0"}, "is not of the profile"),
        ({"sparsities": "20,40,80"}, "is not"),
        ({"methods": "dense,flap"}, "is not of the profile"),
        ({"dense_gate": False}, "(dense_gate)"),
        ({"rerun": True}, ""),
    ],
)
def test_whatever_is_not_stored_is_computed(config: dict[str, Any], told: str) -> None:
    request, said = decided(**config)
    assert request.collected("offline")[0] == Run("offline").collected()
    assert request.source("offline").stored is None
    assert told in said
    assert said.startswith("profile offline: computed, for ") == bool(told)


def test_an_override_that_changes_nothing_changes_nothing() -> None:
    request, _ = decided(seeds="0,1,2")
    assert request.source("offline").stored == MATRIX


def test_a_run_is_not_put_aside(tmp_path: Path) -> None:
    record = tmp_path / Run("offline").cell("smollm2-135m/flap/20/none/s1", "pruning.json")
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    request, said = decided()
    assert request.source("offline").stored is None
    assert said == ""


def test_the_cells_of_a_compared_method_are_no_run_of_the_profile(tmp_path: Path) -> None:
    record = tmp_path / Run("offline").cell("smollm2-135m/mine/20/none/s1", "pruning.json")
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert decided()[0].source("offline").stored == MATRIX


def test_a_method_of_another_version_has_all_cells_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(find_method("flap")), "version", 99)
    request, said = decided()
    assert request.source("offline").stored is None
    assert "(method_version of flap 1, not 99)" in said


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("sequences: 64", "sequences: 32", "calibration of adapt-pruner 'bigbench-prose 64x64'"),
        ("amplitude: 0.08", "amplitude: 0.07", "parameters of adapt-pruner"),
        ("documents_per_task: 200", "documents_per_task: 100", "documents of bigbench_local_"),
        ("perplexity_documents: 60", "perplexity_documents: 6", "documents of bigbench_local_"),
        ("  - shortgpt\n", "", "shortgpt/20/none/s0 is not of the profile"),
    ],
)
def test_another_profile_has_all_cells_computed(
    tmp_path: Path, before: str, after: str, told: str
) -> None:
    for folder in ("config", "results"):
        shutil.copytree(
            ROOT / folder, tmp_path / "root" / folder, ignore=shutil.ignore_patterns("runs")
        )
    profile = tmp_path / "root" / "config" / "offline.yaml"
    assert before in profile.read_text()
    profile.write_text(profile.read_text().replace(before, after, 1))
    request, said = decided(tmp_path / "root")
    assert request.source("offline").stored is None
    assert told in said


def test_what_is_not_listed_as_not_run_is_computed(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for file in MATRIX.parent.glob("offline.*"):
        if not file.name.endswith("not-run.csv"):
            shutil.copy(file, tmp_path / "results")
    request, said = decided()
    assert request.source("offline").stored is None
    assert "is not stored)" in said
    assert "profile offline: computed, for results/offline.csv is" in said


def test_a_matrix_that_was_altered_ends_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for file in MATRIX.parent.glob("offline.*"):
        shutil.copy(file, tmp_path / "results")
    copy = tmp_path / "results" / "offline.csv"
    copy.write_text(copy.read_text().replace("flap,1,", "flap,2,"))
    with pytest.raises(SystemExit, match=r"error: results/offline.csv: altered since"):
        decided()


def test_rerun_is_true_or_false() -> None:
    with pytest.raises(UserError, match="rerun must be true or false, not 7"):
        decided(rerun=7)


def test_a_selection_needs_a_stored_cell_and_no_unknown_one() -> None:
    there, lacking, other = (Cell("m", "flap", 20, "none", seed) for seed in range(3))
    stored = Stored(MATRIX, frozenset({there}), frozenset({lacking}))
    assert stored.shows([there, lacking])
    assert not stored.shows([lacking])
    assert not stored.shows([there, other])


def test_cells_that_were_not_run_are_dashes_and_the_caption_says_why(tmp_path: Path) -> None:
    declaration = tmp_path / "masks.yaml"
    declaration.write_text(
        "name: masks\ncaption: Masks.\nlabel: tab:masks\nrows:\n"
        "  - {method: dense, title: Dense}\n"
        "  - {method: sparsegpt, title: SparseGPT}\n"
    )
    profile = load_profile(ROOT / "config", "offline")
    suite = load_suite(profile.evaluation.suite)
    costs = MATRIX.with_name("offline.provenance.csv")
    lines = MATRIX.read_text(encoding="utf-8").splitlines(keepends=True)
    stored = tmp_path / "results" / MATRIX.name
    stored.parent.mkdir()
    stored.write_text("".join(line for line in lines if ",sparsegpt," not in line))
    for companion in ("versions.json", "not-run.csv"):
        shutil.copy(MATRIX.with_name(f"offline.{companion}"), stored.parent)
    stem = tmp_path / "masks"
    render_table(declaration, stored, costs, stem, name="offline", profile=profile, suite=suite)
    text = stem.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith(
        "# Masks. From the stored results/offline.csv; nothing was computed. –: listed there as "
        "not run; --config rerun=true computes it.\n"
    )
    assert re.search(r"\| 50% \| SparseGPT \| (– \| )+–", text)


@pytest.mark.workflow
def test_tables_figures_and_the_report_are_made_of_it(tmp_path: Path) -> None:
    """A run of the workflow in an empty folder: no cell is made, and all pages say so."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "table1", "size", "report", "--cores", "2"),
            *("--snakefile", str(ROOT / "Snakefile"), "--config", "profile=offline"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"profile offline: shown from {MATRIX}" in done.stderr
    assert not (tmp_path / "results" / "runs" / "offline" / "cells").exists()
    assert not (tmp_path / "results" / "runs" / "offline" / "models").exists()
    made = tmp_path / "paper_tables" / "generated" / "offline"
    said = "From the stored results/offline.csv; nothing was computed."
    for page in ("table1.md", "table1.tex", "report.html"):
        assert said in (made / page).read_text(encoding="utf-8"), page
    assert "| 20% | Adapt-Pruner | 118.03M" in (made / "table1.md").read_text(encoding="utf-8")
    drawn = (made / "figures" / "size.svg").read_text(encoding="utf-8")
    assert "Scores from the stored results/offline.csv" in drawn
    again = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "table1", "size", "--cores", "2", "--dry-run"),
            *("--snakefile", str(ROOT / "Snakefile"), "--config", "profile=offline"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert "Nothing to be done" in again.stdout + again.stderr
