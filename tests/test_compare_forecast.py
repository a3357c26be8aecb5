"""How long a comparison takes: said beforehand, shown meanwhile, and little for a stored matrix."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import termios
from pathlib import Path

import pandas as pd
import pytest

from adaptprune.cells import Cell
from adaptprune.comparison.forecast import say_beforehand
from adaptprune.results.matrix import beside

ROOT = Path(__file__).parent.parent
MATRIX = ROOT / "results" / "offline.csv"


def cells_of(method: str, count: int) -> list[Cell]:
    """Return cells at one sparsity, a seed each."""
    return [Cell("smollm2-135m", method, 20, "none", seed) for seed in range(count)]


def test_a_known_method_takes_what_its_stored_cells_took() -> None:
    stages = pd.read_csv(beside(MATRIX, "provenance.csv"))
    flap = stages[stages["method"] == "flap"]
    each = flap.groupby(["sparsity", "seed"])["cpu_s"].sum().mean() / 60
    scoring = flap["score_wall_s"].mean() / 60
    minutes = 3 * (each + scoring) / 2
    said = say_beforehand(cells_of("flap", 3), MATRIX, at_once=2)
    assert said.startswith("compare: 3 cells of flap to compute, about ")
    assert f"about {-int(-minutes // 1)} min with 2 at once" in said
    assert f"{each:.1f} min each, and {scoring:.1f} min for the scores of a seed" in said


def test_another_method_is_taken_for_the_mean_of_all() -> None:
    stages = pd.read_csv(beside(MATRIX, "provenance.csv"))
    keys = ["method", "variant", "sparsity", "seed"]
    cells = stages.groupby(keys, dropna=False)["cpu_s"].sum()
    assert f"{cells.mean() / 60:.1f} min each" in say_beforehand(cells_of("mine", 1), MATRIX, 4)


def test_baselines_without_times_are_said_to_have_none(tmp_path: Path) -> None:
    said = say_beforehand(cells_of("mine@long", 1), tmp_path / "absent.csv", 1)
    assert said.startswith("compare: 1 cell of mine@long to compute; how long that takes is not")


@pytest.mark.workflow
def test_the_workflow_says_it_before_anything_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "compare", "--dry-run", "--cores", "2"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)),
            *("--config", "method=flap", "seeds=0"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("compare: ")]
    assert len(said) == 1
    assert said[0].startswith("compare: 3 cells of flap to compute, about ")


def test_a_stored_matrix_is_compared_in_seconds_and_shows_how_far_it_is(tmp_path: Path) -> None:
    """About five seconds of a processor; the limit leaves room for slow and busy machines."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "adaptprune", "compare", str(MATRIX), str(MATRIX)]
    command += ["--method", "adapt-pruner", "--output", str(tmp_path / "out")]
    environment = {key: text for key, text in os.environ.items() if key != "TQDM_DISABLE"}
    with subprocess.Popen(command, stderr=follower, env=environment) as running:
        os.close(follower)
        shown = b""
        try:
            while part := os.read(leader, 4096):
                shown += part
        except OSError:  # the terminal's other side is closed
            pass
    os.close(leader)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert running.returncode == 0
    assert b"Comparing: 100%" in shown
    assert f"wrote {tmp_path}".encode() in shown
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 12
