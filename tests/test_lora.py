"""LoRA recovery: adapters by hand, the merged checkpoint, a stop in the middle."""

from __future__ import annotations

from types import SimpleNamespace
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
    weights,
)
from tiny_models import tiny_model

from adaptprune.errors import UserError
from adaptprune.models import checkpoint
from adaptprune.recovery.lora import SPEC, Adapters, LoraParameters
from adaptprune.recovery.presets import find_preset
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from pathlib import Path

STAGE: Any = SimpleNamespace(stop=8, steps=40)


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """A recovery of 8 steps, two epochs of 16 rows."""
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    settings = {"tokens": 16 * LENGTH, "rank": 2, "targets": ["q_proj", "down_proj"]}
    return recovery(tmp_path, model=model, preset="lora", micro_batch=4, **settings)


def test_the_defaults_are_those_of_the_script() -> None:
    preset = find_preset("lora")
    chosen = SPEC.parse(preset.parameters)
    assert (chosen.rank, chosen.alpha, chosen.dropout, chosen.epochs) == (8, 16, 0.05, 2)
    assert (preset.batch, preset.sequence_length, preset.peak_learning_rate) == (64, 256, 1e-4)
    adapters = Adapters(chosen, STAGE, 0)
    adapters.attach(tiny_model())
    ends = {name.rpartition(".")[2] for name in adapters.layers}
    assert ends == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}
    rate = SPEC.learning_rates(preset, SimpleNamespace(steps=1100))  # type: ignore[arg-type]
    assert [rate(step) for step in (0, 50, 100, 600)] == pytest.approx([0, 5e-5, 1e-4, 5e-5])


def test_a_merged_weight_is_the_sum_by_hand() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters = Adapters(LoraParameters(rank=1, alpha=4, targets=("q_proj",)), STAGE, 0)
    adapters.attach(model)
    name, layer = next(iter(adapters.layers.items()))
    assert not layer.base_layer.weight.requires_grad
    untrained = adapters.weights(model.state_dict(), finished=True)
    assert untrained.keys() == before.keys()
    assert torch.equal(untrained[f"{name}.weight"], before[f"{name}.weight"]), "a product of 0"
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    down.data, up.data = torch.ones_like(down), torch.arange(1.0, len(up) + 1)[:, None]
    state = model.state_dict()
    unmerged = adapters.weights(state, finished=False)
    assert torch.equal(unmerged[f"{name}.weight"], before[f"{name}.weight"])
    merged = adapters.weights(state, finished=True)[f"{name}.weight"]
    rows = torch.arange(1.0, len(merged) + 1)
    torch.testing.assert_close(
        merged - before[f"{name}.weight"], 4 * rows[:, None].expand_as(merged)
    )


def test_a_layer_that_is_not_there_is_named() -> None:
    adapters = Adapters(LoraParameters(targets=("q_proj", "c_attn")), STAGE, 0)
    with pytest.raises(
        UserError, match=r"lora: targets: no layer 'c_attn' \(allowed: q_proj, k_pr"
    ):
        adapters.attach(tiny_model())


def test_only_the_chosen_layers_of_a_plain_checkpoint_change(job: Any, tmp_path: Path) -> None:
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    before, after = weights(tmp_path / "model"), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "down_proj"}
    assert all(torch.linalg.matrix_rank(after[name] - before[name]) <= 2 for name in changed)
    checkpoint.load_model(tmp_path / "out")
    losses = [row["loss"] for row in log_without_times(tmp_path / "out")]
    assert len(losses) == 8
    assert sum(losses[4:]) < sum(losses[:4]), "the second epoch's rows are those of the first"


def test_a_stopped_training_ends_with_the_same_bits(job: Any, tmp_path: Path) -> None:
    recover_stage(job, tmp_path / "whole", tmp_path / "whole.run")
    with stopped_at_step(6):
        recover_stage(job, tmp_path / "out", tmp_path / "run")
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    assert_same_weights(tmp_path / "out", tmp_path / "whole")
    assert log_without_times(tmp_path / "out") == log_without_times(tmp_path / "whole")


def test_after_a_pruning_the_adapters_are_merged_into_layers_of_their_own_widths(
    tmp_path: Path,
) -> None:
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    settings = {"pruner": {"steps": 10, "amplitude": 0.05}, "epochs": 1, "rank": 2}
    job = recovery(
        tmp_path,
        model=model,
        preset="prune-then-lora",
        target=12_000,
        micro_batch=4,
        tokens=16 * LENGTH,
        **settings,
    )
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    recovered = checkpoint.load_model(tmp_path / "out")
    assert checkpoint.count_parameters(recovered) < 12_000
    assert not any("lora" in name for name in weights(tmp_path / "out"))
    assert len(log_without_times(tmp_path / "out")) == 4
    assert (tmp_path / "out" / "kept.json").is_file()
