"""Every count of a record against the elements of the files, all methods, families and heads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoint_examples import RUNS, job
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, logits, save_tiny_model, tiny_model, tiny_tokens
from transformers import AutoModelForCausalLM

from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json, write_json, write_sealed_json
from adaptprune.files.manifest import write_manifest
from adaptprune.models.catalogue import shape_of
from adaptprune.models.checkpoint import count_compute_parameters, load_model, save_model
from adaptprune.models.runtime import Runtime
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.method import Budget, Method, Pruned
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.stage import Job, prune_stage
from adaptprune.pruning.units import KeptUnits

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = tiny_tokens(3, 9)


def elements(folder: Path, part: str = "") -> int:
    """Count the numbers in a folder's weight files."""
    tensors: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return sum(math.prod(t.shape) for name, t in tensors.items() if part in name)


def add_own_head(folder: Path) -> Path:
    """Give a folder whose config says tied a head of its own, as trainers leave it."""
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(7)
    weights["lm_head.weight"] = torch.randn(
        weights["model.embed_tokens.weight"].shape, generator=generator
    )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert read_json(folder / "config.json")["tie_word_embeddings"]
    return folder


def check_counts(dense: Path, pruned: Path) -> None:
    counts = read_json(pruned / "pruning.json")["counts"]
    assert counts["params_dense"] == elements(dense)
    assert counts["decoder_params_dense"] == elements(dense, "model.layers.")
    assert counts["params"] == elements(pruned)
    assert counts["decoder_params"] == elements(pruned, "model.layers.")
    loaded = AutoModelForCausalLM.from_pretrained(pruned)
    assert sum(parameter.numel() for parameter in loaded.parameters()) == counts["params"]


