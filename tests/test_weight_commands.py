"""Pruning single weights by the command line: folders, records, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from weight_models import NAMES, TOKENS, decide, model_of

from adaptprune.models.anatomy import blocks_of, weight_shapes
from adaptprune.pruning.decisions import count_nonzeros
from adaptprune.pruning.masks import MASKS, masks_hash, read_masks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("name", NAMES)
def test_command_writes_a_stock_folder_with_zeros(
    name: str, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    dense = model_of("qwen2", heads=4, kv_heads=2, tied=True)
    dense.save_pretrained(tmp_path / "dense")
    tokens, out = tmp_path / "tokens.json", tmp_path / "pruned"
    tokens.write_text(str(TOKENS.tolist()))
    model, cell = ("--model", tmp_path / "dense"), ("--sparsity", 50, "--seed", 0)
    settings = ("--set", "pattern=2:4", "--calibration", tokens, "--output", out)
    status, _, err = command("prune", *model, "--method", name, *cell, *settings)
    assert (status, err.splitlines()[-1]) == (0, f"wrote {out}")
    loaded = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    assert type(loaded) is type(dense)
    decide(name, dense, pattern="2:4")
    weights = dense.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.state_dict().items())
    record = json.loads((out / "pruning.json").read_text())
    assert record["parameters"]["pattern"] == "2:4"
    assert record["counts"]["params"] == record["counts"]["params_dense"]
    assert {line["kept"] / line["weights"] for line in record["steps"]} == {0.5}
    assert len(record["steps"]) == len(weight_shapes(dense))


def prune_by_command(
    command: Callable[..., tuple[int, str, str]], dense: Any, method: str, *arguments: Any
) -> tuple[int, str, str]:
    """Prune the model that lies in a folder ``dense``, into the folder ``pruned`` beside it."""
    tokens = dense.parent / "tokens.json"
    tokens.write_text(str(TOKENS.tolist()))
    cell = ("--model", dense, "--method", method, "--seed", 0, "--calibration", tokens)
    return command("prune", *cell, "--output", dense.parent / "pruned", *arguments)


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_command_masks_other_families(
    family: str, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    dense, out = model_of(family), tmp_path / "pruned"
    dense.save_pretrained(tmp_path / "dense")
    asked = ("--sparsity", 50, "--set", "pattern=2:4")
    status, _, err = prune_by_command(command, tmp_path / "dense", "wanda", *asked)
    assert (status, err.startswith("wrote ")) == (0, True)
    decision, _ = decide("wanda", dense, pattern="2:4")
    masks, pattern = read_masks(out / MASKS)
    assert (masks_hash(masks), str(pattern)) == (masks_hash(decision.masks), "2:4")
    assert MASKS in json.loads((out / "manifest.json").read_text())["files"]
    assert json.loads((out / "kept.json").read_text())["masks_sha256"] == masks_hash(masks)
    counts = json.loads((out / "pruning.json").read_text())["counts"]
    assert counts["params"] == counts["params_dense"]
    assert counts["params"] == sum(parameter.numel() for parameter in dense.parameters())
    assert (counts["nonzeros"], counts["pattern"]) == (count_nonzeros(dense), "2:4")
    assert counts["sparsity_reached"] == 0.5
    loaded = AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    weights = dense.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.state_dict().items())
    status, printed, err = command("loss", "--model", out, "--tokens", tmp_path / "tokens.json")
    assert (status, err) == (0, "")
    with torch.no_grad():
        expected = dense(input_ids=TOKENS, labels=TOKENS).loss.item()
    assert json.loads(printed)["loss"] == pytest.approx(expected, abs=1e-5)


def test_masked_folder_is_evaluated_and_its_masks_are_guarded(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    out, scores = tmp_path / "pruned", tmp_path / "scores.json"
    cell = ("--model", "tiny-llama", "--sparsity", 50, "--seed", 0, "--output", out)
    method = ("--method", "weight-magnitude", "--set", "pattern=2:4")
    assert command("prune", *cell, *method)[0] == 0
    evaluate = ("evaluate", "--model", out, "--tasks", "tiny_local_place", "--output", scores)
    assert command(*evaluate)[0] == 0
    assert json.loads(scores.read_text())["status"] == "ok"
    content = (out / MASKS).read_bytes()
    (out / MASKS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    status, _, err = command(*evaluate[:-1], tmp_path / "others.json")
    assert status == 2
    assert MASKS in err


def test_command_refuses_units_of_other_families(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    model_of("gpt2").save_pretrained(tmp_path / "dense")
    status, _, err = prune_by_command(command, tmp_path / "dense", "magnitude", "--sparsity", 50)
    assert status == 2
    assert "'gpt2' (allowed: llama, mistral, qwen2, qwen3)" in err


def test_masked_model_that_is_pruned_again_says_that_its_masks_are_gone(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    model_of("llama").save_pretrained(tmp_path / "dense")
    asked = ("--sparsity", 50, "--set", "pattern=2:4")
    assert prune_by_command(command, tmp_path / "dense", "wanda", *asked)[0] == 0
    (tmp_path / "pruned").rename(tmp_path / "masked")
    masked = tmp_path / "masked"
    assert prune_by_command(command, masked, "magnitude", "--sparsity", 30)[0] == 0
    record = json.loads((tmp_path / "pruned" / "pruning.json").read_text())
    assert record["pruned_before"] == "wanda"
    note = "masked was masked (2:4); its masks are not kept: zeros may be filled"
    assert record["notes"] == [note]
    assert not (tmp_path / "pruned" / MASKS).exists()
    assert "nonzeros" not in record["counts"]


@pytest.mark.parametrize("family", ["opt", "gpt2"])
def test_command_counts_the_parameters_of_other_families(
    family: str, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    model = model_of(family)
    model.save_pretrained(tmp_path / "dense")
    asked = ("params", "--model", tmp_path / "dense", "--sparsity", 50)
    status, printed, _ = command(*asked, "--method", "wanda", "--set", "pattern=2:4")
    assert status == 0
    counts = json.loads(printed)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert [counts[f"params_{key}"] for key in ("total", "min", "max", "dense")] == [total] * 4
    assert counts["params_decoder"] == sum(p.numel() for p in blocks_of(model).parameters())
    status, _, err = command(*asked, "--method", "wanda", "--set", "pattern=5:10")
    assert status == 2
    assert "5:10 does not divide the rows of" in err
    status, _, err = command(*asked, "--method", "flap")
    assert status == 2
    assert f"{family!r} (allowed: llama, mistral, qwen2, qwen3)" in err


def test_doctor_predicts_nothing_of_a_model_without_a_shape(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    model_of("gpt2").save_pretrained(tmp_path / "dense")
    asked = (f"models={tmp_path / 'dense'}", "methods=dense,wanda@2-4")
    overrides = [part for text in asked for part in ("--override", text)]
    status, printed, _ = command("doctor", "--profile", "tiny", *overrides)
    assert status == 0
    assert "of no family with units" in printed
    assert "nothing is missing" in printed
