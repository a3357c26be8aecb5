"""`snakemake store` and `snakemake compare` end to end on the tiny profile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from adaptprune.results.matrix import read_matrix

ROOT = Path(__file__).parent.parent
PLUGIN = Path(__file__).parent / "plugin" / "my_method.py"
NARROW = ["profile=tiny", "sparsities=40", "seeds=0,1"]

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("compare")]


def run(
    folder: Path, target: str, *config: str, packages: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the workflow in a folder of its own; ``packages`` are installed besides."""
    search = [str(packages)] if packages else []
    search += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", target, "--cores", "2"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
            *("--config", *config),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(search)},
    )


def evaluations(folder: Path) -> dict[str, int]:
    """Return the finished cells with the time of their evaluation."""
    cells = folder / "results" / "runs" / "tiny" / "cells" / "tiny-llama"
    return {
        str(path.parent.relative_to(cells)): path.stat().st_mtime_ns
        for path in cells.glob("*/*/*/*/evaluation.json")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored tiny matrix, and the plug-in's file beside it."""
    made = tmp_path_factory.mktemp("compare")
    shutil.copy(PLUGIN, made / "my_method.py")
    done = run(made, "store", *NARROW, "methods=dense,flap,magnitude")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture(scope="module")
def before(folder: Path) -> dict[str, int]:
    return evaluations(folder)


@pytest.fixture(scope="module")
def compared(folder: Path, before: dict[str, int]) -> Path:
    """The folder of a finished comparison."""
    done = run(folder, "compare", *NARROW, "method_file=my_method.py", "method=mine")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "runs" / "tiny" / "compare" / "mine"


def test_the_matrix_is_stored(folder: Path) -> None:
    matrix = read_matrix(folder / "results" / "tiny.csv")
    assert set(matrix.results["method"]) == {"dense", "flap", "magnitude"}


def test_only_the_new_method_s_cells_are_run(
    folder: Path, before: dict[str, int], compared: Path
) -> None:
    after = evaluations(folder)
    assert set(after) - set(before) == {"mine/40/none/s0", "mine/40/none/s1"}
    assert {cell: time for cell, time in after.items() if cell in before} == before
    assert set(pd.read_csv(compared / "new.csv")["method"]) == {"mine"}


def test_an_installed_method_is_compared_by_its_name(
    folder: Path, installed: Path, tmp_path: Path
) -> None:
    """In a folder of its own, against baselines that lie elsewhere."""
    baseline = f"baseline={folder / 'results' / 'tiny.csv'}"
    narrow = ["profile=tiny", "sparsities=40", "seeds=0"]
    done = run(tmp_path, "compare", *narrow, baseline, "method=mine", packages=installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(evaluations(tmp_path)) == {"mine/40/none/s0"}
    compared = tmp_path / "results" / "runs" / "tiny" / "compare" / "mine" / "comparison.csv"
    assert set(pd.read_csv(compared)["baseline"]) == {"flap", "magnitude"}


def test_the_comparison_is_there_in_all_formats(compared: Path) -> None:
    text = (compared / "comparison.md").read_text()
    assert "Mine and FLAP" in text or "Mine is" in text
    assert "| Mine against |" in text
    assert "| 0 % | Dense |" in text
    assert (compared / "comparison.html").read_text().startswith("<!DOCTYPE html>")
    table = pd.read_csv(compared / "comparison.csv")
    assert set(table["baseline"]) == {"flap", "magnitude"}
    assert set(table["seed"]) == {"0", "1", "all"}


def test_a_second_call_does_nothing_and_a_changed_file_runs_anew(
    folder: Path, before: dict[str, int], compared: Path
) -> None:
    config = [*NARROW, "method_file=my_method.py", "method=mine"]
    again = run(folder, "compare", *config)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    earlier = evaluations(folder)
    file = folder / "my_method.py"
    file.write_text(file.read_text().replace("power: float = 2.0", "power: float = 1.0"))
    changed = run(folder, "compare", *config)
    assert changed.returncode == 0, changed.stdout + changed.stderr
    after = evaluations(folder)
    assert {cell: time for cell, time in after.items() if cell in before} == before
    assert all(after[cell] > earlier[cell] for cell in set(after) - set(before))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ([], "error: compare which method? --config method=NAME"),
        (["method=flapp"], "did you mean 'flap'"),
        (["method=mine", "method_file=absent.py"], "absent.py: no such file"),
        (["method=flap", "methods=flap"], "method and methods: give one of the two"),
        (["method=flap", "sparsities=30"], "holds no baselines of sparsity 30 (allowed: 40)"),
        (["method=flap", "seeds=5"], "holds no baselines of seed 5"),
        (
            ["method=flap", "profile=mini"],
            "holds no baselines of model smollm2-135m (allowed: tiny-",
        ),
        (["method=flap", "baseline=absent.csv"], "absent.csv: no such file"),
        (["method=dense"], "dense is no method to compare"),
    ],
)
def test_what_cannot_be_compared_is_told_before_any_work(
    folder: Path, before: dict[str, int], config: list[str], told: str
) -> None:
    given = {pair.split("=")[0] for pair in config}
    base = [pair for pair in NARROW if pair.split("=")[0] not in given]
    if "profile=mini" in config:
        base = ["baseline=results/tiny.csv"]
    done = run(folder, "compare", *base, *config)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output
    assert [line for line in output.splitlines() if line.startswith("error:") and told in line]
    assert set(evaluations(folder)) >= set(before)
