"""Runs of the official AST codes, step by step, through the suite's own training loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"
RUNS = sorted(GOLDEN.glob("ast_*_20steps*.json"))


def compare(*files: Path) -> subprocess.CompletedProcess[str]:
    """Run the comparison as it is run by hand."""
    command = [sys.executable, "-m", "tests.parity.ast", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, cwd=GOLDEN.parents[1])


def test_all_official_runs_agree() -> None:
    finished = compare(*RUNS)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == len(RUNS) == 6
    assert all("json: agrees: losses" in line for line in lines)


def change(run: dict[str, Any], place: str) -> None:
    """Alter one figure of a run a little."""
    if place == "loss":
        run["steps"][7]["loss_total"] += 1e-4
    elif place == "flips":
        run["steps"][9]["flipped"] += 2
    elif place == "sums":
        run["final_parameters"][3]["abssum"] *= 1.0001
    elif place == "settings":
        run["settings"]["surprise"] = 1


TOLD = {
    "loss": "DIFFERS: losses 0.0001",
    "flips": "flips 2 (allowed 0)",
    "sums": "sums 0.0001",
    "settings": "settings: surprise is not known",
}


def test_figures_that_differ_are_told(tmp_path: Path) -> None:
    files = []
    for place in TOLD:
        run = json.loads((GOLDEN / "ast_llama_20steps_decay.json").read_text())
        change(run, place)
        files.append(tmp_path / f"{place}.json")
        files[-1].write_text(json.dumps(run))
    finished = compare(*files)
    assert finished.returncode == 1
    for told, line in zip(TOLD.values(), finished.stdout.splitlines(), strict=True):
        assert told in line
