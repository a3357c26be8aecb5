"""The training loop: against a loop written out in plain torch, and for all kinds of models."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from recovery_examples import LENGTH, log_without_times, model_folder, recovery, weights
from training_rows import write_training_hub

from adaptprune.data.packing import Batch, Rows, pack
from adaptprune.errors import UserError
from adaptprune.models.catalogue import shape_of
from adaptprune.models.checkpoint import load_model, save_model
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.pruning.method import Context
from adaptprune.recovery.log import TrainingLog, read_log
from adaptprune.recovery.objective import next_token_loss
from adaptprune.recovery.schedules import WarmupStableDecay
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from pathlib import Path


def train(job: Any, folder: Path, name: str) -> list[dict[str, Any]]:
    """Run a recovery and return its log."""
    recover_stage(job, folder / name, folder / f"{name}.run")
    return log_without_times(folder / name)


def plain_training(folder: Path, rows: Rows, batch: int, peak: float) -> Any:
    """Train a model as the paper describes it, in as few words as torch allows."""
    model = load_model(folder).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    batches = [
        rows.batch(start, min(start + batch, len(rows.tokens)))
        for start in range(0, len(rows.tokens), batch)
    ]
    schedule = WarmupStableDecay(len(batches), peak, 0.0)
    for step, tokens in enumerate(batch.tokens for batch in batches):
        optimizer.param_groups[0]["lr"] = schedule.rate(step)
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def test_loop_is_that_of_plain_torch(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    job = recovery(tmp_path, model=model, preset="train", micro_batch=4)
    log = train(job, tmp_path, "out")
    texts = [json.loads(line)["text"] for line in (tmp_path / "text.jsonl").open()]
    pack({"text": texts}, byte_tokenizer(), LENGTH, tmp_path / "rows")
    reference = plain_training(model, Rows.open(tmp_path / "rows", 0), batch=4, peak=1e-2)
    trained = weights(tmp_path / "out")
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(trained[name], parameter.detach(), rtol=1e-4, atol=1e-5)
    assert log[-1]["loss"] < log[0]["loss"] / 1.5
    assert max(row["gradient_norm"] for row in log) > 1  # so clipping had something to do


@pytest.mark.parametrize("change", [{"micro_batch": 1}, {"activation_checkpointing": True}])
@pytest.mark.parametrize("data", ["text", "chats"])
def test_way_of_computing_changes_no_loss(
    change: dict[str, Any], data: str, tmp_path: Path
) -> None:
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    hub = write_training_hub(tmp_path / "hub")
    source: dict[str, Any] = {"data": "paper", "local_data": hub} if data == "chats" else {}
    settings = {"model": model, "preset": "train", "tokens": 10 * 4 * LENGTH}
    jobs = [recovery(tmp_path, **settings, **more) for more in ({}, change)]
    one, two = (
        train(dataclasses.replace(job, **source), tmp_path, name)
        for job, name in zip(jobs, ("one", "two"), strict=True)
    )
    for key in ("loss", "gradient_norm"):
        assert [row[key] for row in two] == pytest.approx([row[key] for row in one], rel=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["mistral", "qwen2", "qwen3"])
def test_other_families_are_pruned_and_trained(family: str, tied: bool, tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", family=family, tied=tied)
    target = shape_of(str(model)).parameters - 1_000
    job = recovery(tmp_path, model=model, target=target, tokens=40 * LENGTH)
    log = train(job, tmp_path, "out")
    assert log[-1]["parameters"] < target
    trained, before = load_model(tmp_path / "out"), load_model(model)
    assert trained.config.tie_word_embeddings == tied
    moved = trained.model.embed_tokens.weight != before.model.embed_tokens.weight
    assert moved.any()


def test_sliced_model_is_trained(tmp_path: Path) -> None:
    from baselines.slicegpt import SPEC

    source = model_folder(tmp_path / "model")
    tokens = torch.randint(32, 120, (4, 12), generator=torch.Generator().manual_seed(0))
    sliced = SPEC.prune(load_model(source), None, 30, Context(tokens, 0), SPEC.parse({})).model
    (tmp_path / "sliced").mkdir()
    save_model(tmp_path / "sliced", sliced, sliced.config, source)
    job = recovery(tmp_path, model=tmp_path / "sliced", preset="train")
    log = train(job, tmp_path, "out")
    assert log[-1]["loss"] < log[0]["loss"]
    assert type(load_model(tmp_path / "out")) is type(sliced)


def test_loss_is_the_mean_over_predicted_tokens(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path / "model"))
    rows = torch.tensor([[5, 6, 7], [8, 9, 10]])
    probabilities = model(input_ids=rows).logits.log_softmax(-1)
    by_hand = -sum(probabilities[i, j, rows[i, j + 1]] for i in (0, 1) for j in (0, 1)) / 4
    torch.testing.assert_close(next_token_loss(model, Batch.of(rows)), by_hand)


def test_loss_leaves_out_what_does_not_count(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path / "model"))
    rows = torch.tensor([[5, 6, 7, 8], [8, 9, 10, 11]])
    counted = torch.tensor([[True, False, True, True], [True, False, False, True]])
    probabilities = model(input_ids=rows).logits.log_softmax(-1)
    by_hand = -(probabilities[0, 1, 7] + probabilities[0, 2, 8] + probabilities[1, 2, 11]) / 3
    torch.testing.assert_close(next_token_loss(model, Batch(rows, counted)), by_hand)
    nothing = next_token_loss(model, Batch(rows, torch.zeros_like(counted)))
    assert nothing.item() == 0


def test_micro_batches_weigh_by_what_they_count(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path / "model", attention_dropout=0.0))
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(5, 200, (5, 12), generator=generator)
    counted = torch.rand(5, 12, generator=generator) < torch.linspace(0, 1, 5)[:, None]
    whole = Batch(rows, counted)
    parts = whole.split(2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert sum(part.predictions for part in parts) == whole.predictions
    weighted = sum(
        next_token_loss(model, part) * (part.predictions / whole.predictions) for part in parts
    )
    torch.testing.assert_close(weighted, next_token_loss(model, whole))


def test_log_drops_what_lies_beyond_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    rows = [{"stage": 1, "stage_step": 1}, {"stage": 1, "stage_step": 2}]
    rows += [{"stage": 2, "stage_step": 1}, {"stage": 2, "stage_step": 2}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"stage": 2, "sta')
    assert read_log(path) == rows
    log = TrainingLog(path, stage=2, step=1)
    assert read_log(path) == rows[:3]
    log.append({"stage": 2, "stage_step": 2, "again": True})
    log.close()
    assert read_log(path) == [*rows[:3], {"stage": 2, "stage_step": 2, "again": True}]


@pytest.mark.parametrize(
    "damaged", [b'{"stage": 1, "stage_s\n', b"[]\n", b"\xff\n", b"\n", b'{"stage": 1}\n']
)
def test_damaged_line_of_a_log_is_named(damaged: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"stage": 1, "stage_step": 1}\n' + damaged)
    with pytest.raises(UserError, match=r"log\.jsonl: line 2 is no step of a training") as error:
        read_log(path)
    assert "\n" not in str(error.value)


def test_record_says_under_which_conditions(tmp_path: Path) -> None:
    job = dataclasses.replace(recovery(tmp_path, preset="train"), seed=3)
    train(job, tmp_path, "out")
    record = json.loads((tmp_path / "out" / "recovery.json").read_text())
    assert record["conditions"]["seed"] == 3
    assert record["conditions"]["preset"]["peak_learning_rate"] == 1e-2
    assert record["steps"] == 20
    assert record["provenance"]["train_s"] > 0
