"""ShearedLLaMA as a recovery: what its two stages do, and that a kill changes nothing."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from recovery_examples import (
    assert_same_weights,
    log_without_times,
    model_folder,
)
from sheared_examples import (
    DOMAINS,
    SMALL,
    shear_until_killed,
    shearing,
    sources,
    two_domains,
)
from test_recover_resume import count_steps

from adaptprune.data.packing import Rows, pack
from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json
from adaptprune.models.catalogue import shape_of
from adaptprune.models.checkpoint import count_compute_parameters, load_model
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.recovery.dynamic_batches import DomainRows, updated_weights
from adaptprune.recovery.objective import next_token_loss
from adaptprune.recovery.presets import find_preset
from adaptprune.recovery.registry import find_recovery
from adaptprune.recovery.stage import recover_stage
from baselines.sheared_masks import KINDS

PROFILES = Path(__file__).parent.parent / "profiles" / "accelerate"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sources and the result ``whole`` of a recovery."""
    folder = sources(tmp_path_factory.mktemp("sheared"))
    recover_stage(shearing(folder), folder / "whole", folder / "whole.run")
    return folder


def test_defaults_are_those_of_paper_and_scripts() -> None:
    preset = find_preset("sheared-llama")
    chosen = find_recovery("sheared-llama").parse(preset.parameters)
    assert (preset.batch, preset.peak_learning_rate, preset.minimum_learning_rate) == (
        128,
        2e-5,
        2e-6,
    )
    assert (chosen.shearing_share, chosen.lagrangian_warmup) == (0.1, 640 / 3200)
    assert (chosen.mask_learning_rate, chosen.multiplier_learning_rate) == (1.0, 1.0)


def test_result_is_a_stock_model_of_the_target_shape(undisturbed: Path) -> None:
    out = undisturbed / "whole"
    assert read_json(out / "config.json")["model_type"] == "llama"
    assert shape_of(str(out)) == shape_of(str(undisturbed / "small"))
    assert not list(out.glob("*.py"))
    kept = read_json(out / "kept.json")
    assert len(kept["hidden"]) == SMALL["hidden"]
    assert [len(layer["kv_heads"]) for layer in kept["layers"]] == [1, 1]
    for layer in kept["layers"]:
        (head,) = layer["kv_heads"]
        assert layer["q_heads"] == [2 * head, 2 * head + 1]


def test_tokens_are_shared_out_between_the_stages(undisturbed: Path) -> None:
    rows = log_without_times(undisturbed / "whole")
    assert [row["stage"] for row in rows] == [1] * 6 + [2] * 14
    assert rows[-1]["tokens"] == 80 * 16
    large, small = (
        count_compute_parameters(load_model(undisturbed / name)) for name in ("model", "small")
    )
    # References and three updates with the large model, three updates with the small one; each
    # measures 3 rows of 2 domains.
    measured = 3 * 2 * 16
    flops = 6 * 16 * (24 * large + 56 * small) + 2 * measured * (4 * large + 3 * small)
    assert rows[-1]["flops"] == flops
    assert read_json(undisturbed / "whole" / "recovery.json")["flops"] == flops


def test_masks_are_trained_in_the_first_stage_alone(undisturbed: Path) -> None:
    rows = log_without_times(undisturbed / "whole")
    # A fifth of the six steps warms up, which is one.
    assert [row["target_sparsity/hidden"] for row in rows[:6]] == [0.0] + [0.25] * 5
    assert rows[0]["lagrangian"] == 0
    assert rows[5]["expected_parameters"] < rows[0]["expected_parameters"]
    for kind in KINDS:
        assert rows[5][f"sparsity/{kind}"] > rows[0][f"sparsity/{kind}"]
    assert not any(key.startswith("sparsity") for row in rows[6:] for key in row)
    record = read_json(undisturbed / "whole" / "recovery.json")["prunings"][1]
    assert record["params"] == rows[6]["parameters"] < record["params_before"]
    assert record["expected_sparsity"]["layers"] == pytest.approx(rows[5]["sparsity/layers"])


def test_weights_follow_the_losses_over_their_references(undisturbed: Path) -> None:
    rows = log_without_times(undisturbed / "whole")
    record = read_json(undisturbed / "whole" / "recovery.json")["prunings"][0]
    references = [record["reference_losses"][name] for name in DOMAINS]
    weights = record["loading"]["weights"]
    updates = []
    for row in rows:
        assert [row[f"weight/{name}"] for name in DOMAINS] == pytest.approx(weights)
        if f"held_out_loss/{DOMAINS[0]}" in row:
            losses = [row[f"held_out_loss/{name}"] for name in DOMAINS]
            weights = updated_weights(weights, losses, references)
            updates.append(row["step"])
    assert updates == [2, 4, 6, 10, 14, 18]


def test_references_are_the_losses_of_the_source_model(undisturbed: Path, tmp_path: Path) -> None:
    data = two_domains(undisturbed).domains
    documents = {domain.name: domain.documents() for domain in data}
    pack(documents, byte_tokenizer(), 16, tmp_path / "rows")
    rows = Rows.open(tmp_path / "rows", 0)
    domains = DomainRows(rows.domain, rows.domains, 3, 0)
    model = load_model(undisturbed / "model")
    record = read_json(undisturbed / "whole" / "recovery.json")["prunings"][0]
    for name, held_out in zip(DOMAINS, domains.held_out, strict=True):
        assert set(rows.domain[held_out]) == {rows.domains.index(name)}
        loss = next_token_loss(model, rows.take(held_out)).item()
        assert record["reference_losses"][name] == pytest.approx(loss, rel=1e-6)


