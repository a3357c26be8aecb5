"""``adaptprune recover``: a whole recovery by the command line, and one line for a mistake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from recovery_examples import weights
from test_cli import refused
from tiny_models import save_tiny_model

from adaptprune.models.checkpoint import count_parameters, load_model
from adaptprune.models.sizes import shape_of_model
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.recovery.presets import preset_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a recovery."""
    return json.loads((folder / "recovery.json").read_text())


def recover(command: Command, output: Path, *settings: str, **changes: Any) -> tuple[int, str, str]:
    """Run ``recover`` with good options but for the changed ones."""
    options = {
        "model": "tiny-llama",
        "preset": "prune-then-train",
        "data": "tiny-prose",
        "output": output,
        "target-parameters": 180_000,
        "calibration": "tiny-prose",
        "sequences": 4,
        "length": 16,
    } | {name.replace("_", "-"): value for name, value in changes.items()}
    length = options.pop("sequence-length", 32)
    given = {key: value for key, value in options.items() if value is not None}
    parts = [str(p) for key, value in given.items() for p in (f"--{key}", value)]
    for setting in (f"sequence_length={length}", "batch=4", "tokens=1024", *settings):
        parts += ["--set", setting]
    return command("recover", *parts)


def test_recovered_model_is_a_model_folder(command: Command, tmp_path: Path) -> None:
    status, out, err = recover(command, tmp_path / "out")
    assert (status, out) == (0, "")
    assert "train 1/1" in err
    record = read_record(tmp_path / "out")
    assert record["steps"] == 7  # int(0.99 · 8)
    assert count_parameters(load_model(tmp_path / "out")) == record["params"] < 180_000
    assert not (tmp_path / "out.run").exists()


def test_masked_model_that_is_trained_says_that_its_masks_are_gone(
    command: Command, tmp_path: Path
) -> None:
    masked = tmp_path / "masked"
    cell = ("--model", "tiny-llama", "--sparsity", 50, "--seed", 0, "--output", masked)
    method = ("--method", "weight-magnitude", "--set", "pattern=2:4")
    assert command("prune", *cell, *method)[0] == 0
    unused = dict.fromkeys(("target_parameters", "calibration", "sequences", "length"))
    status, _, err = recover(command, tmp_path / "out", model=masked, preset="train", **unused)
    assert status == 0, err
    note = "masked was masked (2:4); its masks are not kept: zeros may be filled"
    assert f"note: {note}" in err
    assert json.loads((tmp_path / "out" / "recovery.json").read_text())["notes"] == [note]
    assert not (tmp_path / "out" / "masks.packed").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "adapt-acel"}, "did you mean 'adapt-accel'"),
        ({"preset": "none"}, "preset 'none' trains nothing"),
        ({"model": "tiny-lama"}, "did you mean 'tiny-llama'"),
        ({"data": "tiny-pros"}, "did you mean 'tiny-prose'"),
        ({"target_parameters": 10**9}, "must be positive and smaller than the model"),
        ({"target_parameters": 20_000}, "leaves this model at least"),
        ({"preset": "train"}, "recovery preset train prunes nothing: no target"),
        ({"launch": "no.yaml"}, "launch config no.yaml: no such file"),
        ({"device": "cuda:1"}, "device 'cuda:1': must be cpu or cuda"),
        ({"target_model": "tiny-llama"}, "give --target-parameters or --target-model, not both"),
        ({"preset": "minitron"}, "recovery preset minitron prunes: give a target model"),
    ],
)
def test_mistakes_are_one_line(
    changes: dict[str, Any], words: str, command: Command, tmp_path: Path
) -> None:
    assert words in refused(recover(command, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("bach=3", "unknown key of recovery preset prune-then-train 'bach'"),
        ("sequence_length=2000", "--set sequence_length is given twice"),
        ("interleaves=20", "too few tokens for one step per stage"),
    ],
)
def test_mistakes_in_the_preset_are_one_line(
    setting: str, words: str, command: Command, tmp_path: Path
) -> None:
    assert words in refused(recover(command, tmp_path / "out", setting))


def test_refused_plan_leaves_no_rows_of_another_length(command: Command, tmp_path: Path) -> None:
    assert "too few tokens" in refused(recover(command, tmp_path / "out", "interleaves=20"))
    longer = recover(command, tmp_path / "out", sequence_length=64)
    assert longer[0] == 0
    record = read_record(tmp_path / "out")
    assert record["tokens"] == 3 * 4 * 64


def test_model_of_another_shape_is_trained_from_scratch(command: Command, tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "shape", hidden=24, heads=3, kv_heads=1, head_dim=8, layers=1)
    options = {"target_model": tmp_path / "shape", "target_parameters": None}
    for name in ("one", "two"):
        assert recover(command, tmp_path / name, preset="from-scratch", **options)[0] == 0
    model, record = load_model(tmp_path / "one"), read_record(tmp_path / "one")
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (24, 1)
    assert model.config.vocab_size == 257
    assert (
        count_parameters(model) == record["params"] == record["conditions"]["target"]["parameters"]
    )
    # The same seed draws the same model.
    one, two = (weights(tmp_path / name) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert record["flops"] == 6 * shape_of_model(model).compute_parameters * record["tokens"]


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_without_a_target_the_model_itself_is_trained_from_scratch(
    family: str, command: Command, tmp_path: Path
) -> None:
    save_tiny_model(tmp_path / "model", family=family, vocabulary=257)
    byte_tokenizer().save_pretrained(tmp_path / "model")
    unused = dict.fromkeys(("target_parameters", "calibration", "sequences", "length"))
    status, _, err = recover(
        command,
        tmp_path / "out",
        "peak_learning_rate=1e-12",
        preset="from-scratch",
        model=tmp_path / "model",
        **unused,
    )
    assert status == 0, err
    before, after = weights(tmp_path / "model"), weights(tmp_path / "out")
    shapes = {name: tensor.shape for name, tensor in before.items()}
    assert {name: tensor.shape for name, tensor in after.items()} == shapes
    matrices = [name for name, shape in shapes.items() if len(shape) > 1]
    assert not any(torch.allclose(before[name], after[name], atol=1e-6) for name in matrices)


def test_accel_prunes_to_the_size_of_a_model(command: Command, tmp_path: Path) -> None:
    shape = {"hidden": 64, "heads": 8, "kv_heads": 1, "head_dim": 8, "intermediate": 100}
    save_tiny_model(tmp_path / "shape", **shape, layers=4)
    options = {"target_model": tmp_path / "shape", "target_parameters": None}
    assert recover(command, tmp_path / "out", **options)[0] == 0
    record = read_record(tmp_path / "out")
    target = record["conditions"]["target"]
    assert target["hidden_size"] == 64
    assert record["params"] < target["parameters"] == record["prunings"][0]["target"]


def test_presets_are_listed_with_their_values(command: Command) -> None:
    status, out, _ = command("recoveries")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert set(lines) == set(preset_names())
    assert "adapt-accel" in lines["prune-then-train"]
    assert "interleaves=1" in lines["prune-then-train"]
    assert "teacher_correction=True" in lines["minitron"]


def test_run_folder_loses_nothing_of_others(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    status, _, _ = recover(command, tmp_path / "out", run=tmp_path / "mine")
    assert status == 0
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_training_process_without_a_recovery_is_refused(command: Command, tmp_path: Path) -> None:
    assert "settings.json: no such file" in refused(command("train-stage", "--run", tmp_path))
