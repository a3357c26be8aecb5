"""docs/compare-on-a-gpu.md from end to end: baselines of one's own, stored, and compared with.

Its profile lies over `tiny` here and computes on a CPU; its commands are run as they are printed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_documented_commands import as_the_pages_assume, commands_of

from adaptprune.results.matrix import read_matrix

PAGE = Path(__file__).parent.parent / "docs" / "compare-on-a-gpu.md"

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("compare")]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the page's profile, which stands on a tiny model and a CPU."""
    folder = tmp_path_factory.mktemp("clone")
    as_the_pages_assume(folder)
    profile = folder / "config" / "my-gpu.yaml"
    text = profile.read_text()
    for written, here in (("extends: offline", "extends: tiny"), ("device: cuda", "device: cpu")):
        assert written in text
        text = text.replace(written, here)
    profile.write_text(text)
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the page as it is printed, with two cores."""
    program, *words = shlex.split(command.replace("--cores 8", "--cores 2"))
    return subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(PAGE.parent.parent)},
    )


def cells(folder: Path) -> set[str]:
    """Return the cells that have been evaluated."""
    found = (folder / "results/runs/my-gpu/cells/tiny-llama").glob("*/*/*/*/evaluation.json")
    return {path.parts[-5] for path in found}


def test_the_page_is_walked_from_end_to_end(clone: Path) -> None:
    store, board, mine, corrected, grow, stored, by_name = commands_of(PAGE.read_text())
    results = clone / "results" / "my-gpu.csv"

    done = run(store, clone)
    assert done.returncode == 0, done.stdout + done.stderr
    baselines = {"dense", "adapt-pruner", "llm-pruner", "flap"}
    rows = read_matrix(results).results
    assert set(rows["method"]) == baselines
    assert set(rows["dtype"]) == {"bfloat16"}
    done = run(board, clone)
    assert done.returncode == 0, done.stderr
    assert "FLAP" in (clone / "my-gpu.html").read_text()

    done = run(mine, clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cells(clone) == baselines | {"mine"}
    compared = clone / "results/runs/my-gpu/compare"
    assert "Mine" in (compared / "mine/comparison.html").read_text()
    table = pd.read_csv(compared / "mine/comparison.csv")
    assert set(table["baseline"]) == baselines - {"dense"}

    done = run(corrected, clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (compared / "flap@corrected/comparison.html").is_file()

    done = run(grow, clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(read_matrix(results).results["method"]) == baselines | {"magnitude"}
    done = run(stored, clone)
    assert done.returncode == 0, done.stderr
    assert "FLAP, against Magnitude" in done.stdout

    again = run(by_name, clone)
    assert again.returncode == 0, again.stdout + again.stderr


def test_other_conditions_are_refused_before_any_work(clone: Path) -> None:
    """In another dtype than that of the baselines."""
    profile = clone / "config" / "my-gpu.yaml"
    profile.write_text(profile.read_text().replace("dtype: bfloat16", "dtype: float32"))
    *_, by_name = commands_of(PAGE.read_text())
    before = cells(clone)
    done = run(by_name, clone)
    assert done.returncode != 0
    assert "mixed conditions: dtype is bfloat16 in results/my-gpu.csv" in done.stderr
    assert cells(clone) == before
