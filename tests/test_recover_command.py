"""``adaptprune recover``: a whole recovery by the command line, and one line for a mistake."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from test_cli import refused

from adaptprune.checkpoint import count_parameters, load_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]


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
    parts = [str(p) for key, value in options.items() for p in (f"--{key}", value)]
    for setting in (f"sequence_length={length}", "batch=4", "tokens=1024", *settings):
        parts += ["--set", setting]
    return command("recover", *parts)


def test_recovered_model_is_a_model_folder(command: Command, tmp_path: Path) -> None:
    status, out, err = recover(command, tmp_path / "out")
    assert (status, out) == (0, "")
    assert "train 1/1" in err
    record = json.loads((tmp_path / "out" / "recovery.json").read_text())
    assert record["steps"] == 7  # int(0.99 · 8)
    assert count_parameters(load_model(tmp_path / "out")) == record["params"] < 180_000
    assert not (tmp_path / "out.run").exists()


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
    record = json.loads((tmp_path / "out" / "recovery.json").read_text())
    assert record["tokens"] == 3 * 4 * 64


def test_run_folder_loses_nothing_of_others(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    status, _, _ = recover(command, tmp_path / "out", run=tmp_path / "mine")
    assert status == 0
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_training_process_without_a_recovery_is_refused(command: Command, tmp_path: Path) -> None:
    assert "settings.json: no such file" in refused(command("train-stage", "--run", tmp_path))
