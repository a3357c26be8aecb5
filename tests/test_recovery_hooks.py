"""A method of recovery may bring its own optimiser and its own learning rates."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from recovery_examples import (
    LENGTH,
    assert_same_weights,
    log_without_times,
    model_folder,
    recovery,
    stopped_at_step,
)
from recovery_examples import weights as weights_in
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from adaptprune.data.packing import Rows, pack
from adaptprune.models.checkpoint import load_model
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.recovery import checkpoints
from adaptprune.recovery.method import RecoveryMethod
from adaptprune.recovery.objective import next_token_loss
from adaptprune.recovery.registry import RECOVERIES
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class MaskedMomentum(torch.optim.Optimizer):
    """Momentum under a mask that is found anew every other step, and a decay that grows.

    It remembers what AdamW does not: a mask of booleans, and a count that is a plain number. The
    decay goes on at a learning rate of 0, so no step of it may be one too many.
    """

    def __init__(self, groups: list[dict[str, Any]]):
        super().__init__(groups, {"lr": 0.0, "decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move the weights."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["count"] = 0
                    state["momentum"] = torch.zeros_like(weight)
                if state["count"] % 2 == 0:
                    state["mask"] = weight.abs() >= weight.abs().mean()
                state["count"] += 1
                state["momentum"].lerp_(weight.grad, 0.1)
                weight.mul_(1 - group["decay"] * state["count"])
                weight.sub_(group["lr"] * state["momentum"] * state["mask"])


class OwnOptimizer(RecoveryMethod):
    """Training with ``MaskedMomentum`` at rates of its own."""

    name = "own-optimizer"
    title = "Own optimiser"
    version = 1
    citation = "-"

    def optimizer(self, preset: Any, stage: Any, model: Any) -> torch.optim.Optimizer:
        """Let matrices alone decay."""
        matrices = [weight for weight in model.parameters() if weight.dim() > 1]
        vectors = [weight for weight in model.parameters() if weight.dim() == 1]
        return MaskedMomentum([{"params": matrices, "decay": 1e-4}, {"params": vectors}])

    def learning_rates(self, preset: Any, stage: Any) -> Any:
        """Halve the rate every fourth step of the schedule."""
        return lambda step: preset.peak_learning_rate / 2 ** ((stage.schedule_step + step) // 4)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A recovery of 10 steps by a method with an optimiser of its own."""
    monkeypatch.setattr(RECOVERIES, "_registered", {})
    RECOVERIES.register(OwnOptimizer(), __file__)
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    plain = recovery(tmp_path, model=model, preset="train", micro_batch=4, tokens=40 * LENGTH)
    preset = plain.preset.model_copy(update={"method": "own-optimizer"})
    return dataclasses.replace(plain, preset=preset)


def test_loop_steps_with_the_methods_optimizer_at_its_rates(job: Any, tmp_path: Path) -> None:
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    rates = [1e-2] * 4 + [5e-3] * 4 + [2.5e-3] * 2
    assert [row["learning_rate"] for row in log_without_times(tmp_path / "out")] == rates
    texts = [json.loads(line)["text"] for line in (tmp_path / "text.jsonl").open()]
    pack({"text": texts}, byte_tokenizer(), LENGTH, tmp_path / "rows")
    rows, model = Rows.open(tmp_path / "rows", 0), load_model(tmp_path / "model").train()
    optimizer = OwnOptimizer().optimizer(None, None, model)
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        next_token_loss(model, rows.batch(4 * step, 4 * step + 4)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    trained = weights_in(tmp_path / "out")
    for name, parameter in model.named_parameters():
        assert torch.equal(trained[name], parameter.detach()), name


def test_stopped_training_takes_up_the_optimizers_state(job: Any, tmp_path: Path) -> None:
    recover_stage(job, tmp_path / "whole", tmp_path / "whole.run")
    with stopped_at_step(6):
        recover_stage(job, tmp_path / "out", tmp_path / "run")
    newest = checkpoints.newest(tmp_path / "run" / "checkpoints")
    assert newest is not None
    assert newest.name == "stage-0001-step-000000003"
    stored = checkpoints.read_optimizer(newest)
    assert stored is not None
    assert set(stored.values.values()) == {3}
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    assert_same_weights(tmp_path / "out", tmp_path / "whole")
    assert log_without_times(tmp_path / "out") == log_without_times(tmp_path / "whole")


def test_default_optimizer_is_that_of_the_released_scripts() -> None:
    """The rates are tested in test_recover_loop.py, against a loop in plain torch."""
    model = torch.nn.Linear(2, 2)
    optimizer = RECOVERIES.find("train").optimizer(None, None, model)  # type: ignore[arg-type]
    assert type(optimizer) is torch.optim.AdamW
    (group,) = optimizer.param_groups
    assert group["params"] == list(model.parameters())
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.0)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone, in which a model can be sharded on the CPU."""
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_state_of_several_groups_of_a_sharded_model_is_restored() -> None:
    def sharded() -> tuple[Any, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        matrices = [weight for weight in model.parameters() if weight.dim() > 1]
        vectors = [weight for weight in model.parameters() if weight.dim() == 1]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors}]
        return model, torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.0)

    def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
        model(torch.ones(1, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    model, optimizer = sharded()
    step(model, optimizer)
    # A copy, as a file would be: on the CPU what was gathered is the optimiser's own memory.
    stored = copy.deepcopy(checkpoints.optimizer_state(model, optimizer))
    state = model.state_dict()
    assert stored.tensors["0.weight/exp_avg"].shape == (3, 4)
    again, fresh = sharded()
    again.load_state_dict(state)
    checkpoints.restore_optimizer(again, fresh, stored)
    step(model, optimizer)
    step(again, fresh)
    assert [group["weight_decay"] for group in fresh.param_groups] == [0.1, 0.0]
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.full_tensor(), two.full_tensor())  # type: ignore[attr-defined]
