"""Figure 4 of AST: which runs it shows, what of them, and the claim that it is for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from table_examples import TABLES

from adaptprune.cells import cell_folder
from adaptprune.errors import UserError
from adaptprune.figures.catalog import draw
from adaptprune.files.atomic import sha256_file, write_sealed_json
from adaptprune.papers.sparse_trainer import ast_fig4
from adaptprune.papers.sparse_trainer.claims import annealing_explores
from adaptprune.papers.sparse_trainer.made_of import flip_logs, scheduled_cells
from adaptprune.results.verdict import Outcome
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.cells import Cell

CONFIG = TABLES.parent / "config"
TINY = load_profile(CONFIG, "tiny")


def write_log(folder: Path, rates: list[float]) -> None:
    """Write a log whose masks change in every second step, and its record."""
    rows = []
    for number, rate in enumerate(rates, 1):
        for step in (2 * number - 1, 2 * number):
            row: dict[str, Any] = {"step": step, "stage": 1, "stage_step": step}
            flips = {"flip_rate": rate, "initial_flip_rate": sum(rates[:number])}
            rows.append(row | (flips if step % 2 == 0 else {}))
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {"provenance": {"log_sha256": sha256_file(folder / "log.jsonl")}}
    write_sealed_json(folder / "recovery.json", record)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A run in which annealing moves more early and less late."""
    for annealing, cells in scheduled_cells(TINY).items():
        for cell in cells:
            more = 0.01 * (cell.seed + 1) if annealing == "annealed" else 0.0
            rates = [0.2 + more, 0.1, 0.1, 0.05 - more / 2]
            write_log(cell_folder(tmp_path, "tiny", cell), rates)
    return Source("tiny", TINY, tmp_path)


def test_recoveries_that_differ_in_annealing_alone_are_shown(source: Source) -> None:
    cells: dict[str, list[Cell]] = scheduled_cells(TINY)
    assert [cell.recovery for group in cells.values() for cell in group] == [
        *["ast-naive"] * 2,
        *["ast-static"] * 2,
    ]
    assert all(cell.sparsity == 50 for group in cells.values() for cell in group)
    assert len(flip_logs(source)) == 4
    with pytest.raises(UserError, match="no two recoveries of AST that differ in annealing"):
        scheduled_cells(load_profile(CONFIG, "small"))


def test_rates_are_shown_where_masks_are_chosen(source: Source) -> None:
    data = draw("ast_fig4", source).data
    assert len(data) == 2 * 2 * 4
    annealed = data[(data["annealing"] == "annealed") & (data["seed"] == 0)]
    assert annealed["step"].tolist() == [2, 4, 6, 8]
    assert annealed["flip_rate"].tolist() == pytest.approx([0.21, 0.1, 0.1, 0.045])
    assert annealed["initial_flip_rate"].tolist()[-1] == pytest.approx(0.455)


def test_altered_log_is_refused(source: Source) -> None:
    folder = cell_folder(source.runs, "tiny", scheduled_cells(TINY)["annealed"][0])
    with (folder / "log.jsonl").open("a") as stream:
        stream.write('{"stage": 1, "stage_step": 9}\n')
    with pytest.raises(UserError, match="altered since it was written"):
        ast_fig4.flips_of(folder)


def verdict_of(folder: Path, early: list[float], late: list[float]) -> Any:
    """Judge rates of the first and last quarter, by seed, against a static decay's 0.1."""
    rows = [
        {"annealing": annealing, "seed": seed, "step": step, "flip_rate": rate}
        for seed, (first, last) in enumerate(zip(early, late, strict=True))
        for annealing, rates in (("annealed", (first, last)), ("static", (0.1, 0.1)))
        for step, rate in zip((1, 2, 3, 4), (rates[0], 0.1, 0.1, rates[1]), strict=True)
    ]
    (folder / "figures").mkdir()
    pd.DataFrame(rows).to_csv(folder / "figures" / "ast_fig4.csv", index=False)
    evidence: Any = SimpleNamespace(of=lambda name: SimpleNamespace(generated=folder))
    return annealing_explores(evidence)


@pytest.mark.parametrize(
    ("early", "late", "outcome"),
    [
        ([0.2, 0.21, 0.2], [0.05, 0.05, 0.051], Outcome.HOLDS),
        ([0.2, 0.21, 0.2], [0.15, 0.15, 0.151], Outcome.REFUTED),
        ([0.2, 0.05, 0.1], [0.05, 0.05, 0.051], Outcome.OPEN),
        ([0.2], [0.05], Outcome.OPEN),
    ],
)
def test_claim_is_judged_by_first_and_last_quarter(
    early: list[float], late: list[float], outcome: Outcome, tmp_path: Path
) -> None:
    verdict = verdict_of(tmp_path, early, late)
    assert verdict.outcome == outcome
    assert f"{len(early)} seeds" in verdict.numbers[0]


def test_claim_that_was_not_run_says_so(tmp_path: Path) -> None:
    evidence: Any = SimpleNamespace(of=lambda name: SimpleNamespace(generated=tmp_path))
    verdict = annealing_explores(evidence)
    assert (verdict.outcome, verdict.target) == (Outcome.NOT_RUN, "ast_fig4")
