"""Measured speeds beside a stored matrix: whose they are, and what may stand in one column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matrix_examples import write_scored_cell

import adaptprune
from adaptprune.errors import UserError
from adaptprune.files.atomic import write_sealed_json
from adaptprune.leaderboard.entries import read_board
from adaptprune.leaderboard.page import render_leaderboard
from adaptprune.results.matrix import Matrix, beside, store_cells
from adaptprune.results.rows import CELL, read_results
from adaptprune.results.speeds import read_speeds, store_speeds

ROOT = Path(adaptprune.__file__).parents[1]
WORKLOAD = {"batch": 1, "prompt": 64, "new_tokens": 16, "rounds": 3}
DEVICE = {"dtype": "float32", "device": "cpu", "device_name": "a processor", "threads": 1}


class Stored:
    """A stored matrix of two cells, and what `measure` would record of their checkpoints."""

    def __init__(self, folder: Path):
        self.folder, self.results = folder, folder / "tiny.csv"
        self.cells = {name: write_scored_cell(folder, name) for name in ("flap", "magnitude")}
        self.matrix: Matrix = store_cells(list(self.cells.values()), "tiny", self.results)

    def measure(self, method: str, decode: float, **changes: Any) -> Path:
        """Write a record; ``changes`` are of its conditions, or of what it was made by."""
        cell = json.loads((self.cells[method] / "pruning.json").read_text()) | changes
        ratios = {"prefill": 1.5, "decode": decode}
        content = {
            "status": "ok",
            "workload": WORKLOAD | {key: changes[key] for key in WORKLOAD if key in changes},
            "pruning": cell,
            "params": cell["counts"]["params"],
            "measures": {
                name: {"unit": "tokens/s", "dense": 10.0, "pruned": 10 * ratio, "ratio": ratio}
                | {"ratio_least": ratio, "ratio_most": ratio, "faster": True}
                for name, ratio in ratios.items()
            },
        }
        content |= {key: cell[key] for key in ("method", "variant", "sparsity", "seed")}
        content |= DEVICE | {key: changes[key] for key in DEVICE if key in changes}
        path = self.folder / f"{method}.json"
        write_sealed_json(path, content)
        return path

    def store(self, *records: Path) -> int:
        return store_speeds(records, self.matrix, self.results)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def test_speeds_of_scored_models_are_kept_and_shown(stored: Stored) -> None:
    assert stored.store(stored.measure("flap", 1.25)) == 1
    assert stored.store(stored.measure("flap", 1.75)) == 1  # measured again: it replaces the other
    speeds = read_speeds(stored.results)
    assert set(speeds["method"]) == {"flap"}
    assert speeds.set_index("measure")["ratio"].to_dict() == {"prefill": 1.5, "decode": 1.75}
    board = read_board(stored.results)
    shown = {entry.method: (entry.prefill, entry.decode) for entry in board.entries}
    assert shown == {"flap": (1.5, 1.75), "magnitude": (None, None)}
    page = render_leaderboard([board], "made up", stored.folder)
    assert '<td data-value="1.75">1.75</td>' in page
    assert "prefill of 64 tokens and decoding of 16 more" in page
    assert "a processor" in page


@pytest.mark.parametrize(
    "change",
    [
        {"sparsity": 40},
        {"seed": 1},
        {"method_version": 2},
        {"parameters": {"steps": 2}},
        {"calibration": None},
        {"model_hash": "another"},
        {"variant": "corrected"},
        {"dtype": "bfloat16"},
        {"counts": {"params": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_speeds_of_models_that_are_not_scored_are_left_out(
    stored: Stored, change: dict[str, Any]
) -> None:
    assert stored.store(stored.measure("flap", 1.25, **change)) == 0
    assert not beside(stored.results, "speed.csv").exists()
    page = render_leaderboard([read_board(stored.results)], "made up", stored.folder)
    assert "No speed was measured." in page
    assert "Decoding ×" not in page


@pytest.mark.parametrize("change", [{"prompt": 32}, {"device_name": "another"}, {"threads": 2}])
def test_speeds_under_two_conditions_share_no_column(
    stored: Stored, change: dict[str, Any]
) -> None:
    stored.store(stored.measure("flap", 1.25))
    before = beside(stored.results, "speed.csv").read_bytes()
    with pytest.raises(UserError, match=f"different {next(iter(change))}"):
        stored.store(stored.measure("magnitude", 1.3, **change))
    assert beside(stored.results, "speed.csv").read_bytes() == before


def test_several_sequences_at_once_are_no_number_of_the_page(stored: Stored) -> None:
    stored.store(stored.measure("flap", 1.25), stored.measure("magnitude", 1.5, batch=8))
    assert set(read_speeds(stored.results)["batch"]) == {1, 8}
    shown = {entry.method: entry.decode for entry in read_board(stored.results).entries}
    assert shown == {"flap": 1.25, "magnitude": None}


def test_a_file_that_is_no_table_of_speeds_is_refused(stored: Stored) -> None:
    beside(stored.results, "speed.csv").write_text("method,ratio\nflap,2\n")
    with pytest.raises(UserError, match="columns"):
        read_speeds(stored.results)


def test_stored_speeds_are_of_stored_cells() -> None:
    for path in (ROOT / "results").glob("*.speed.csv"):
        results = path.with_name(path.name.replace(".speed.csv", ".csv"))
        speeds, rows = read_speeds(results), read_results(results)
        assert set(speeds[CELL].itertuples(index=False)) <= set(rows[CELL].itertuples(index=False))
        assert (speeds["ratio"].dropna() > 0).all()
