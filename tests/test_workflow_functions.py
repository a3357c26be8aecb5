"""The functions that rules call: names of files, options, targets, and stale notes."""

from __future__ import annotations

import gc
import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adaptprune.cells import Cell
from adaptprune.errors import UserError
from adaptprune.tables.declared_tables import DeclaredTables
from adaptprune.workflow import graph, options
from adaptprune.workflow.computed import Computed
from adaptprune.workflow.papers import declared_tables, paper_of_figure
from adaptprune.workflow.paths import CELL, DRAWN, Run
from adaptprune.workflow.presented import Presented
from adaptprune.workflow.profiles import CalibrationConfig, load_profile
from adaptprune.workflow.request import Request

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def requested(**config: Any) -> tuple[Request, list[str]]:
    """Return a request, and the list of what it has made again."""
    forced: list[str] = []
    tables = DeclaredTables(declared_tables(ROOT / "paper_tables"))
    return Request(ROOT, config or {"profile": "tiny"}, tables, forced.append), forced


def wildcards(**names: str) -> Any:
    return SimpleNamespace(**{"profile": "tiny"} | names)


def test_patterns_of_rules_name_the_files_of_cells() -> None:
    cell = Cell("tiny-llama", "flap@new", 20, "none", 3)
    assert CELL.format(**vars(cell)) == cell.key
    drawn = CalibrationConfig(dataset="prose", sequences=4, length=32)
    assert DRAWN.format(**drawn.model_dump()) == drawn.slug
    pattern = Run("{profile}").cell(CELL, "kept.json")
    assert pattern.format(profile="tiny", **vars(cell)) == Run("tiny").cell(cell.key, "kept.json")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"profil": "tiny"}, "profil"),
        ({"method": "flap", "methods": "flap"}, "give one of the two"),
        ({"profile": "none"}, "none"),
    ],
)
def test_what_cannot_be_asked_for(config: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        requested(**config)


def test_overrides_are_for_the_profile_that_was_asked_for_and_its_stand_ins() -> None:
    request, _ = requested(profile="paper", models="Qwen/Qwen2.5-0.5B")
    shown = Presented(request)
    assert shown.overrides(wildcards(profile="paper")) == "--override models=Qwen/Qwen2.5-0.5B"
    assert shown.overrides(wildcards(profile="tiny")) == ""
    stand_ins = {request.profile_of(table) for table in request.tables.files} - {"paper"}
    assert stand_ins
    assert all(request.overrides(name) == request.overrides("paper") for name in stand_ins)


def test_targets_ask_for_files_of_the_profile() -> None:
    targets = Presented(requested()[0]).targets()
    folder = "paper_tables/generated/tiny"
    results = "results/runs/tiny/results"
    assert targets["table1"](None) == [f"{results}.csv", f"{folder}/table1.md"]
    assert targets["ablation_amplitude"](None) == targets["table8"](None)
    assert targets["table4"](None) == [
        *(f"{results}-table4.csv", f"{folder}/table4.md"),
        *(f"{results}-table4_flops.csv", f"{folder}/table4_flops.md"),
    ]
    assert targets["speed"](None) == [f"{folder}/speed.md", f"{folder}/figures/speed.pdf"]
    assert targets["ablation_interleave"](None)[-1] == f"{folder}/figures/fig4.pdf"
    assert targets["smoke"](None)[-1] == "paper_tables/generated/smoke/smoke.md"


def test_a_target_without_rows_ends_in_one_line_when_it_is_asked_for() -> None:
    targets = Presented(requested(profile="small")[0]).targets()
    with pytest.raises(SystemExit, match="error: "):
        targets["table3"](None)


def test_every_figure_is_made_of_something() -> None:
    shown = Presented(requested()[0])
    for name in shown.figures:
        paper = paper_of_figure(name)
        profile = "sparse-tiny" if paper and paper.name == "sparse_trainer" else "tiny"
        assert shown.figure_sources(wildcards(figure=name, profile=profile)), name
    for name in shown.measured:
        assert shown.measured_sources(wildcards(measured=name)), name


def test_options_of_an_evaluation_show_a_model_no_more_than_its_window() -> None:
    tiny = load_profile(ROOT / "config", "tiny")
    wide = tiny.evaluation.model_copy(update={"max_length": 4096, "token_perplexity": [32, 2048]})
    given = options.evaluation(tiny.model_copy(update={"evaluation": wide}), "tiny-llama")
    assert "--max-length 1024" in given
    assert "--token-perplexity 32 " in given


@pytest.mark.parametrize(
    ("note", "stale"),
    [
        ({"suite": "commonsense-tiny", "data": "madeup"}, False),
        ({"suite": "other", "data": "madeup"}, True),
        ({"suite": "commonsense-tiny", "data": "hub"}, True),
        ({"suite": "commonsense-tiny", "data": "local", "folder": "data"}, False),
        ({"suite": "commonsense-tiny", "data": "local", "folder": "other"}, True),
        ({"suite": "commonsense-tiny", "data": "local"}, False),
    ],
)
def test_notes_of_data_from_elsewhere(tmp_path: Path, note: dict[str, str], stale: bool) -> None:
    (tmp_path / "data").mkdir()
    request, forced = requested(profile="tiny", local_data="data")
    run = Run("tiny")
    Path(run.suite).parent.mkdir(parents=True)
    Path(run.suite).write_text(json.dumps(note))
    assert Computed(request, lambda: 1).fetched_suite(wildcards()) == []
    assert forced == ([run.suite] if stale else [])


def test_local_data_that_were_given_up() -> None:
    request, forced = requested()
    run = Run("tiny")
    for file in (run.suite, run.text("prose")):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        note = {"suite": "commonsense-tiny", "data": "local", "folder": "data"}
        Path(file).write_text(json.dumps(note))
    job = Computed(request, lambda: 1)
    assert job.fetched_suite(wildcards()) == job.fetched_text(wildcards(text="prose")) == []
    assert forced == [run.suite, run.text("prose")]


def test_functions_of_rules_know_their_signature() -> None:
    request, _ = requested()
    for functions in (Computed(request, lambda: 2), Presented(request)):
        stored = [value for name, value in vars(functions).items() if hasattr(value, "func")]
        assert stored
        assert all(inspect.signature(one) is one.__signature__ for one in stored)
    assert list(inspect.signature(Computed(request, lambda: 2).memory).parameters) == [
        "wildcards",
        "attempt",
    ]


def test_garbage_is_looked_for_again() -> None:
    graph.collect_no_garbage()
    assert not gc.isenabled()
    graph.collect_garbage()
    assert gc.isenabled()
    gc.unfreeze()
