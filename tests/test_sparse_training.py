"""Sparse training end to end: what becomes of masks and weights, kills, processes, bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recovery_examples import (
    LENGTH,
    assert_same_weights,
    log_without_times,
    model_folder,
    recovery,
    weights,
)

from adaptprune.commands.training import merge
from adaptprune.errors import UserError
from adaptprune.models.anatomy import all_linears
from adaptprune.models.checkpoint import load_model
from adaptprune.pruning.masks import MASKS, read_masks
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.stage import recover_stage

PRESETS = ("ast-naive", "ast-boosted", "naive-sparse", "iterative-magnitude", "gradual-magnitude")
CHANGES: dict[str, dict[str, Any]] = {
    "ast-naive": {"update_every": 3},
    "ast-boosted": {"update_every": 3, "slorb_k": 4},
    "gradual-magnitude": {"update_every": 2},
}


def job(folder: Path, preset: str, **changes: Any) -> Any:
    """Return a recovery of 20 steps."""
    return recovery(folder, preset=preset, **(CHANGES.get(preset, {}) | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, text, and the result of every preset."""
    folder = tmp_path_factory.mktemp("whole")
    for preset in PRESETS:
        recover_stage(job(folder, preset), folder / preset, folder / f"{preset}.run")
    return folder


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "recovery.json").read_text())


@pytest.mark.parametrize("preset", PRESETS)
def test_outcome_is_sparse_where_its_masks_say(preset: str, whole: Path) -> None:
    masks, pattern = read_masks(whole / preset / MASKS)
    model = load_model(whole / preset, merge=False)
    assert str(pattern) == "2:4"
    for linear in all_linears(model):
        assert masks[linear.name].follows(pattern)
        assert 2 * masks[linear.name].kept == masks[linear.name].weights
        assert not linear.matrix[~masks[linear.name].unpack()].any()
    counts = record(whole / preset)["counts"]
    assert counts["pattern"] == "2:4"
    assert counts["nonzeros"] == sum(int(p.count_nonzero()) for p in model.parameters())
    rows = log_without_times(whole / preset)
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_kept_json_tells_the_masks(whole: Path) -> None:
    kept = json.loads((whole / "ast-naive" / "kept.json").read_text())
    assert kept["layers"] == []
    assert kept["weights"] == 2 * kept["kept"]


def test_flips_are_logged_where_masks_change(whole: Path) -> None:
    rows = log_without_times(whole / "ast-naive")
    assert [row["step"] for row in rows if "flips" in row] == [3, 6, 9, 12, 15, 18]
    weights_masked = sum(
        mask.weights for mask in read_masks(whole / "ast-naive" / MASKS)[0].values()
    )
    for row in rows:
        if "flips" in row:
            assert row["flip_rate"] == row["flips"] / weights_masked
            assert row["initial_flips"] <= weights_masked
    assert any(row.get("flips") for row in rows)


