"""How far a workflow is, and how long it will take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from adaptprune.cells import Cell, cell_folder, grid
from adaptprune.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

CELLS = grid(["tiny-llama"], ["dense", "flap"], [20, 40], [0, 1])


def write(runs: Path, cell: Cell, name: str, **provenance: float) -> None:
    path = cell_folder(runs, "tiny", cell) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"provenance": provenance}))


def finish(runs: Path, cell: Cell, prune: float, evaluate: float, **score: float) -> None:
    write(runs, cell, "pruning.json", wall_s=prune, **score)
    write(runs, cell, "evaluation.json", wall_s=evaluate)


def test_nothing_is_known_before_the_first_cell(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "tiny", CELLS)
    assert progress.remaining() == CELLS
    assert progress.seconds_left() is None
    assert progress.line(2) == "progress: 0 of 5 cells done"


def test_time_left_by_hand(tmp_path: Path) -> None:
    dense, first, *_ = CELLS
    finish(tmp_path, dense, prune=1, evaluate=60)
    finish(tmp_path, first, prune=3, evaluate=30, score_wall_s=100)
    progress = Progress(tmp_path, "tiny", CELLS)
    # Three cells of flap remain, and the scores of its other seed.
    assert progress.seconds_left() == pytest.approx(100 + 3 * 3 + 3 * 30)
    assert progress.line(2) == "progress: 2 of 5 cells done, about 2 min left"


def test_a_method_without_records_takes_the_mean_of_its_stage(tmp_path: Path) -> None:
    finish(tmp_path, CELLS[0], prune=2, evaluate=50)
    assert Progress(tmp_path, "tiny", CELLS).seconds_left() == pytest.approx(4 * 52)


def test_cpu_time_counts_the_start_of_the_process(tmp_path: Path) -> None:
    for cell in CELLS[:4]:
        finish(tmp_path, cell, prune=1, evaluate=1)
    write(tmp_path, CELLS[3], "pruning.json", wall_s=1, cpu_s=9)
    progress = Progress(tmp_path, "tiny", CELLS)
    assert progress.seconds_left() == pytest.approx((1 + 1 + 9) / 3 + 1)


def test_an_unreadable_record_counts_as_missing(tmp_path: Path) -> None:
    finish(tmp_path, CELLS[0], prune=1, evaluate=1)
    (cell_folder(tmp_path, "tiny", CELLS[0]) / "evaluation.json").write_text("{")
    assert Progress(tmp_path, "tiny", CELLS).remaining() == CELLS


def test_all_done(tmp_path: Path) -> None:
    for cell in CELLS:
        finish(tmp_path, cell, prune=1, evaluate=1)
    progress = Progress(tmp_path, "tiny", CELLS)
    assert progress.seconds_left() == 0
    assert progress.line(1) == "progress: 5 of 5 cells done"
