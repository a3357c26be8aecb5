"""Checkpoints: the same function in any process, verified before use, reproducible to the byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoint_examples import CALIBRATION, RUNS, job
from tiny_models import SHAPES, count_parameters, logits, save_tiny_model, tiny_tokens

from adaptprune.data.calibration import CalibrationSet
from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json, read_sealed_json, write_sealed_json
from adaptprune.files.manifest import write_manifest
from adaptprune.models.checkpoint import load_model, revision
from adaptprune.models.runtime import Runtime
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.guard import check_pruned
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.stage import Job, mean_loss_of, prune_stage, score_stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("checkpoints")

TOKENS = tiny_tokens(3, 10)
FAMILIES = ("llama", "qwen2")
#: Masks of single weights are saved alike, whoever chose them.
METHODS = {method: run for method, run in RUNS.items() if method not in ("sparsegpt", "wanda")}
CHECKPOINTS = [f"{family}-{method}" for family in FAMILIES for method in METHODS]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Dense models by family: tied Llama, untied Qwen2 with biases, three query heads per group."""
    folder = tmp_path_factory.mktemp("models")
    return {
        family: save_tiny_model(
            folder / family, family, tied=family == "llama", **SHAPES["grouped"]
        )
        for family in FAMILIES
    }


@pytest.fixture(scope="module")
def folders(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoint folders of every method on every family."""
    root = tmp_path_factory.mktemp("checkpoints")
    for family, model in models.items():
        for method, (sparsity, _) in METHODS.items():
            prune_stage(job(model, method), sparsity, root / f"{family}-{method}")
    return {name: root / name for name in CHECKPOINTS}


@pytest.fixture(scope="module")
def expected(models: dict[str, Path]) -> dict[str, torch.Tensor]:
    """Logits of the pruned models as they are in memory, never saved."""
    outputs = {}
    for family, folder in models.items():
        for method, (sparsity, _) in METHODS.items():
            work = job(folder, method)
            model = load_model(folder)
            dense = DenseModel.of(model)
            returned = work.method.prune(model, None, sparsity, work.context(), work.parameters)
            decision = check_pruned(work.method, returned, dense).decide()
            outputs[f"{family}-{method}"] = logits(decision.apply(model), TOKENS)
    return outputs


LOADER = """
import json, sys
import torch

mode, request, answer = sys.argv[1:]
if mode == "package":
    import adaptprune.modeling
else:
    sys.modules["adaptprune"] = None  # an import of the package fails from here on
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
content = json.load(open(request))
tokens = torch.tensor(content["tokens"])
found = {}
for name, folder in content["folders"].items():
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=mode == "remote"
    ).eval()
    with torch.no_grad():
        entry = {"class": type(model).__name__, "module": type(model).__module__}
        entry["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        entry["logits"] = model(input_ids=tokens, use_cache=False).logits
        for cached in (True, False):
            entry[cached] = model.generate(
                tokens, max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=cached,
                attention_mask=torch.ones_like(tokens), pad_token_id=0,
            )
    found[name] = entry
torch.save(found, answer)
"""


@pytest.fixture(scope="module", params=["package", "remote"])
def loaded(
    request: pytest.FixtureRequest,
    folders: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[Any, Any]]:
    """What a fresh process makes of all checkpoints, with the package or without it."""
    scratch = tmp_path_factory.mktemp(f"fresh-{request.param}")
    content = {"tokens": TOKENS.tolist(), "folders": {k: str(v) for k, v in folders.items()}}
    (scratch / "request.json").write_text(json.dumps(content))
    subprocess.run(
        [sys.executable, "-c", LOADER, request.param, "request.json", "answer.pt"],
        cwd=scratch,
        env=os.environ | {"HF_MODULES_CACHE": str(scratch / "modules")},
        check=True,
    )
    return torch.load(scratch / "answer.pt")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_fresh_process_computes_bit_equal_logits(
    name: str, loaded: dict[str, Any], expected: dict[str, torch.Tensor]
) -> None:
    assert torch.equal(loaded[name]["logits"], expected[name])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_generation_with_cache_equals_generation_without(name: str, loaded: dict[str, Any]) -> None:
    assert loaded[name][True].shape == (3, 16)
    assert torch.equal(loaded[name][True], loaded[name][False])


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_recorded_count_is_that_of_the_loaded_model(
    name: str, loaded: dict[str, Any], folders: dict[str, Path]
) -> None:
    counts = read_json(folders[name] / "pruning.json")["counts"]
    assert counts["params"] == loaded[name]["parameters"]


@pytest.mark.parametrize(
    "name",
    [
        f"{family}-{method}"
        for family in FAMILIES
        for method in ("dense", "llm-pruner", "magnitude", "random")
    ],
)
def test_uniform_outcomes_are_stock_architectures(
    name: str, loaded: dict[str, Any], folders: dict[str, Path]
) -> None:
    stock = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[name.split("-")[0]]
    assert loaded[name]["class"] == stock
    assert not (folders[name] / "modeling_adaptprune.py").exists()


@pytest.mark.parametrize("name", [n for n in CHECKPOINTS if n.endswith(("adapt-pruner", "flap"))])
def test_other_outcomes_bring_their_code_along(name: str, folders: dict[str, Path]) -> None:
    config = read_json(folders[name] / "config.json")
    assert config["model_type"] == f"adaptprune_{name.split('-')[0]}"
    assert (folders[name] / "modeling_adaptprune.py").is_file()
    assert len(config["blocks"]) == 2


def test_uniform_outcome_that_the_stock_config_refuses_lists_its_blocks(tmp_path: Path) -> None:
    # 9 query heads divide a hidden size of 45; 6 do not.
    shape = {"heads": 9, "kv_heads": 3, "head_dim": 4, "hidden": 45, "intermediate": 20}
    model = save_tiny_model(tmp_path / "model", **shape)
    prune_stage(job(model, "magnitude"), 40, tmp_path / "out")
    config = read_json(tmp_path / "out" / "config.json")
    assert config["model_type"] == "adaptprune_llama"
    assert (
        config["blocks"]
        == [{"num_key_value_heads": 2, "num_attention_heads": 6, "intermediate_size": 12}] * 2
    )
    assert load_model(tmp_path / "out").model.layers[0].self_attn.k_proj.out_features == 8


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_head_dim_is_written_out(name: str, folders: dict[str, Path]) -> None:
    if name.startswith("llama") or name.endswith(("adapt-pruner", "flap", "slicegpt")):
        assert read_json(folders[name] / "config.json")["head_dim"] == 4


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_record_says_how_the_checkpoint_came_about(name: str, folders: dict[str, Path]) -> None:
    family, _, method = name.partition("-")
    record = read_json(folders[name] / "pruning.json")
    assert record["schema"] == 1
    assert record["status"] == "ok"
    assert record["model"].endswith(family)
    assert record["method"] == method
    assert record["variant"] is None
    assert record["method_version"] == find_method(method).version
    assert record["parameters"].items() >= RUNS[method][1].items()
    assert record["sparsity"] == RUNS[method][0]
    assert record["seed"] == 0
    assert record["versions"].keys() == {"adaptprune", "torch", "transformers", "python"}
    assert record["provenance"]["peak_rss_mb"] > 0


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_record_names_the_calibration_that_was_used(name: str, folders: dict[str, Path]) -> None:
    calibration = read_json(folders[name] / "pruning.json")["calibration"]
    if name.endswith(("dense", "magnitude", "random")):
        assert calibration is None
    else:
        assert calibration == CALIBRATION.describe()
        assert len(calibration["hash"]) == 64


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_kept_units_belong_to_the_weights(name: str, folders: dict[str, Path]) -> None:
    kept = read_sealed_json(folders[name] / "kept.json")
    model = load_model(folders[name])
    if name.endswith("slicegpt"):
        assert kept == {"layers": [], "width": model.config.sliced_width}
        return
    if name.endswith("weight-magnitude"):
        weights = [one for one in model.model.layers.parameters() if one.dim() == 2]
        assert kept["weights"] == sum(one.numel() for one in weights)
        assert kept["kept"] == sum(int(one.count_nonzero()) for one in weights)
        return
    for layer, units in zip(model.model.layers, kept["layers"], strict=True):
        assert layer.self_attn.k_proj.out_features == 4 * len(units["kv_heads"])
        assert layer.self_attn.q_proj.out_features == 4 * len(units["q_heads"])
        assert layer.mlp.up_proj.out_features == len(units["mlp"])


def weights_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_same_seed_gives_the_same_bytes(
    name: str, folders: dict[str, Path], models: dict[str, Path], tmp_path: Path
) -> None:
    family, _, method = name.partition("-")
    prune_stage(job(models[family], method), RUNS[method][0], tmp_path / "again")
    assert weights_of(tmp_path / "again") == weights_of(folders[name])
    for file in ("kept.json", "config.json"):
        assert (tmp_path / "again" / file).read_bytes() == (folders[name] / file).read_bytes()


@pytest.mark.parametrize("method", ["llm-pruner", "flap", "magnitude"])
def test_stored_scores_give_the_same_bytes(
    method: str, folders: dict[str, Path], models: dict[str, Path], tmp_path: Path
) -> None:
    work = job(models["qwen2"], method)
    score_stage(work, [20, 40], tmp_path / "scores.safetensors")
    prune_stage(work, 40, tmp_path / "out", tmp_path / "scores.safetensors")
    assert weights_of(tmp_path / "out") == weights_of(folders[f"qwen2-{method}"])


def test_trajectory_point_gives_the_same_bytes_as_a_run_of_its_own(
    models: dict[str, Path], tmp_path: Path
) -> None:
    work = job(models["llama"], "adapt-pruner", {"step_size": 10, "amplitude": 0.05})
    score_stage(work, [20, 40], tmp_path / "scores.safetensors")
    for sparsity in (20, 40):
        prune_stage(work, sparsity, tmp_path / "shared", tmp_path / "scores.safetensors")
        prune_stage(work, sparsity, tmp_path / "alone")
        assert weights_of(tmp_path / "shared") == weights_of(tmp_path / "alone")


def damaged(folder: Path, tmp_path: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Copy a checkpoint and change one of its files."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / name).write_bytes(change((copy / name).read_bytes()))
    return copy


def flip_last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "kept.json", "pruning.json"])
@pytest.mark.parametrize(
    "change", [flip_last_byte, lambda content: content[:-7]], ids=["altered", "truncated"]
)
def test_changed_file_is_named_and_never_used(
    name: str, change: Callable[[bytes], bytes], folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = damaged(folders["llama-flap"], tmp_path, name, change)
    with pytest.raises(UserError, match=name):
        mean_loss_of(copy, TOKENS.tolist(), Runtime())


def test_a_model_made_again_is_the_same_though_it_took_another_time(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = folders["llama-flap"]
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name, changed in (("pruning.json", False), ("kept.json", True)):
        record = read_sealed_json(copy / name)
        write_sealed_json(copy / name, record | {"provenance": {"wall_s": 1e9}})
        write_manifest(copy)
        assert (revision(copy) != revision(folder)) == changed, name


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "kept.json"])
def test_missing_file_is_named(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["llama-flap"], tmp_path / "copy")
    (copy / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: missing"):
        revision(copy)


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_truncated_weights_of_a_foreign_folder_are_refused(
    size: int, models: dict[str, Path], tmp_path: Path
) -> None:
    copy = damaged(models["llama"], tmp_path, "model.safetensors", lambda content: content[:size])
    with pytest.raises(UserError, match="copy"):
        load_model(copy)


def test_folder_without_weights_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(models["llama"], tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no safetensors weights"):
        revision(copy)


def test_weights_of_another_shape_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(models["llama"], tmp_path / "copy")
    shutil.copyfile(models["qwen2"] / "model.safetensors", copy / "model.safetensors")
    with pytest.raises(UserError, match=r"in the weights|not a loadable model"):
        load_model(copy)


@pytest.mark.parametrize("method", ["adapt-pruner", "llm-pruner", "flap", "slicegpt", "magnitude"])
def test_numerical_failure_is_recorded_without_weights(
    method: str, models: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(models["llama"])
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0] = torch.nan
    model.save_pretrained(tmp_path / "broken")
    prune_stage(job(tmp_path / "broken", method), 40, tmp_path / "out")
    record = read_json(tmp_path / "out" / "pruning.json")
    assert record["status"] == "failed"
    assert "not finite" in record["reason"] or "nan" in record["reason"]
    assert weights_of(tmp_path / "out") == {}


def test_failed_scores_fail_the_cells_cut_from_them(
    models: dict[str, Path], tmp_path: Path
) -> None:
    model = load_model(models["llama"])
    with torch.no_grad():
        model.lm_head.weight[0] = torch.nan
    model.save_pretrained(tmp_path / "broken")
    work = job(tmp_path / "broken", "llm-pruner")
    score_stage(work, [40], tmp_path / "scores.safetensors")
    prune_stage(work, 40, tmp_path / "out", tmp_path / "scores.safetensors")
    record = read_json(tmp_path / "out" / "pruning.json")
    assert (record["status"], record["reason"]) == ("failed", "the calibration loss is nan")


def test_tokens_outside_the_vocabulary_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    tokens = CalibrationSet([[0, 40], [1, 2]], "made-up", 0)
    method = find_method("llm-pruner")
    work = Job(str(models["llama"]), method, None, method.parse({}), 0, tokens, Runtime())
    with pytest.raises(UserError, match=r"40 is outside the model's vocabulary 0\.\.39"):
        prune_stage(work, 40, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("first", ["adapt-pruner", "flap", "llm-pruner"])
def test_pruned_model_can_be_pruned_again(
    first: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    source = folders[f"llama-{first}"]
    prune_stage(job(source, "magnitude"), 30, tmp_path / "out")
    record = read_json(tmp_path / "out" / "pruning.json")
    assert record["pruned_before"] == first
    assert count_parameters(load_model(tmp_path / "out")) == record["counts"]["params"]
    assert record["counts"]["params"] < count_parameters(load_model(source))


def test_tokenizer_moves_along(tmp_path: Path, models: dict[str, Path]) -> None:
    source = shutil.copytree(models["llama"], tmp_path / "model")
    (source / "tokenizer.json").write_text('{"any": "content"}')
    prune_stage(job(source, "magnitude"), 30, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_text() == '{"any": "content"}'


def test_checkpoint_of_half_precision_stays_so(models: dict[str, Path], tmp_path: Path) -> None:
    method = find_method("flap")
    runtime = Runtime(dtype="bfloat16", threads=1)
    work = Job(str(models["llama"]), method, None, method.parse({}), 0, CALIBRATION, runtime)
    prune_stage(work, 40, tmp_path / "out")
    assert read_json(tmp_path / "out" / "config.json")["dtype"] == "bfloat16"
    assert load_model(tmp_path / "out", dtype="bfloat16").dtype == torch.bfloat16


def test_present_folder_is_recorded_by_its_name(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models["llama"]
    monkeypatch.chdir(folder)
    present = folder.relative_to(folder)
    assert str(present) == "."
    prune_stage(job(present, "magnitude"), 20, tmp_path / "out")
    record = read_json(tmp_path / "out" / "pruning.json")
    assert record["model_revision"] == folder.name
