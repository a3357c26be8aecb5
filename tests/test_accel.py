"""Adapt-Accel: pruning to a parameter count, cutting moments, interleaving."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from recovery_examples import log_without_times, model_folder, recovery
from tiny_models import count_parameters, tiny_model, tiny_tokens

from adaptprune.errors import UserError
from adaptprune.models.checkpoint import load_model
from adaptprune.models.sizes import shape_of_model
from adaptprune.papers.adapt_pruner.accel import cut_moments, prune_to, smallest
from adaptprune.papers.adapt_pruner.method import AdaptPrunerParameters, Trajectory
from adaptprune.pruning.method import Context
from adaptprune.pruning.surgery import cut_layers
from adaptprune.pruning.units import KeptUnits, LayerUnits
from adaptprune.recovery import stage as recover_module
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = Context(tiny_tokens(4, 8), seed=0)


def parameters(**settings: Any) -> AdaptPrunerParameters:
    return AdaptPrunerParameters.model_validate(settings)


def example_model() -> Any:
    return tiny_model(layers=3, intermediate=40)


def test_pruning_stops_at_the_first_count_below_the_target() -> None:
    model, twin = example_model(), example_model()
    trajectory = Trajectory(twin, parameters(steps=20), sparsity=100)
    for step in range(1, 9):
        trajectory.advance(step, CONTEXT)
    counts = [step["params"] for step in trajectory.log]
    # A target equal to the count after step 5 is passed by step 6.
    kept, steps = prune_to(model, counts[4], CONTEXT, parameters(steps=20))
    assert [step["params"] for step in steps] == counts[:6]
    assert count_parameters(model) == counts[5]
    assert kept.blocks() == list(shape_of_model(model).blocks)


def test_one_step_is_a_fiftieth_on_average() -> None:
    _, steps = prune_to(example_model(), 5_500, CONTEXT, parameters(amplitude=0.001))
    for step in steps:
        assert sum(step["target_sparsity"]) / 3 == pytest.approx(0.02 * step["step"], abs=0.002)


def test_sparsity_restarts_on_the_present_widths() -> None:
    model = example_model()
    prune_to(model, 5_500, CONTEXT, parameters(steps=20, amplitude=0))
    narrow = model.model.layers[0].mlp.up_proj.out_features
    assert narrow < 40
    _, steps = prune_to(model, count_parameters(model) - 1, CONTEXT, parameters(steps=20))
    # A twentieth of the present width, not of the dense one: no step undoes or skips anything.
    assert steps[0]["target_sparsity"] == pytest.approx([0.05] * 3, abs=0.021)
    unmoved = prune_to(model, count_parameters(model), CONTEXT, parameters(steps=20))
    assert unmoved == (KeptUnits.everything(shape_of_model(model)), [])


def test_target_that_no_step_reaches_is_refused() -> None:
    model = example_model()
    target = smallest(shape_of_model(model)) + 1
    with pytest.raises(UserError, match=r"5 steps of Adapt-Pruner end at .* lower its amplitude"):
        prune_to(model, target, CONTEXT, parameters(steps=5, amplitude=0.5))


def test_moments_are_cut_with_the_units() -> None:
    model = tiny_model(layers=1, attention_bias=True)
    dense = copy.deepcopy(model)
    moments = {}
    for name, parameter in model.named_parameters():
        moments[f"{name}/exp_avg"] = torch.randn_like(parameter)
        moments[f"{name}/exp_avg_sq"] = torch.rand_like(parameter)
        moments[f"{name}/step"] = torch.tensor(7.0)
    cut = cut_moments(dense, KeptUnits((LayerUnits((1,), (0, 3, 7)),)), moments)
    layer = "model.layers.0."
    # Two kv heads of four channels, each with two query heads: the second one stays.
    for kind in ("exp_avg", "exp_avg_sq"):
        expected = {
            "self_attn.q_proj.weight": lambda tensor: tensor[8:16],
            "self_attn.q_proj.bias": lambda tensor: tensor[8:16],
            "self_attn.v_proj.weight": lambda tensor: tensor[4:8],
            "self_attn.o_proj.weight": lambda tensor: tensor[:, 8:16],
            "self_attn.o_proj.bias": lambda tensor: tensor,
            "mlp.up_proj.weight": lambda tensor: tensor[[0, 3, 7]],
            "mlp.down_proj.weight": lambda tensor: tensor[:, [0, 3, 7]],
            "input_layernorm.weight": lambda tensor: tensor,
        }
        for name, taken in expected.items():
            key = f"{layer}{name}/{kind}"
            assert torch.equal(cut[key], taken(moments[key])), key
    assert cut[f"{layer}mlp.up_proj.weight/step"] == 7
    assert cut.keys() == moments.keys()


def run(job: Any, folder: Path, name: str) -> dict[str, Any]:
    """Recover and return the record."""
    recover_stage(job, folder / name, folder / f"{name}.run")
    return json.loads((folder / name / "recovery.json").read_text())


def test_stages_reach_their_targets_and_add_up(tmp_path: Path) -> None:
    job = recovery(tmp_path, interleaves=3, schedule="geometric", handover=0.5)
    record = run(job, tmp_path, "out")
    before = shape_of_model(load_model(tmp_path / "model")).parameters
    for stage, pruning in zip(record["stages"], record["prunings"], strict=True):
        assert pruning["target"] == stage["target"]
        assert pruning["params_before"] == before
        assert pruning["params"] < pruning["target"] < before
        before = pruning["params"]
    assert record["stages"][-1]["target"] == 12_000
    model = load_model(tmp_path / "out")
    assert count_parameters(model) == before == record["params"]
    assert record["tokens"] == 16 * sum(4 * stage["trained_steps"] for stage in record["stages"])
    rates = [row["learning_rate"] for row in log_without_times(tmp_path / "out")]
    assert rates[0] == 0
    assert max(rates) == 1e-2


def test_kept_units_count_in_the_first_model(tmp_path: Path) -> None:
    """With a learning rate of next to nothing the result is a cut of the first model."""
    job = recovery(tmp_path, peak_learning_rate=1e-30)
    run(job, tmp_path, "out")
    model = load_model(tmp_path / "model")
    kept = json.loads((tmp_path / "out" / "kept.json").read_text())
    cut_layers(model, KeptUnits.from_json(kept))
    expected = dict(model.named_parameters())
    for name, parameter in load_model(tmp_path / "out").named_parameters():
        assert torch.equal(parameter, expected[name]), name


def test_carried_moments_change_the_next_stage_alone(tmp_path: Path) -> None:
    run(recovery(tmp_path), tmp_path, "fresh")
    run(recovery(tmp_path, carry_moments=True), tmp_path, "carried")
    fresh, carried = (log_without_times(tmp_path / name) for name in ("fresh", "carried"))
    # The moments act from the first update of the second stage on, its first loss is before it.
    assert fresh[:8] == carried[:8]
    assert all(a["loss"] != b["loss"] for a, b in zip(fresh[8:], carried[8:], strict=True))


def test_prune_then_train_is_one_stage(tmp_path: Path) -> None:
    record = run(recovery(tmp_path, interleaves=1), tmp_path, "out")
    assert [pruning["target"] for pruning in record["prunings"]] == [12_000]


def test_pruned_model_is_trained_in_its_shape(tmp_path: Path) -> None:
    run(recovery(tmp_path), tmp_path, "pruned")
    job = recovery(tmp_path, model=tmp_path / "pruned", preset="train")
    record = run(job, tmp_path, "trained")
    assert record["prunings"] == []
    first, second = (load_model(tmp_path / name) for name in ("pruned", "trained"))
    assert shape_of_model(first) == shape_of_model(second)
    kept = [(tmp_path / name / "kept.json").read_text() for name in ("pruned", "trained")]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": 14_097}, "target of 14,097 parameters: must be positive and smaller"),
        ({"target": 9_632}, "target of 9,632 parameters: .* at least 9,632"),
        ({"target": None}, "preset adapt-accel prunes: give target parameters"),
        ({"sequence_length": 129}, "sequence_length 129 is beyond the model's window of 128"),
        ({"interleaves": 12}, "too few tokens for one step per stage: stage 1 of 12 gets 1 rows"),
        ({"tokens": 10**6}, "1,000,000 tokens are asked for"),
        ({"device": "tpu"}, "device 'tpu': must be cpu or cuda"),
    ],
)
def test_bad_input_is_refused_before_anything_is_pruned(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(recover_module, "run_stages", never)
    job = recovery(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        recover_stage(job, tmp_path / "out", tmp_path / "run")
    assert not (tmp_path / "out").exists()


def test_target_of_a_preset_that_prunes_nothing_is_refused(tmp_path: Path) -> None:
    job = dataclasses.replace(recovery(tmp_path, preset="train"), target=12_000)
    with pytest.raises(UserError, match="preset train prunes nothing: no target"):
        recover_stage(job, tmp_path / "out", tmp_path / "run")


def test_tokenizer_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "small", vocabulary=100)
    job = recovery(tmp_path, model=model, preset="train")
    with pytest.raises(UserError, match=r"makes token id 256 .* the model has rows for 0\.\.99"):
        recover_stage(job, tmp_path / "out", tmp_path / "run")