def test_masks_of_the_baselines_only_grow(whole: Path) -> None:
    pruned = sum(
        mask.weights // 2 for mask in read_masks(whole / "naive-sparse" / MASKS)[0].values()
    )
    for preset, first in (("iterative-magnitude", pruned // 4), ("gradual-magnitude", 0)):
        rows = [row for row in log_without_times(whole / preset) if "flips" in row]
        flips = [row["flips"] for row in rows]
        assert [row["initial_flips"] for row in rows][-1] == sum(flips) == pruned - first
    assert not any("flips" in row for row in log_without_times(whole / "naive-sparse"))


def test_slorb_is_counted_and_loads_elsewhere(whole: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = whole / "ast-boosted"
    made, plain = record(folder), record(whole / "ast-naive")
    shapes = [linear.shape for linear in all_linears(load_model(folder, merge=False))]
    extra = sum(inputs // 4 * (outputs + inputs) for outputs, inputs in shapes)
    assert made["counts"]["adapter_parameters"] == extra
    assert made["params"] == plain["params"] + extra
    tokens = torch.randint(32, 120, (2, 12), generator=torch.Generator().manual_seed(0))
    elsewhere = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder), str(folder / "adapter")
    ).eval()
    with torch.no_grad():
        ours = load_model(folder)(input_ids=tokens).logits
        theirs = elsewhere(input_ids=tokens).logits
        without = load_model(folder, merge=False)(input_ids=tokens).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (ours - without).abs().max() > 1e-3


def test_merged_model_is_dense_and_the_same(whole: Path, tmp_path: Path) -> None:
    merge(model=str(whole / "ast-boosted"), output=tmp_path / "merged")
    merged, ours = (load_model(folder) for folder in (tmp_path / "merged", whole / "ast-boosted"))
    for one, other in zip(merged.parameters(), ours.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not (tmp_path / "merged" / "adapter").exists()
    with pytest.raises(UserError, match="no adapter to merge"):
        merge(model=str(whole / "ast-naive"), output=tmp_path / "other")


class Killed(BaseException):
    """Stands for a kill: nothing may run but what must."""


@pytest.mark.parametrize("preset", ["ast-boosted", "ast-naive", "gradual-magnitude"])
def test_killed_training_ends_with_the_same_bits(
    preset: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, taken = _Training._step, [0]

    def dying(training: _Training) -> Any:
        taken[0] += 1
        if taken[0] == 9:  # two steps after a checkpoint, within Δt
            raise Killed
        return step(training)

    monkeypatch.setattr(_Training, "_step", dying)
    with pytest.raises(Killed):
        recover_stage(job(whole, preset), tmp_path / "out", tmp_path / "run")
    recover_stage(job(whole, preset), tmp_path / "out", tmp_path / "run")
    assert_same_weights(tmp_path / "out", whole / preset)
    assert (tmp_path / "out" / MASKS).read_bytes() == (whole / preset / MASKS).read_bytes()
    assert log_without_times(tmp_path / "out") == log_without_times(whole / preset)
    if preset == "ast-boosted":
        adapter = Path("adapter", "adapter_model.safetensors")
        assert (tmp_path / "out" / adapter).read_bytes() == (whole / preset / adapter).read_bytes()


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    content = yaml.safe_load(Path("profiles/accelerate/ddp.yaml").read_text())
    launch = tmp_path / "ddp.yaml"
    launch.write_text(yaml.safe_dump(content | {"num_processes": 2}))
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    # A step of 5 rows is dealt out unevenly; a low rate keeps the last bits from growing.
    settings = {"model": model, "batch": 5, "micro_batch": 2, "tokens": 41 * LENGTH}
    settings |= {"peak_learning_rate": 1e-3, "minimum_learning_rate": 0.0, "decay": "gradient"}
    one = job(tmp_path, "ast-boosted", **settings)
    recover_stage(one, tmp_path / "one", tmp_path / "one.run")
    two = dataclasses.replace(one, launch=launch)
    recover_stage(two, tmp_path / "two", tmp_path / "two.run")
    rows = [log_without_times(tmp_path / name) for name in ("one", "two")]
    for key in ("loss", "gradient_norm"):
        expected = pytest.approx([row[key] for row in rows[0]], rel=1e-4)
        assert [row[key] for row in rows[1]] == expected
    flips = [[row["flips"] for row in log if "flips" in row] for log in rows]
    assert flips[0] == flips[1]
    assert (tmp_path / "one" / MASKS).read_bytes() == (tmp_path / "two" / MASKS).read_bytes()
    first, second = (weights(tmp_path / name) for name in ("one", "two"))
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-4


@pytest.mark.parametrize("metric", ["wanda", "sparsegpt"])
def test_metric_of_inputs_chooses_other_masks(metric: str, whole: Path, tmp_path: Path) -> None:
    recover_stage(
        job(whole, "ast-naive", metric=metric, statistics_rows=4, tokens=8 * 4 * LENGTH),
        tmp_path / "out",
        tmp_path / "run",
    )
    masks, _ = read_masks(tmp_path / "out" / MASKS)
    plain, _ = read_masks(whole / "ast-naive" / MASKS)
    assert any(masks[name].sha256 != plain[name].sha256 for name in masks)


@pytest.mark.parametrize("loss", ["reverse-kl", "tinybert", "mobilebert", "squarehead"])
def test_other_losses_teach_too(loss: str, whole: Path, tmp_path: Path) -> None:
    settings = {"distillation": loss, "alpha": 1.0, "decay": "gradient", "warmup": 0.3}
    settings |= {"tokens": 10 * 4 * LENGTH, "peak_learning_rate": 1e-3}
    recover_stage(job(whole, "ast-naive", **settings), tmp_path / "out", tmp_path / "run")
    rows = log_without_times(tmp_path / "out")
    assert all(row["loss"] > 0 for row in rows)
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize(
    ("preset", "changes", "told"),
    [
        ("ast-naive", {"pattern": "2:5"}, r"pattern 2:5 does not divide the rows of model\.layers"),
        ("ast-naive", {"pattern": "4:2"}, "pattern '4:2' keeps 4 of 2 weights"),
        ("ast-boosted", {"slorb_k": 5}, r"slorb_k 5 does not divide the rows of model\.layers"),
        (
            "ast-naive",
            {"increase_steps": 11, "tokens": 10 * 4 * LENGTH},
            r"increase_steps 11 \(T0\) lies beyond the end .* 10 steps",
        ),
        ("ast-naive", {"increase_steps": 21}, r"increase_steps 21 .* 20 steps"),
        ("iterative-magnitude", {"rounds": 21}, "rounds 21: more than the training's 20 steps"),
        ("ast-naive", {"warmup": 0.9, "cosine_end": 0.8}, "warmup must not end after cosine_end"),
        ("ast-naive", {"decay": "papr"}, "decay: Input should be 'paper'"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    preset: str, changes: dict[str, Any], told: str, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told) as error:
        recover_stage(job(whole, preset, **changes), tmp_path / "out", tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_teacher_of_another_vocabulary_is_refused(whole: Path, tmp_path: Path) -> None:
    teacher = model_folder(tmp_path / "teacher", vocabulary=300)
    refused = job(whole, "ast-naive", teacher=str(teacher))
    with pytest.raises(UserError, match=r"teacher .*: knows 300 tokens, the model 257"):
        recover_stage(refused, tmp_path / "out", tmp_path / "run")
