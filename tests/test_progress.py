"""How far a workflow is, and how long it will take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptprune.cells import cell_folder, grid
from adaptprune.workflow.progress import Progress

CELLS = [
    cell_folder(Path("runs"), "tiny", cell)
    for cell in grid(["tiny-llama"], ["dense", "flap"], [20, 40], [0, 1])
]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(folder: Path, name: str, **provenance: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"provenance": provenance}))


def finish(folder: Path, prune: float, evaluate: float, **score: float) -> None:
    write(folder, "pruning.json", wall_s=prune, **score)
    write(folder, "evaluation.json", wall_s=evaluate)


def test_nothing_is_known_before_the_first_cell() -> None:
    progress = Progress(CELLS)
    assert progress.remaining() == CELLS
    assert progress.seconds_left() is None
    assert progress.line(2) == "progress: 0 of 5 cells done"


def test_time_left_by_hand() -> None:
    dense, first, *_ = CELLS
    finish(dense, prune=1, evaluate=60)
    finish(first, prune=3, evaluate=30, score_wall_s=100)
    progress = Progress(CELLS)
    # Three cells of flap remain, and the scores of its other seed.
    assert progress.seconds_left() == pytest.approx(100 + 3 * 3 + 3 * 30)
    assert progress.line(2) == "progress: 2 of 5 cells done, about 2 min left"


def test_a_method_without_records_takes_the_mean_of_its_stage() -> None:
    finish(CELLS[0], prune=2, evaluate=50)
    assert Progress(CELLS).seconds_left() == pytest.approx(4 * 52)


def test_cpu_time_counts_the_start_of_the_process() -> None:
    for cell in CELLS[:4]:
        finish(cell, prune=1, evaluate=1)
    write(CELLS[3], "pruning.json", wall_s=1, cpu_s=9)
    progress = Progress(CELLS)
    assert progress.seconds_left() == pytest.approx((1 + 1 + 9) / 3 + 1)


def test_an_unreadable_record_counts_as_missing() -> None:
    finish(CELLS[0], prune=1, evaluate=1)
    (CELLS[0] / "evaluation.json").write_text("{")
    assert Progress(CELLS).remaining() == CELLS


def test_all_done() -> None:
    for cell in CELLS:
        finish(cell, prune=1, evaluate=1)
    progress = Progress(CELLS)
    assert progress.seconds_left() == 0
    assert progress.line(1) == "progress: 5 of 5 cells done"