@pytest.mark.parametrize("head", ["tied", "untied", "own head under a tied config"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_count_is_that_of_the_files(family: str, head: str, tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", family, tied=head != "untied")
    if head.startswith("own"):
        add_own_head(dense)
    assert shape_of(str(dense)).parameters == elements(dense)
    model = load_model(dense)
    assert shape_of_model(model) == shape_of(str(dense))
    looked_up = 0 if head == "tied" else model.model.embed_tokens.weight.numel()
    assert count_compute_parameters(model) == elements(dense) - looked_up
    for method, (sparsity, _) in RUNS.items():
        prune_stage(job(dense, method), sparsity, tmp_path / "pruned" / method)
        check_counts(dense, tmp_path / "pruned" / method)
        chosen = find_method(method)
        budget = chosen.budget(shape_of(str(dense)), sparsity, job(dense, method).parameters)
        assert budget.minimum <= elements(tmp_path / "pruned" / method) <= budget.maximum


@pytest.mark.parametrize("biases", [{"attention_bias": True}, {"mlp_bias": True}])
def test_counts_with_biases_of_the_family(biases: dict[str, bool], tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", **biases)
    for method, (sparsity, _) in RUNS.items():
        prune_stage(job(dense, method), sparsity, tmp_path / "pruned" / method)
        check_counts(dense, tmp_path / "pruned" / method)


def test_a_head_of_its_own_under_a_tied_config_survives(tmp_path: Path) -> None:
    dense = add_own_head(save_tiny_model(tmp_path / "dense", tied=True))
    plain = AutoModelForCausalLM.from_pretrained(dense)
    prune_stage(job(dense, "dense"), 0, tmp_path / "out")
    assert not read_json(tmp_path / "out" / "config.json")["tie_word_embeddings"]
    assert torch.equal(logits(load_model(tmp_path / "out"), TOKENS), logits(plain, TOKENS))


def test_a_head_that_equals_the_embeddings_is_no_head_of_its_own(tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", tied=True)
    weights = load_file(dense / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, dense / "model.safetensors", metadata={"format": "pt"})
    assert shape_of(str(dense)).tied
    assert shape_of_model(load_model(dense)).tied


@pytest.mark.parametrize("second", sorted(RUNS))
@pytest.mark.parametrize("first", ["flap", "adapt-pruner", "magnitude"])
def test_pruned_twice_is_counted_right_or_refused(first: str, second: str, tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", "qwen2", tied=True)
    once, twice = tmp_path / "once", tmp_path / "twice"
    prune_stage(job(dense, first), 40, once)
    sparsity = RUNS[second][0]
    if second == "slicegpt" and first != "magnitude":
        with pytest.raises(UserError, match=r"the layers of this model .*only a uniform model is"):
            prune_stage(job(once, second), sparsity, twice)
        return
    prune_stage(job(once, second), sparsity, twice)
    check_counts(once, twice)
    assert read_json(twice / "pruning.json")["pruned_before"] == first
    budget = find_method(second).budget(shape_of(str(once)), sparsity, job(once, second).parameters)
    assert budget.minimum <= elements(twice) <= budget.maximum


@pytest.mark.parametrize("second", sorted(RUNS))
def test_a_sliced_model_is_not_pruned(second: str, tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense")
    prune_stage(job(dense, "slicegpt"), 40, tmp_path / "sliced")
    with pytest.raises(UserError, match="a model sliced by slicegpt cannot be pruned"):
        prune_stage(job(tmp_path / "sliced", second), RUNS[second][0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stock_outcome_names_no_code_of_an_earlier_folder(tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense")
    config = read_json(dense / "config.json")
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_other.Other"}
    write_json(dense / "config.json", config)
    prune_stage(job(dense, "magnitude"), 40, tmp_path / "out")
    assert "auto_map" not in read_json(tmp_path / "out" / "config.json")


class SomeBiases(Method):
    """Keep everything and give one layer biases."""

    name, title, version, citation = "some-biases", "Some", 1, "-"
    needs_calibration = False

    def prune(self, model: Any, *arguments: Any) -> Pruned:
        shape = shape_of_model(model)
        biases = {1: (torch.ones(shape.hidden_size), torch.ones(shape.hidden_size))}
        return Pruned(KeptUnits.everything(shape), biases=biases)

    def budget(self, shape: Any, sparsity: int, parameters: Any) -> Budget:
        return Budget(0, 10**9)


class HalfDepth(SomeBiases):
    """Return a finished model of half of the layers."""

    def prune(self, model: Any, *arguments: Any) -> Pruned:
        count = len(model.model.layers) // 2
        model.model.layers = model.model.layers[:count]
        model.config.num_hidden_layers = count
        return Pruned(model=model)


def run(method: Method, dense: Path, output: Path) -> dict[str, Any]:
    """Prune without a registry; return the record's counts."""
    work = Job(str(dense), method, None, method.parse({}), 0, None, Runtime(threads=1))
    prune_stage(work, 50, output)
    return read_json(output / "pruning.json")["counts"]


def test_biases_of_single_layers_are_saved_counted_and_loaded(tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense")
    counts = run(SomeBiases(), dense, tmp_path / "out")
    check_counts(dense, tmp_path / "out")
    assert counts["params"] == counts["params_dense"] + 2 * 16
    assert shape_of(str(tmp_path / "out")).parameters == counts["params"]
    layers = load_model(tmp_path / "out").model.layers
    assert layers[0].mlp.down_proj.bias is None
    assert torch.equal(layers[1].mlp.down_proj.bias.detach(), torch.ones(16))


def test_layers_that_are_gone_took_their_channels_along(tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", layers=4)
    counts = run(HalfDepth(), dense, tmp_path / "out")
    check_counts(dense, tmp_path / "out")
    assert counts["sparsity_reached"] == 0.5


def test_an_outcome_that_does_not_load_is_no_outcome(tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", "qwen2", layers=4)  # its config lists layer types
    with pytest.raises(UserError, match="the pruned model: its checkpoint does not load"):
        run(HalfDepth(), dense, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shape_of_a_model_follows_its_weights() -> None:
    model = tiny_model(tied=True)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    assert not shape_of_model(model).tied
    assert shape_of_model(model).parameters == sum(p.numel() for p in model.parameters())


def test_a_recovered_model_that_is_pruned_says_where_it_comes_from(tmp_path: Path) -> None:
    dense = save_tiny_model(tmp_path / "dense", tied=True)
    prune_stage(job(dense, "flap"), 40, tmp_path / "once")
    (tmp_path / "once" / "pruning.json").unlink()
    record = {"status": "ok", "conditions": {"preset": {"name": "train"}}}
    write_sealed_json(tmp_path / "once" / "recovery.json", record)
    write_manifest(tmp_path / "once")
    prune_stage(job(tmp_path / "once", "flap"), 30, tmp_path / "twice")
    check_counts(tmp_path / "once", tmp_path / "twice")
    assert read_json(tmp_path / "twice" / "pruning.json")["pruned_before"] == "train"


def test_a_gathered_state_keeps_a_head_of_its_own(tmp_path: Path) -> None:
    dense = add_own_head(save_tiny_model(tmp_path / "dense", tied=True))
    model = load_model(dense)
    (tmp_path / "out").mkdir()
    save_model(tmp_path / "out", model, model.config, dense, dict(model.state_dict()))
    assert elements(tmp_path / "out") == elements(dense)
    assert torch.equal(logits(load_model(tmp_path / "out"), TOKENS), logits(model, TOKENS))