def test_references_can_be_given(undisturbed: Path, tmp_path: Path) -> None:
    given = {"words": 1.5, "numbers": 9.0}
    job = shearing(undisturbed, reference_losses=given, tokens=20 * 16)
    recover_stage(job, tmp_path / "out", tmp_path / "run")
    record = read_json(tmp_path / "out" / "recovery.json")
    assert record["prunings"][0]["reference_losses"] == given
    last = log_without_times(tmp_path / "out")[-1]
    # Words are far above their reference, numbers below theirs.
    assert last["weight/words"] > last["weight/numbers"]


@pytest.mark.parametrize(
    ("moment", "steps_left"), [("shearing", 17), ("cutting", 14), ("training", 8)]
)
def test_killed_recovery_ends_with_the_same_bits(
    moment: str,
    steps_left: int,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["accelerate", "adaptprune.recovery.stage"])
    process = context.Process(target=shear_until_killed, args=(moment, undisturbed, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    steps = count_steps(monkeypatch)
    recover_stage(shearing(undisturbed), tmp_path / "out", tmp_path / "run")
    assert len(steps) == steps_left
    assert_same_weights(tmp_path / "out", undisturbed / "whole")
    assert log_without_times(tmp_path / "out") == log_without_times(undisturbed / "whole")
    assert read_json(tmp_path / "out" / "kept.json") == read_json(
        undisturbed / "whole" / "kept.json"
    )


def losses(folder: Path, name: str, **changes: Any) -> list[float]:
    """Return the losses of a recovery's steps."""
    recover_stage(shearing(folder, **changes), folder / name, folder / f"{name}.run")
    return [row["loss"] for row in log_without_times(folder / name)]


def test_way_of_computing_changes_no_loss(tmp_path: Path) -> None:
    """The same masks in every pass, and gradients of masks that are summed over the passes."""
    sources(tmp_path, attention_dropout=0.0)
    one = losses(tmp_path, "one", micro_batch=4)
    assert losses(tmp_path, "two", micro_batch=1) == pytest.approx(one, rel=1e-4)
    checkpointed = losses(tmp_path, "three", micro_batch=4, activation_checkpointing=True)
    assert checkpointed == pytest.approx(one, rel=1e-4)


def test_two_processes_lose_as_much_as_one(tmp_path: Path) -> None:
    content = yaml.safe_load((PROFILES / "ddp.yaml").read_text()) | {"num_processes": 2}
    (tmp_path / "ddp.yaml").write_text(yaml.safe_dump(content))
    sources(tmp_path, attention_dropout=0.0)
    job = shearing(tmp_path, micro_batch=2)
    recover_stage(job, tmp_path / "one", tmp_path / "one.run")
    launched = dataclasses.replace(job, launch=tmp_path / "ddp.yaml")
    recover_stage(launched, tmp_path / "two", tmp_path / "two.run")
    one, two = (log_without_times(tmp_path / name) for name in ("one", "two"))
    for key in ("loss", "weight/words", "rows"):
        assert [row[key] for row in two] == pytest.approx([row[key] for row in one], rel=1e-4)
    masks = [f"sparsity/{kind}" for kind in KINDS]
    for first, second in zip(one[:6], two[:6], strict=True):
        assert [second[key] for key in masks] == pytest.approx(
            [first[key] for key in masks], rel=1e-3, abs=1e-6
        )


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ({"hidden": 20}, "hidden size 20 is larger than the model's 16"),
        ({"layers": 4}, "layers 4 is larger than the model's 3"),
        ({"intermediate": 25}, "intermediate size 25 is larger than the model's 24"),
        ({"heads": 3, "kv_heads": 3}, "kv heads 3 is larger than the model's 2"),
        ({"heads": 1, "kv_heads": 1}, "1 query heads per kv head, the model has 2"),
    ],
)
def test_shapes_that_cannot_be_reached(
    shape: dict[str, int], complaint: str, undisturbed: Path, tmp_path: Path
) -> None:
    target = model_folder(tmp_path / "target", **(SMALL | shape))
    with pytest.raises(UserError, match=complaint):
        recover_stage(shearing(undisturbed, target=str(target)), tmp_path / "out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"target": None}, "recovery preset sheared-llama prunes: give a target"),
        ({"shearing_share": 0.01}, "too few tokens for one step per stage: stage 1 of 2 gets 0"),
        ({"held_out_rows": 500}, "domain 'numbers' holds .* rows, 500 of each are held out"),
        ({"reference_losses": {"word": 1.0}}, "'word' is no domain .domains: numbers, words"),
        ({"reference_losses": {"words": 1.0}}, "lack the domain 'numbers'"),
    ],
)
def test_mistakes_are_told_before_training(
    change: dict[str, Any],
    complaint: str,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = count_steps(monkeypatch)
    with pytest.raises(UserError, match=complaint):
        recover_stage(shearing(undisturbed, **change), tmp_path / "out", tmp_path / "run")
    assert steps == []
