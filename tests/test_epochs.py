"""Pretraining in epochs: which rows a step takes, what decays, how the learning rate runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from adaptprune.data.packing import Rows
from adaptprune.errors import UserError
from adaptprune.recovery.epochs import SPEC, Repeated
from adaptprune.recovery.plan import plan_stages
from adaptprune.recovery.presets import find_preset


def rows(number: int = 7) -> Rows:
    """Return rows of two tokens, the first of which is the row's index."""
    tokens = np.stack([np.arange(number), np.zeros(number, int)], axis=1).astype("<u4")
    order = torch.randperm(number, generator=torch.Generator().manual_seed(5)).numpy()
    counted = np.ones_like(tokens, dtype=bool)
    return Rows(tokens, counted, ("text",), np.zeros(number, int), order)


def taken(objective: Repeated, data: Rows, batch: int, stop: int) -> list[int]:
    """Return the indices of the rows that all steps take, in order."""
    starts = range(0, stop, batch)
    steps = [objective.take(data, start, min(start + batch, stop)) for start in starts]
    return [int(index) for step in steps for index in step.tokens[:, 0]]


@pytest.mark.parametrize("batch", [1, 3, 7, 20])
def test_every_epoch_takes_every_row_once_in_an_order_of_its_own(batch: int) -> None:
    data = rows()
    found = taken(Repeated(5, seed=1), data, batch, 15)
    epochs = [found[start : start + 5] for start in (0, 5, 10)]
    assert epochs[0] == data.order[:5].tolist(), "the first epoch is what one pass would be"
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert found == taken(Repeated(5, seed=1), data, 2, 15), "the batch does not matter"
    assert found != taken(Repeated(5, seed=2), data, batch, 15)


def test_a_resumed_training_takes_the_rows_that_were_left() -> None:
    data, first, later = rows(), Repeated(5, seed=1), Repeated(5, seed=1)
    whole = taken(first, data, 15, 15)
    assert later.take(data, 8, 15).tokens[:, 0].tolist() == whole[8:]


def test_the_plan_counts_every_epoch() -> None:
    preset = find_preset("pretrain", {"tokens": 80, "sequence_length": 8, "batch": 4, "epochs": 3})
    (stage,) = plan_stages(preset, 12, lambda used: SPEC.plan(preset, used, None, None))
    assert (stage.stop, stage.steps) == (30, 8), "three times the ten rows that 80 tokens are"
    more = find_preset("pretrain", {"tokens": 104, "sequence_length": 8, "batch": 4})
    with pytest.raises(UserError, match="104 tokens are asked for, the data hold 96"):
        plan_stages(more, 12, lambda used: SPEC.plan(more, used, None, None))


def test_matrices_decay_and_norms_do_not() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.LayerNorm(2))
    preset = find_preset("pretrain", {"weight_decay": 0.2})
    stage: Any = SimpleNamespace()
    optimizer = SPEC.optimizer(preset, stage, model)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    matrix, *others = zip(before, model.parameters(), strict=True)
    assert torch.equal(matrix[1], matrix[0] * (1 - 0.5 * 0.2))
    assert all(torch.equal(new, old) for old, new in others)


def test_the_learning_rate_warms_up_and_cools_down_linearly() -> None:
    preset = find_preset(
        "pretrain",
        {
            "peak_learning_rate": 0.8,
            "minimum_learning_rate": 0.2,
            "warm_up": 2,
            "cool_down": 0.6,
        },
    )
    stage: Any = SimpleNamespace(steps=100)
    rate = SPEC.learning_rates(preset, stage)
    assert [rate(step) for step in (0, 1, 40)] == pytest.approx([0.4, 0.8, 0.8])
    assert [rate(step) for step in (70, 100)] == pytest.approx([0.5, 0.2])
    longer: Any = SimpleNamespace(steps=200)
    until = [SPEC.learning_rates(preset, longer)(step) for step in range(40)]
    assert until == [rate(step) for step in range(40)], "before the cool-down no length shows"
