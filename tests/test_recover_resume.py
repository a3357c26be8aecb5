"""A recovery that is killed at any moment goes on and ends bit for bit the same."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from killed_recovery import run_until_killed
from recovery_examples import (
    assert_same_weights,
    log_without_times,
    model_folder,
    recovery,
    weights,
)

from adaptprune.errors import NumericalError, UserError
from adaptprune.files.atomic import write_sealed_json
from adaptprune.models.catalogue import recorded_failure
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def forks() -> Any:
    """Makes processes that are forks of one in which everything is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["accelerate", "adaptprune.recovery.stage"])
    return context


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, text, and the result ``whole`` of a recovery of two stages."""
    folder = tmp_path_factory.mktemp("undisturbed")
    recover_stage(recovery(folder), folder / "whole", folder / "whole.run")
    return folder


@pytest.mark.parametrize(
    ("moment", "steps_left"),
    [("first-stage", 21), ("second-stage", 11), ("pruning", 14), ("checkpoint", 18)],
)
def test_killed_recovery_ends_with_the_same_bits(
    moment: str,
    steps_left: int,
    forks: Any,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_and_resume(forks, moment, undisturbed, tmp_path, monkeypatch, steps_left)
    assert_same_weights(tmp_path / "out", undisturbed / "whole")
    assert log_without_times(tmp_path / "out") == log_without_times(undisturbed / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.lock", "out"]


def kill_and_resume(
    forks: Any,
    moment: str,
    source: Path,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps_left: int,
    **changes: Any,
) -> None:
    """Kill a recovery, let it go on, and count the steps that were left to take."""
    arguments = (moment, source, work)
    process = forks.Process(target=run_until_killed, args=arguments, kwargs=changes)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (work / "out").exists()
    steps = count_steps(monkeypatch)
    recover_stage(recovery(source, **changes), work / "out", work / "run")
    assert len(steps) == steps_left


@pytest.fixture(scope="module")
def distilled(undisturbed: Path) -> dict[str, Any]:
    """Settings of a Minitron of 7 and 7 steps, whose result is ``distilled`` beside the model."""
    model_folder(undisturbed / "shape", hidden=12, heads=2, kv_heads=1, layers=2)
    settings = {"preset": "minitron", "target": str(undisturbed / "shape"), "tokens": 28 * 16}
    recover_stage(
        recovery(undisturbed, **settings), undisturbed / "distilled", undisturbed / "distilled.run"
    )
    return settings


@pytest.mark.parametrize(
    ("moment", "steps_left"), [("teacher", 11), ("cut", 7), ("distillation", 4)]
)
def test_killed_distillation_ends_with_the_same_bits(
    moment: str,
    steps_left: int,
    forks: Any,
    undisturbed: Path,
    distilled: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill_and_resume(forks, moment, undisturbed, tmp_path, monkeypatch, steps_left, **distilled)
    assert_same_weights(tmp_path / "out", undisturbed / "distilled")
    assert log_without_times(tmp_path / "out") == log_without_times(undisturbed / "distilled")


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return a list that will hold a row for every step that is taken."""
    taken: list[dict[str, Any]] = []
    step = _Training._step

    def counted(training: _Training) -> dict[str, Any]:
        taken.append(step(training))
        return taken[-1]

    monkeypatch.setattr(_Training, "_step", counted)
    return taken


def test_log_counts_every_step_once(undisturbed: Path) -> None:
    rows = log_without_times(undisturbed / "whole")
    assert [row["step"] for row in rows] == list(range(1, 22))
    assert [row["stage"] for row in rows] == [1] * 7 + [2] * 14
    assert [row["tokens"] for row in rows] == [row["rows"] * 16 for row in rows]
    sizes = [row["parameters"] for row in rows]
    record = json.loads((undisturbed / "whole" / "recovery.json").read_text())
    assert sizes == [record["prunings"][0]["params"]] * 7 + [record["params"]] * 14


def test_training_depends_on_random_numbers(undisturbed: Path, tmp_path: Path) -> None:
    """Or a lost random state would not show in the tests above."""
    plain = recovery(undisturbed, model=model_folder(tmp_path / "plain", attention_dropout=0.0))
    recover_stage(plain, tmp_path / "out", tmp_path / "run")
    without = [row["loss"] for row in log_without_times(tmp_path / "out")]
    assert without != [row["loss"] for row in log_without_times(undisturbed / "whole")]


