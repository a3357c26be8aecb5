"""The AST paper's declared tables: every one has cells, and asks for numbers that are printed."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from adaptprune.papers.sparse_trainer import PAPER
from adaptprune.papers.sparse_trainer.made_of import (
    SOURCES,
    TARGETS,
    retraining_cells,
    scheduled_cells,
)
from adaptprune.papers.sparse_trainer.orders import ORDERS, judge_order
from adaptprune.report.evidence import Evidence
from adaptprune.results.published import load_published
from adaptprune.results.rows import COLUMNS
from adaptprune.results.verdict import Outcome
from adaptprune.tables.declared import load_declaration
from adaptprune.tables.select import axes_of, cells_of, lines_of
from adaptprune.workflow.profiles import Profile, load_profile
from adaptprune.workflow.run import Source

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "paper_tables" / "sparse_trainer"
PROFILES = ("sparse-tiny", "sparse-mini", "sparse-paper")
NUMBERS = load_published(FOLDER / "published.csv")


@functools.cache
def profile_of(name: str) -> Profile:
    return load_profile(ROOT / "config", name)


def test_fourteen_tables_and_two_figures_are_there() -> None:
    names = {f"ast_table{number}" for number in range(1, 15)}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == names
    assert set(TARGETS["ast_all"]) == names | set(PAPER.figures)
    assert SOURCES.keys() == set(PAPER.figures)


@pytest.mark.parametrize("number", range(1, 15))
@pytest.mark.parametrize("name", PROFILES)
def test_every_table_has_cells_in_every_profile(number: int, name: str) -> None:
    table = load_declaration(FOLDER / f"ast_table{number}.yaml")
    assert table.published is not None
    assert (table.published.table, table.published.profile) == (number, "sparse-paper")
    assert set(table.profiles.values()) == set(PROFILES)
    assert cells_of(table, profile_of(name), name)
    lines = lines_of(table, name, profile_of(name))
    assert any(cells for line in lines for cells in line.places.values())


@pytest.mark.parametrize("number", range(1, 15))
def test_what_stands_beside_a_measured_number_is_printed(number: int) -> None:
    table = load_declaration(FOLDER / f"ast_table{number}.yaml")
    printed = [n for n in NUMBERS if n.table == number]
    labels = {n.row_label for n in printed} | {n.column for n in printed}
    axes = axes_of(table, "sparse-paper")
    asked = {one.printed for one in (*axes.lines, *axes.across) if one.printed}
    assert asked <= labels


def test_settings_of_the_paper_profile_are_those_of_table_8() -> None:
    printed = {(n.row_label, n.column): n for n in NUMBERS if n.table == 8}
    names = {
        "OPT 125M": "opt-125m",
        "OPT 350M": "opt-350m",
        "OPT 1.3B": "opt-1300m",
        "GPT2 124M": "gpt2-124m",
        "GPT2 350M": "gpt2-350m",
        "GPT2 774M": "gpt2-774m",
        "GPT2 1.5B": "gpt2-1500m",
        "LLAMA2 7B": "llama2-7b",
    }
    for column, name in names.items():
        recipe = profile_of("sparse-paper").recovery(f"ast-naive-{name}").recipe
        assert recipe.peak_learning_rate == printed["Learning Rate", column].value
        parameters = recipe.parameters
        assert parameters["decay_factor"] == printed["Maximal Decay Factor", column].value
        assert parameters["alpha"] == pytest.approx(printed["Kl loss parameter", column].value)
        assert recipe.tokens is not None
        steps = recipe.tokens / recipe.batch / recipe.sequence_length
        assert steps == printed["Training Steps", column].counted


@pytest.mark.parametrize("name", PROFILES)
def test_figures_have_their_trainings(name: str) -> None:
    pretraining, retraining = retraining_cells(profile_of(name)).values()
    scratch = profile_of(name).recovery(pretraining[0].recovery)
    assert (scratch.target or scratch.model) == retraining[0].model
    assert scheduled_cells(profile_of(name)).keys() == {"annealed", "static"}


def test_every_claim_names_recoveries_that_its_table_runs() -> None:
    for order in ORDERS:
        table = load_declaration(FOLDER / f"{order.table}.yaml")
        cells = cells_of(table, profile_of("sparse-mini"), "sparse-mini")
        names = [cell.recovery if cell.recovery != "none" else cell.method for cell in cells]
        for wanted in {name for pair in order.pairs for name in pair}:
            assert any(name.startswith(wanted) for name in names), (order.claim, wanted)


def rows(ours: list[float], theirs: list[float]) -> pd.DataFrame:
    """Return results of two trainings by seed."""
    made = []
    for recovery, values in (("ast-boosted-1m", ours), ("ast-naive-1m", theirs)):
        for seed, value in enumerate(values):
            row = dict.fromkeys(COLUMNS, "")
            row |= {"profile": "sparse-mini", "model": "pocket-1m", "method": "ast"}
            row |= {"sparsity": 50, "recovery": recovery, "seed": seed, "status": "ok"}
            row |= {"task": "bigbench_local_prose", "metric": "word_perplexity", "value": value}
            made.append(row)
    return pd.DataFrame(made, columns=COLUMNS)


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([10.0, 10.1, 10.2, 10.3], Outcome.HOLDS),
        ([30.0, 30.1, 30.2, 30.3], Outcome.REFUTED),
        ([19.0, 21.5, 18.0, 22.0], Outcome.OPEN),
        ([10.0], Outcome.OPEN),
    ],
)
def test_an_order_is_judged_by_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: list[float], outcome: Outcome
) -> None:
    folder = tmp_path / "runs" / "sparse-mini"
    folder.mkdir(parents=True)
    (folder / "results-ast_table1.csv").touch()
    made = rows(ours, [20.0, 20.2, 20.1, 20.3][: len(ours)])
    monkeypatch.setattr(
        "adaptprune.papers.sparse_trainer.orders.profile_results", lambda path, name: made
    )
    source = Source("sparse-mini", profile_of("sparse-mini"), tmp_path / "runs")
    evidence = Evidence(source, ROOT / "paper_tables", tmp_path)
    (order,) = (order for order in ORDERS if order.claim.startswith("SLoRB improves"))
    verdict = judge_order(evidence, order)
    assert verdict.outcome == outcome
    assert len(verdict.numbers) == 1
    other = judge_order(evidence, ORDERS[2])
    assert (other.outcome, other.target) == (Outcome.NOT_RUN, "ast_table4")


def test_an_order_does_not_hold_by_a_part_of_its_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs" / "sparse-mini"
    folder.mkdir(parents=True)
    (folder / "results-ast_table1.csv").touch()
    monkeypatch.setattr(
        "adaptprune.papers.sparse_trainer.orders.profile_results",
        lambda path, name: rows([10.0, 10.1, 10.2, 10.3], [20.0, 20.2, 20.1, 20.3]),
    )
    source = Source("sparse-mini", profile_of("sparse-mini"), tmp_path / "runs")
    evidence = Evidence(source, ROOT / "paper_tables", tmp_path)
    pairs = (("ast-boosted", "ast-naive"), ("ast-boosted", "wanda@2-4"))
    verdict = judge_order(evidence, replace(ORDERS[1], pairs=pairs))
    assert verdict.outcome == Outcome.NOT_RUN
    assert verdict.reason == "Without numbers: ast-boosted against wanda@2-4."
    assert len(verdict.numbers) == 1
    refuted = judge_order(evidence, replace(ORDERS[1], pairs=(pairs[0][::-1], pairs[1])))
    assert refuted.outcome == Outcome.REFUTED
