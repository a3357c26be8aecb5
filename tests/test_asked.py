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
from adaptprune.recovery.config import TrainingConfig
from adaptprune.workflow.asked import Asked
from adaptprune.workflow.made_from import is_made_from, write_made_from
from adaptprune.workflow.profiles import EvaluationConfig, Profile, load_profile

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = Path(__file__).parents[1] / "config"

#: Every key of a profile, and what tells without Snakemake's notes that a number was made under
#: another value of it; or why none was.
FIELDS = {
    "title": "no number: shown, and part of what tables are made from",
    "note": "no number: shown, and part of what tables are made from",
    "models": "path of the cell; the model's hash in pruning.json and recovery.json",
    "further_models": "path of the cell; the model's hash in pruning.json and recovery.json",
    "methods": "path of the cell; the method's version",
    "sparsities": "path of the cell; sparsities in the header of scores",
    "seeds": "path of the cell; seed of the calibration set in sensitivity records",
    "settings": "parameters and calibration in pruning.json",
    "calibration": "data set, sequences and length in all records",
    "evaluation.suite": "suite, shots and task versions in evaluation.json; note of the suite",
    "evaluation.documents_per_task": "documents of each task in evaluation.json",
    "evaluation.perplexity_documents": "documents of the text in the records that score it",
    "evaluation.token_perplexity": "metrics in evaluation.json",
    "evaluation.max_length": "max_length in evaluation.json",
    "evaluation.batch": "no record: how rows are put together decides last digits at most",
    "evaluation.scorer_precision": "scorer_precision in evaluation.json",
    "evaluation.rounding": "bits of the rounding in evaluation.json",
    "speed": "workload in speed records",
    "dtype": "dtype in all records",
    "device": "device in all records",
    "threads": "threads in all records but evaluation.json, which is made in the same job or later",
    "memory_mb": "no number: what a job asks a cluster for",
    "trust_remote_code": "no number: a model that needs code of its own is refused without it",
    "local_data": "folder in the notes of suites and texts",
    "dense_gate": "no number: it is part of the name of the check",
    "mixture": "path of the counts",
    "method_file": "an input file of its cells; the method's version",
    "recoveries": "preset, target and data in recovery.json",
    "training.micro_batch": "no record: how rows are put together decides last digits at most",
    "training.checkpoint_every": "no number: a resumed training gives the same",
    "training.activation_checkpointing": "no number: what was dropped is computed again alike",
    "training.launch": "launch in recovery.json",
    "training.gpus": "no number: what a job reserves; `launch` says how many compute",
}


def test_every_key_of_a_profile_is_accounted_for() -> None:
    parts = {"evaluation": EvaluationConfig, "training": TrainingConfig}
    keys = {key for key in Profile.model_fields if key not in parts}
    keys |= {f"{part}.{key}" for part, config in parts.items() for key in config.model_fields}
    assert keys == FIELDS.keys()


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
    results[suite.perplexity.task]["token_perplexity_32"] = 9.0
    shots = {"num_fewshot": 0, "version": 1.0}
    return changed(
        EVALUATION,
        suite=chosen.suite,
        results=results,
        conditions__device="cpu",
        conditions__max_length=chosen.max_length,
        conditions__tasks={task.task: shots for task in suite.tasks},
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
        ("device", "cuda"),
        ("threads", 7),
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
        ("results__tiny_local_prose__token_perplexity_64", 9.0),
        ("results", {}),
    ],
)
def test_a_cell_that_was_evaluated_otherwise(
    profile: Profile, tmp_path: Path, change: str, value: Any
) -> None:
    measured = changed(evaluation(profile), **{change: value})
    assert list(deviations(profile, tmp_path, pruning(profile), measured)) == ["evaluation.json"]


def asked_again(profile: Profile, tmp_path: Path, **evaluation_keys: Any) -> list[str]:
    """Return what a finished cell lacks of a profile whose evaluation was changed since."""
    other = profile.evaluation.model_copy(update=evaluation_keys)
    widened = profile.model_copy(update={"evaluation": other})
    return list(deviations(widened, tmp_path, pruning(profile), evaluation(profile)))


@pytest.mark.parametrize(
    ("lengths", "other"),
    [([], True), ([64], True), ([32, 64], True), ([32], False), ([32, 100_000], False)],
)
def test_lengths_of_token_perplexity_up_to_the_model_s_window(
    profile: Profile, tmp_path: Path, lengths: list[int], other: bool
) -> None:
    found = asked_again(profile, tmp_path, token_perplexity=lengths)
    assert found == (["evaluation.json"] if other else [])


def test_examples_in_the_prompt(profile: Profile) -> None:
    suite = "commonsense-paper"  # with shots
    few = profile.model_copy(
        update={"evaluation": profile.evaluation.model_copy(update={"suite": suite})}
    )
    shots = {
        name: {"num_fewshot": benchmark.shots, "version": member.version}
        for benchmark in load_suite(suite).benchmarks
        for name, member in benchmark.tasks().items()
    }
    asked = Asked(few, {})
    assert all(recorded == value for _, recorded, value in asked._prompts(shots))
    for key in ("num_fewshot", "version"):
        name = next(name for name, task in shots.items() if task[key] is not None)
        other = changed(shots, **{f"{name}__{key}": 99})
        (culprit,) = [what for what, found, value in asked._prompts(other) if found != value]
        assert culprit == f"{key} of {name}"


