"""The campaign of kills sees what a kill costs: tried on a program of a few lines."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import psutil

FILE = Path(__file__).parents[1] / "benchmarks" / "kills.py"

#: Does a step that is kept, and one that is not; honest, or with one of two faults.
PROGRAM = """
import pathlib, sys, time
fault, first, result = sys.argv[1], pathlib.Path("first"), pathlib.Path("result")
begun = first.exists()
if not begun or fault == "forgets":
    first.write_text("1")
time.sleep(0.15)
result.write_text("changed" if begun and fault == "changes" else "same")
"""


@pytest.fixture(scope="module")
def kills() -> Any:
    spec = importlib.util.spec_from_file_location("kills", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = module
    spec.loader.exec_module(module)
    return module


class Program:
    """A campaign against ``PROGRAM``."""

    def __init__(self, fault: str):
        self.fault = fault

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-I", "-c", PROGRAM, self.fault], cwd=folder)

    def victims(self, process: psutil.Process) -> dict[str, list[psutil.Process]]:
        return {"program": [process]}

    def result(self, folder: Path) -> dict[str, bytes]:
        return {"result": (folder / "result").read_bytes()}

    def finished(self, folder: Path) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.glob("first")}


def test_kills_that_cost_nothing_are_survived(kills: Any, tmp_path: Path) -> None:
    report = kills.run_campaign(Program("none"), 4, 1, 0, tmp_path)
    assert report.kills == {"program": 4}
    assert (report.lost, report.differing, report.leftovers) == (0, [], [])
    assert report.rounds >= 1
    assert "4 kills (4 program)" in report.line()


def test_work_that_is_done_again_is_counted(kills: Any, tmp_path: Path) -> None:
    assert kills.run_campaign(Program("forgets"), 6, 1, 0, tmp_path).lost > 0


def test_another_result_is_named(kills: Any, tmp_path: Path) -> None:
    report = kills.run_campaign(Program("changes"), 6, 1, 0, tmp_path)
    assert report.differing
    assert Path(report.differing[0]).read_text() == "changed"


@pytest.mark.workflow
@pytest.mark.parametrize("what", ["table1", "recover"])
def test_the_suite_survives_a_short_campaign(
    kills: Any, cache: Path, tmp_path: Path, what: str
) -> None:
    campaigns = {
        "table1": kills.Table1(["methods=dense", "seeds=0"]),
        "recover": kills.Recover(tokens=4096),
    }
    report = kills.run_campaign(campaigns[what], 2, 1, 0, tmp_path)
    assert sum(report.kills.values()) == 2, report.line()
    assert (report.lost, report.differing, report.leftovers) == (0, [], []), report.line()
