"""The hook of the training loop: extra parameters, state over a kill, choice of rows, figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from recovery_examples import assert_same_weights, log_without_times, model_folder, recovery
from test_recover_resume import stop_at

from adaptprune.data.packing import Rows, pack
from adaptprune.models.checkpoint import load_model
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.recovery.extra import ExtraTraining
from adaptprune.recovery.method import PlainTraining
from adaptprune.recovery.objective import ExtraParameters, Objective, State, next_token_loss
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.data.packing import Batch


class Constrained(Objective):
    """Cross-entropy times a trained scale, which a multiplier pulls towards 2.

    Takes the rows from the other end of the data, and remembers a sum over all steps.
    """

    def __init__(self) -> None:
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.multiplier = torch.nn.Parameter(torch.zeros(()))
        self.sum = torch.zeros(1)
        self.taken: list[int] = []

    def extra_parameters(self) -> list[ExtraParameters]:
        return [
            ExtraParameters({"scale": self.scale}, 0.1),
            ExtraParameters({"multiplier": self.multiplier}, 0.5, maximise=True),
        ]

    def begin_step(self, step: int, rate: float) -> None:
        self.rate = rate

    def take(self, rows: Rows, start: int, stop: int) -> Batch:
        self.taken.append(start)
        return rows.take(rows.order[::-1][start:stop])

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        distance = 2 - self.scale.squeeze()
        return next_token_loss(model, batch) * self.scale.squeeze() + self.multiplier * distance

    def end_step(self, model: Any) -> dict[str, float]:
        self.sum += self.rate
        return {"scale": self.scale.item(), "sum": self.sum.item()}

    def state(self) -> State:
        return State({"sum": self.sum}, {"taken": self.taken})

    def restore(self, state: State) -> None:
        self.sum.copy_(state.tensors["sum"])
        self.taken = state.values["taken"]


@pytest.fixture
def constrained(monkeypatch: pytest.MonkeyPatch) -> list[Constrained]:
    """Let plain training minimise that; returns the objectives that were made."""
    made: list[Constrained] = []

    def objective(*_: Any) -> Constrained:
        made.append(Constrained())
        return made[-1]

    monkeypatch.setattr(PlainTraining, "objective", objective)
    return made


def test_extra_parameters_descend_and_climb() -> None:
    objective = Constrained()
    extra = ExtraTraining(objective)
    single = type("OneProcess", (), {"reduce": staticmethod(lambda tensor, _: tensor)})
    objective.scale.grad = torch.tensor([3.0])
    objective.multiplier.grad = torch.tensor(3.0)
    extra.step(single)
    # The first step of Adam is as long as its learning rate.
    assert objective.scale.item() == pytest.approx(0.9)
    assert objective.multiplier.item() == pytest.approx(0.5)
    assert objective.scale.grad is None
    extra.step(single)  # a step without a gradient is one with a zero gradient
    assert objective.scale.item() < 0.9


def test_objective_goes_on_bit_for_bit(
    constrained: list[Constrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = recovery(tmp_path, preset="train", tokens=40 * 16)
    recover_stage(job, tmp_path / "whole", tmp_path / "run")
    with monkeypatch.context() as context:
        stop_at(context, 6)
        with pytest.raises(RuntimeError, match="stopped"):
            recover_stage(job, tmp_path / "out", tmp_path / "run")
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    whole, _, resumed = constrained
    assert_same_weights(tmp_path / "out", tmp_path / "whole")
    log = log_without_times(tmp_path / "out")
    assert log == log_without_times(tmp_path / "whole")
    assert torch.equal(resumed.multiplier, whole.multiplier)
    assert resumed.taken == whole.taken == list(range(0, 40, 4))
    assert log[-1]["sum"] == pytest.approx(sum(row["learning_rate"] for row in log))
    assert len({row["scale"] for row in log}) == 10


def test_way_of_computing_changes_no_extra_parameter(
    constrained: list[Constrained], tmp_path: Path
) -> None:
    """A term without tokens counts once, in however many passes a step is taken."""
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    for name, size in (("one", 4), ("many", 1)):
        job = recovery(tmp_path, preset="train", model=model, tokens=20 * 16, micro_batch=size)
        recover_stage(job, tmp_path / name, tmp_path / "run")
    one, many = constrained
    torch.testing.assert_close(one.scale, many.scale, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.multiplier, many.multiplier, rtol=1e-4, atol=1e-5)


def test_objective_chooses_the_rows(constrained: list[Constrained], tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    job = recovery(tmp_path, preset="train", model=model, tokens=4 * 16)
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    texts = [json.loads(line)["text"] for line in (tmp_path / "text.jsonl").open()]
    pack({"text": texts}, byte_tokenizer(), 16, tmp_path / "rows")
    rows = Rows.open(tmp_path / "rows", seed=0)
    with torch.no_grad():
        expected = next_token_loss(load_model(model), rows.take(rows.order[:-5:-1]))
    (only,) = log_without_times(tmp_path / "out")
    assert only["loss"] == pytest.approx(expected.item(), rel=1e-5)