def test_the_window_of_a_model_that_is_not_built_in(profile: Profile, tmp_path: Path) -> None:
    model = tmp_path / "own"
    model.mkdir()
    config = {"vocab_size": 8, "max_position_embeddings": 64}
    (model / "config.json").write_text(json.dumps(config))
    cell, asked = Cell(str(model), "flap", 20, "none", 0), Asked(profile, {})
    for length, other in ((64, False), (32, True)):
        measured = changed(evaluation(profile), conditions__max_length=length)
        differing = [
            name for name, found, value in asked._evaluation(cell, measured) if found != value
        ]
        assert differing == (["max_length"] if other else []), length


def test_a_trained_cell(tmp_path: Path) -> None:
    plain = load_profile(CONFIG, "tiny")
    launch = plain.training.model_copy(update={"launch": "launch.yaml"})
    profile = plain.model_copy(update={"training": launch})
    (tmp_path / "launch.yaml").write_text("num_processes: 2")
    name, chosen = next(iter(profile.recoveries.items()))
    cell = profile.recovery_cells(name)[0]
    assert chosen.outcome is not None
    right = changed(
        TRAINING,
        conditions__model=cell.model,
        conditions__preset=chosen.recipe.model_dump(mode="json"),
        conditions__method_version=chosen.method.version,
        conditions__data={"name": chosen.data, "sha256": "d0"},
        conditions__target=chosen.outcome.describe(),
        conditions__calibration=profile.calibration.model_dump(),
        conditions__device="cpu",
        conditions__threads=profile.threads,
        conditions__launch="num_processes: 2",
    )
    asked = Asked(profile, {cell.model: "m1"}, tmp_path)
    (tmp_path / "recovery.json").write_text(sealed(right))
    assert asked.deviations(cell, tmp_path) == {}
    for change, value in (
        ("preset", {"name": "other"}),
        ("model_hash", "m2"),
        ("method_version", 99),
        ("data", {"name": "other", "sha256": "d0"}),
        ("target", {"parameters": 7}),
        ("calibration__length", 7),
        ("device", "cuda"),
        ("threads", 7),
        ("launch", "num_processes: 4"),
    ):
        other = changed(right, **{f"conditions__{change}": value})
        (tmp_path / "recovery.json").write_text(sealed(other))
        assert list(asked.deviations(cell, tmp_path)) == ["recovery.json"], change


def deviating(
    tmp_path: Path, record: dict[str, Any], look: Callable[[Path], str | None], **changes: Any
) -> set[str]:
    """Return which changes of a record are noticed; none is without one."""
    file = tmp_path / "record.json"
    assert look(file) is None, "absent"
    file.write_text(sealed(record))
    assert look(file) is None, "right"
    noticed = set()
    for key, value in changes.items():
        file.write_text(sealed(changed(record, **{key: value})))
        if look(file) is not None:
            noticed.add(key)
    return noticed


def test_a_measurement_of_speed(profile: Profile, tmp_path: Path) -> None:
    record = {
        "workload": profile.speed.model_dump(),
        "device": "cpu",
        "threads": profile.threads,
        "pruning": pruning(profile),
    }
    changes = {"workload__prompt": 7, "threads": 7, "device": "cuda", "pruning__parameters": {}}
    changes |= {"pruning__calibration__length": 7, "pruning__dtype": "float16"}
    asked = Asked(profile, {"tiny-llama": "m1"})

    def look(file: Path) -> str | None:
        return asked.other_speed("flap", "tiny-llama", asked.profile.speed.batch, file)

    assert deviating(tmp_path, record, look, **changes) == changes.keys()


def test_layers_that_were_cut_one_by_one(profile: Profile, tmp_path: Path) -> None:
    chosen = profile.evaluation
    record = {
        "model_hash": "m1",
        "calibration": profile.calibration.model_dump() | {"seed": 0},
        "text": {"suite": chosen.suite, "documents": chosen.perplexity_documents},
        "dtype": "float32",
        "device": "cpu",
        "threads": profile.threads,
    }
    changes = {"model_hash": "m2", "calibration__seed": 7, "calibration__dataset": "other"}
    changes |= {"text__suite": "other", "text__documents": 7, "dtype": "float16", "threads": 7}
    asked = Asked(profile, {"tiny-llama": "m1"})

    def look(file: Path) -> str | None:
        return asked.other_sensitivity("tiny-llama", file)

    assert deviating(tmp_path, record, look, **changes) == changes.keys()


def test_cells_that_are_absent_or_broken_are_left_to_others(
    profile: Profile, tmp_path: Path
) -> None:
    cell = Cell("tiny-llama", "flap", 20, "none", 0)
    assert Asked(profile, {}).deviations(cell, tmp_path) == {}
    (tmp_path / "pruning.json").write_text('{"schema": 9}')
    (tmp_path / "evaluation.json").write_text("{")
    assert Asked(profile, {}).deviations(cell, tmp_path) == {}


def test_scores_say_what_they_serve(profile: Profile, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    file, asked = tmp_path / "s.safetensors", Asked(profile, {"tiny-llama": "m1"})
    assert asked.other_scores("flap", "tiny-llama", file) is None, "absent"
    right = pruning(profile)
    for changes, culprit in (
        ({"sparsities": [10, *profile.sparsities]}, None),
        ({"sparsities": profile.sparsities[1:]}, "no sparsities [20]"),
        ({}, None),
        ({"threads": 7}, "threads"),
        ({"calibration__length": 7}, "calibration length"),
    ):
        header = json.dumps(changed(right, **changes))
        save_file({"a": torch.zeros(1)}, file, metadata={"adaptprune": header})
        found = asked.other_scores("flap", "tiny-llama", file)
        assert found is None if culprit is None else found and culprit in found


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
