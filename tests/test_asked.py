"""Cells and generated files that are, or are not, what a profile asks for."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cell_examples import EVALUATION, PRUNING, TRAINING, changed, sealed, write_evaluation

from adaptprune.cells import Cell, cell_folder
from adaptprune.evaluation.suites import load_suite
from adaptprune.pruning.registry import find_method
from adaptprune.workflow.asked import Asked, lacks_sparsities
from adaptprune.workflow.made_from import is_made_from, write_made_from
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    from adaptprune.workflow.profiles import Profile

CONFIG = Path(__file__).parents[1] / "config"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile(CONFIG, "tiny", {"methods": "flap"})


def pruning(profile: Profile) -> dict[str, Any]:
    """Return the record of a cell that the profile asks for."""
    method, drawn = find_method("flap"), profile.calibration_of("flap")
    parameters = method.parse(profile.settings_of("flap").parameters).model_dump()
    return changed(
        PRUNING,
        model="tiny-llama",
        method_version=method.version,
        parameters=json.loads(json.dumps(parameters)),
        calibration=drawn.model_dump() | {"hash": "c0"},
    )


def evaluation(profile: Profile) -> dict[str, Any]:
    """Return the evaluation of such a cell."""
    chosen = profile.evaluation
    suite = load_suite(chosen.suite)
    results = {task.task: {"acc": 0.5, "n": chosen.documents_per_task} for task in suite.tasks}
    assert suite.perplexity is not None
    results[suite.perplexity.task] = {"n": chosen.perplexity_documents}
    return changed(
        EVALUATION,
        suite=chosen.suite,
        results=results,
        conditions__device="cpu",
        conditions__max_length=chosen.max_length,
    )


def deviations(
    profile: Profile, runs: Path, made: dict[str, Any], measured: dict[str, Any]
) -> dict[str, str]:
    cell = Cell("tiny-llama", "flap", 20, "none", 0)
    folder = cell_folder(runs, "tiny", cell)
    folder.mkdir(parents=True)
    (folder / "pruning.json").write_text(sealed(made))
    write_evaluation(folder, made, measured)
    return Asked(profile, {"tiny-llama": "m1"}).deviations(cell, folder)


def test_a_cell_that_the_profile_asks_for(profile: Profile, tmp_path: Path) -> None:
    assert deviations(profile, tmp_path, pruning(profile), evaluation(profile)) == {}


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("model_hash", "m2"),
        ("method_version", 99),
        ("parameters", {"other": 1}),
        ("dtype", "bfloat16"),
        ("calibration__dataset", "other"),
        ("calibration__sequences", 3),
    ],
)
def test_a_cell_that_was_pruned_otherwise(
    profile: Profile, tmp_path: Path, change: str, value: Any
) -> None:
    made = changed(pruning(profile), **{change: value})
    assert list(deviations(profile, tmp_path, made, evaluation(profile))) == ["pruning.json"]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("suite", "other"),
        ("conditions__dtype", "bfloat16"),
        ("conditions__device", "cuda:0"),
        ("conditions__max_length", 17),
        ("conditions__scorer_precision", "stock"),
        ("results__tiny_local_place__n", 7),
        ("results", {}),
    ],
)
def test_a_cell_that_was_evaluated_otherwise(
    profile: Profile, tmp_path: Path, change: str, value: Any
) -> None:
    measured = changed(evaluation(profile), **{change: value})
    assert list(deviations(profile, tmp_path, pruning(profile), measured)) == ["evaluation.json"]


def test_a_trained_cell(tmp_path: Path) -> None:
    profile = load_profile(CONFIG, "tiny")
    name, chosen = next(iter(profile.recoveries.items()))
    cell = profile.recovery_cells(name)[0]
    right = changed(
        TRAINING,
        conditions__model=cell.model,
        conditions__preset=chosen.recipe.model_dump(mode="json"),
        conditions__method_version=chosen.method.version,
        conditions__data={"name": chosen.data, "sha256": "d0"},
    )
    asked = Asked(profile, {cell.model: "m1"})
    (tmp_path / "recovery.json").write_text(sealed(right))
    assert asked.deviations(cell, tmp_path) == {}
    for change, value in (
        ("preset", {"name": "other"}),
        ("model_hash", "m2"),
        ("method_version", 99),
        ("data", {"name": "other", "sha256": "d0"}),
    ):
        other = changed(right, **{f"conditions__{change}": value})
        (tmp_path / "recovery.json").write_text(sealed(other))
        assert list(asked.deviations(cell, tmp_path)) == ["recovery.json"], change


def test_cells_that_are_absent_or_broken_are_left_to_others(
    profile: Profile, tmp_path: Path
) -> None:
    cell = Cell("tiny-llama", "flap", 20, "none", 0)
    assert Asked(profile, {}).deviations(cell, tmp_path) == {}
    (tmp_path / "pruning.json").write_text('{"schema": 9}')
    (tmp_path / "evaluation.json").write_text("{")
    assert Asked(profile, {}).deviations(cell, tmp_path) == {}


def test_scores_say_which_sparsities_they_serve(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    file = tmp_path / "s.safetensors"
    assert not lacks_sparsities(file, [20])
    for header, lacks in (
        ({"sparsities": [20, 40]}, False),
        ({"sparsities": [40]}, True),
        ({}, False),
    ):
        save_file({"a": torch.zeros(1)}, file, metadata={"adaptprune": json.dumps(header)})
        assert lacks_sparsities(file, [20]) is lacks


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A source, a table made from it, and the record of that."""
    source, table, record = (tmp_path / name for name in ("results.csv", "table.md", "made.json"))
    source.write_text("1")
    table.write_text("one")
    write_made_from(record, "digest", [table])
    return source, table, record


def test_generated_files_that_are_up_to_date(made: tuple[Path, Path, Path]) -> None:
    source, _, record = made
    assert is_made_from(record, "digest", [str(source), str(source.with_name("absent"))])


def test_generated_files_of_something_else(made: tuple[Path, Path, Path]) -> None:
    source, table, record = made
    assert not is_made_from(record, "other digest", [str(source)])
    assert not is_made_from(record.with_name("absent.json"), "digest", [str(source)])
    table.write_text("two")
    assert not is_made_from(record, "digest", [str(source)])
    table.unlink()
    assert not is_made_from(record, "digest", [str(source)])


def test_a_source_that_came_here_later_with_an_old_date(made: tuple[Path, Path, Path]) -> None:
    source, _, record = made
    time.sleep(0.05)
    source.write_text("2")
    os.utime(source, (1e9, 1e9))
    assert not is_made_from(record, "digest", [str(source)])


def test_a_record_that_was_altered(made: tuple[Path, Path, Path]) -> None:
    source, _, record = made
    record.write_text(record.read_text().replace("digest", "digesT"))
    assert not is_made_from(record, "digesT", [str(source)])
