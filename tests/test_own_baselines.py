"""docs/compare-on-a-gpu.md from end to end: baselines of one's own, stored, and compared with.

Its profile lies over `tiny` here and computes on a CPU; its commands are run as they are printed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from test_documented_commands import as_the_pages_assume, commands_of

from adaptprune.results.matrix import read_matrix

PAGE = Path(__file__).parent.parent / "docs" / "compare-on-a-gpu.md"

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("compare")]


#: What the page's profile says, and what it says here.
STAND_INS = {
    "extends: offline": "extends: tiny",
    "device: cuda": "device: cpu",
    "sparsities: [40]": "sparsities: [40]\nseeds: [0]",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the page's profile, which stands on a tiny model and a CPU."""
    as_the_pages_assume(tmp_path)
    alter(tmp_path, STAND_INS)
    return tmp_path


def alter(clone: Path, changes: dict[str, str]) -> None:
    """Change the page's profile."""
    profile = clone / "config" / "my-gpu.yaml"
    text = profile.read_text()
    for written, here in changes.items():
        assert written in text
        text = text.replace(written, here)
    profile.write_text(text)


def run(command: str, clone: Path, status: int = 0) -> str:
    """Run a command of the page as it is printed, with two cores; return what it says."""
    program, *words = shlex.split(command.replace("--cores 8", "--cores 2"))
    done = subprocess.run(
        [sys.executable, "-m", program, *words],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": str(PAGE.parent.parent)},
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    return said


def evaluated(clone: Path) -> set[str]:
    """Return the methods and variants whose cells have been evaluated."""
    found = (clone / "results/runs/my-gpu/cells/tiny-llama").glob("*/*/*/*/evaluation.json")
    return {path.parts[-5] for path in found}


def test_the_page_is_walked_from_end_to_end(clone: Path) -> None:
    store, board, mine, grow, stored, by_name = commands_of(PAGE.read_text())
    results, compared = clone / "results/my-gpu.csv", clone / "results/runs/my-gpu/compare"
    baselines = {"dense", "adapt-pruner", "llm-pruner", "flap"}

    run(store, clone)
    rows = read_matrix(results).results
    assert set(rows["method"]) == baselines
    assert set(rows["dtype"]) == {"bfloat16"}
    run(board, clone)
    assert "FLAP" in (clone / "my-gpu.html").read_text()

    run(mine, clone)
    assert evaluated(clone) == baselines | {"mine"}
    assert "Mine" in (compared / "mine/comparison.html").read_text()
    table = pd.read_csv(compared / "mine/comparison.csv")
    assert set(table["baseline"]) == baselines - {"dense"}

    run(grow, clone)
    assert set(read_matrix(results).results["method"]) == baselines | {"magnitude"}
    assert "| Magnitude |" in run(stored, clone)

    shutil.rmtree(clone / "results/runs")  # "and `results/runs/` may go"
    run(by_name, clone)
    assert evaluated(clone) == {"flap@corrected"}
    assert (compared / "flap@corrected/comparison.html").is_file()

    alter(clone, {"dtype: bfloat16": "dtype: float32"})
    assert "dtype is bfloat16 in results/my-gpu.csv but float32" in run(by_name, clone, status=1)
    assert evaluated(clone) == {"flap@corrected"}