def test_finished_recovery_is_not_computed_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = count_steps(monkeypatch)
    recover_stage(recovery(undisturbed), undisturbed / "whole", tmp_path / "run")
    assert steps == []


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the recovery end with an error instead of its step of some number."""
    step, taken = _Training._step, [0]

    def stopping(training: _Training) -> dict[str, Any]:
        taken[0] += 1
        if taken[0] == number:
            raise RuntimeError("stopped")
        return step(training)

    monkeypatch.setattr(_Training, "_step", stopping)


@pytest.fixture
def stopped(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of a recovery that stopped in its first stage, after a checkpoint."""
    with monkeypatch.context() as context:
        stop_at(context, 6)
        with pytest.raises(RuntimeError, match="stopped"):
            recover_stage(recovery(undisturbed), tmp_path / "out", tmp_path / "run")
    return tmp_path / "run"


def test_checkpoint_holds_no_pickle_and_is_the_only_one(stopped: Path) -> None:
    (checkpoint,) = (stopped / "checkpoints").iterdir()
    assert checkpoint.name == "stage-0001-step-000000003"
    suffixes = {path.suffix for path in stopped.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".jsonl", ".bin", ".py"}


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"minimum_learning_rate": 1e-4}, "preset"),
        ({"target": 11_500}, "target"),
        ({"threads": 2}, "threads"),
    ],
)
def test_other_conditions_are_refused(
    change: dict[str, Any], culprit: str, undisturbed: Path, stopped: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"was begun with {culprit}.*delete it"):
        recover_stage(recovery(undisturbed, **change), tmp_path / "out", stopped)


def test_other_checkpoint_interval_changes_no_bit(
    undisturbed: Path, stopped: Path, tmp_path: Path
) -> None:
    recover_stage(recovery(undisturbed, checkpoint_every=5), tmp_path / "out", stopped)
    assert_same_weights(tmp_path / "out", undisturbed / "whole")


@pytest.mark.parametrize("name", ["model.safetensors", "training/moments.safetensors"])
def test_damaged_checkpoint_is_named(
    name: str, undisturbed: Path, stopped: Path, tmp_path: Path
) -> None:
    (checkpoint,) = (stopped / "checkpoints").iterdir()
    content = bytearray((checkpoint / name).read_bytes())
    content[-1] ^= 1
    (checkpoint / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: its content was altered; delete .* and run"):
        recover_stage(recovery(undisturbed), tmp_path / "out", stopped)


def test_loss_that_is_not_finite_names_step_and_checkpoint(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulate, calls = _Training._accumulate, [0]

    def broken(training: _Training, batch: torch.Tensor) -> tuple[float, float]:
        calls[0] += 1
        if calls[0] == 5:
            with torch.no_grad():
                next(iter(training.model.parameters())).fill_(torch.nan)
        return accumulate(training, batch)

    monkeypatch.setattr(_Training, "_accumulate", broken)
    out, run = tmp_path / "out", tmp_path / "run"
    good = tmp_path / "run" / "checkpoints" / "stage-0001-step-000000003"
    expected = rf"step 5 \(stage 1\): loss nan.*the last good checkpoint is {good}"
    with pytest.raises(NumericalError, match=expected):
        recover_stage(recovery(undisturbed), out, run)
    assert all(tensor.isfinite().all() for tensor in weights(good).values())
    assert not out.exists()
    calls[0] = 3  # from the checkpoint after step 3 on
    recover_stage(recovery(undisturbed), out, run, record_failure=True)
    record = json.loads((out / "recovery.json").read_text())
    assert record["status"] == "failed"
    assert re.match(expected, record["reason"])
    assert record["params"] is None
    assert not (out / "model.safetensors").exists()
    assert good.is_dir()
    monkeypatch.undo()
    recover_stage(recovery(undisturbed), out, run)
    assert_same_weights(out, undisturbed / "whole")


def test_failed_model_stays_failed(undisturbed: Path, tmp_path: Path) -> None:
    """What cannot be pruned is not trained or evaluated; its reason goes along."""
    (tmp_path / "failed").mkdir()
    write_sealed_json(tmp_path / "failed" / "pruning.json", {"status": "failed", "reason": "nan"})
    job = recovery(undisturbed, preset="train", model=tmp_path / "failed")
    recover_stage(job, tmp_path / "out", tmp_path / "run", record_failure=True)
    assert recorded_failure(tmp_path / "out") == "nan"
    with pytest.raises(UserError, match=r"holds no config\.json"):
        recover_stage(job, tmp_path / "again", tmp_path / "run")
