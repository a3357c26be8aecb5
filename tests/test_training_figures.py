"""Figures 3 and 4: what they show of trained cells."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from run_examples import guessing_in
from table_examples import DECLARATIONS, TABLES, write_trained
from test_listed_tables import TINY, rows_of

from adaptprune.cells import cell_folder
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.figures.catalog import draw
from adaptprune.files.atomic import sha256_file, write_sealed_json
from adaptprune.papers.adapt_pruner import fig3, fig4
from adaptprune.tables.measures import chance_of
from adaptprune.tables.select import run_in_stages
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = TABLES.parent / "config"
SMALL = load_profile(CONFIG, "small")


def log_rows() -> list[dict[str, Any]]:
    """Return the log of two stages: two steps of 100 tokens, then six."""
    rows = []
    for step in range(1, 9):
        stage = 1 if step <= 2 else 2
        row = {"step": step, "stage": stage, "stage_step": step - 2 * (stage - 1)}
        row |= {"tokens": 100 * step, "parameters": 1000 - 200 * stage}
        rows.append(row | {"learning_rate": 0.01, "loss": 5.0})
    return rows


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A run with the log that Figure 3 shows and the results that Figure 4 shows."""
    log = cell_folder(tmp_path, "tiny", run_in_stages(TINY)) / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps(row) + "\n" for row in log_rows()))
    record = {"provenance": {"log_sha256": sha256_file(log)}}
    write_sealed_json(log.parent / "recovery.json", record)
    rows = []
    for place, name in enumerate(fig4.interleaved(TINY)):
        for cell in TINY.recovery_cells(name):
            rows += rows_of(cell, (0.4 + 0.01 * place, 0.6), tokens=2048)
    names = {"social_iqa": "tiny_local_place", "piqa": "tiny_local_thing"}
    names |= {"wikitext": "tiny_local_prose"}
    rows = [replace(row, task=names.get(row.task, row.task)) for row in rows]
    write_trained(tmp_path / "tiny", rows, f"-{fig4.TABLE}")
    return Source("tiny", TINY, tmp_path)


def test_a_run_is_told_step_by_step_with_the_share_of_its_stage(source: Source) -> None:
    data = draw("fig3", source).data
    assert data["tokens"].tolist() == [100 * step for step in range(1, 9)]
    assert data["stage_share"].tolist() == [25.0] * 2 + [75.0] * 6
    assert data["parameters"].tolist() == [800] * 2 + [600] * 6


def test_the_first_recovery_in_stages_is_shown_at_the_first_seed() -> None:
    cell = run_in_stages(TINY)
    assert (cell.recovery, cell.method, cell.seed) == ("accel", "adapt-accel", 0)
    with pytest.raises(UserError, match="no recovery prunes and trains in turns"):
        run_in_stages(SMALL)


def test_interleaves_stand_with_what_each_pruning_keeps(source: Source) -> None:
    data = draw("fig4", source).data.set_index("interleaves")
    assert data.index.tolist() == [2, 3]
    assert data.loc[2, "kept"] ** 2 == pytest.approx(data.loc[3, "kept"] ** 3)
    assert data["published"].isna().all(), "the paper has neither 2 nor 3 prunings"
    assert data.loc[2, "average"] == pytest.approx(50.0)
    assert data.loc[3, "average"] == pytest.approx(50.5)
    assert data.loc[3, "average_seeds"] == 2


def test_accuracies_stand_beside_what_guessing_gives(source: Source) -> None:
    average, perplexity = draw("fig4", source).figure.axes
    chance = chance_of(load_suite(TINY.evaluation.suite))
    assert chance is not None
    assert guessing_in(average) == pytest.approx([chance])
    assert guessing_in(perplexity) == []


def test_only_recoveries_that_differ_in_interleaves_are_compared() -> None:
    assert fig4.interleaved(TINY) == ["interleave-2", "accel"]
    mini = load_profile(CONFIG, "mini")
    assert fig4.interleaved(mini) == [
        "interleave-1",
        "interleave-9",
        "interleave-12",
        "accel-3m-1m",
    ]
    with pytest.raises(UserError, match="no recoveries that differ in interleaves"):
        fig4.interleaved(SMALL)


def test_published_ratios_are_printed_and_close_to_the_arithmetic() -> None:
    """MobileLLM-350M to 125M: the paper's ratios to their two or three digits."""
    published = pd.read_csv(DECLARATIONS / "published.csv")
    rows = published[(published["key"] == "pruning_ratio") & (published["unit"] == "share")]
    counts = rows["row_label"].str.removeprefix("N_P = ").astype(int)
    assert dict(zip(counts, rows["value"], strict=True)) == fig4.PUBLISHED
    profile = load_profile(CONFIG, "paper-interleaves")
    names = [f"interleave-{count}" for count in fig4.PUBLISHED]
    assert fig4.interleaved(profile) == names
    for name, printed in zip(names, fig4.PUBLISHED.values(), strict=True):
        assert fig4.kept_share(profile.recovery(name)) == pytest.approx(printed, abs=0.011)


def test_an_absent_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"log\.jsonl: no step of a training"):
        fig3.steps_of(tmp_path)


def test_an_altered_log_is_named(source: Source) -> None:
    log = cell_folder(source.runs, "tiny", run_in_stages(TINY)) / "log.jsonl"
    log.write_text(log.read_text().replace("0.01", "0.02", 1))
    with pytest.raises(UserError, match=r"log\.jsonl: altered since it was written"):
        draw("fig3", source)


@pytest.fixture
def curves(tmp_path: Path) -> Source:
    """A run of two recoveries at two seeds; one of them trains a teacher first."""
    rows = []
    for name, teacher in (("prune-train", 0), ("minitron", 200)):
        for cell in TINY.recovery_cells(name):
            log = cell_folder(tmp_path, "tiny", cell) / "log.jsonl"
            log.parent.mkdir(parents=True)
            steps = [
                {"step": 1, "tokens": 0, "teacher_tokens": teacher, "flops": 10, "loss": 9.0},
                {"step": 2, "tokens": 100, "teacher_tokens": teacher, "flops": 20, "loss": 5.0},
                {"step": 3, "tokens": 200, "teacher_tokens": teacher, "flops": 30, "loss": 4.0},
            ]
            steps = [step | {"stage": 1, "stage_step": step["step"]} for step in steps]
            log.write_text("".join(json.dumps(step) + "\n" for step in steps))
            rows += rows_of(cell, (0.4, 0.6), tokens=200, training_flops=30.0)
    write_trained(tmp_path / "tiny", rows, "-table4")
    return Source("tiny", TINY, tmp_path)


def test_learning_curves_count_what_a_teacher_took(curves: Source) -> None:
    data = draw("fig_recovery", curves).data
    assert set(zip(data["recovery"], data["seed"], strict=True)) == {
        (name, seed) for name in ("prune-train", "minitron") for seed in (0, 1)
    }
    shown = data[data["seed"] == 0].set_index(["recovery", "step"])
    assert shown.loc["minitron", "tokens"].tolist() == [300, 400], "its teacher's step is no part"
    assert shown.loc["prune-train", "tokens"].tolist() == [100, 200]
    assert shown.loc["prune-train", "loss"].tolist() == [5.0, 4.0]
    assert data["word_perplexity"].notna().all()


def test_a_learning_curve_without_its_log_is_named(curves: Source) -> None:
    cell = TINY.recovery_cells("minitron")[1]
    (cell_folder(curves.runs, "tiny", cell) / "log.jsonl").unlink()
    with pytest.raises(UserError, match=r"minitron/s1/log\.jsonl: no step of a training"):
        draw("fig_recovery", curves)
