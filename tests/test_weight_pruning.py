"""Pruning single weights of whole models, of every family: what goes, and what must stay."""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import logits, tiny_model, tiny_tokens
from transformers import AutoConfig, AutoModelForCausalLM

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.anatomy import (
    all_linears,
    anatomy_of,
    blocks_of,
    expected_weight_shapes,
    linears_of,
    weight_shapes,
)
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.decisions import Masked, count_nonzeros
from adaptprune.pruning.masks import Mask, masks_hash, read_masks, write_masks
from adaptprune.pruning.method import Context
from adaptprune.pruning.patterns import Pattern
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.statistics import Hessian

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKENS = tiny_tokens(3, 12, seed=4)
NAMES = ("weight-magnitude", "wanda", "sparsegpt")
LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3")
FAMILIES = (*LLAMA_LIKE, "opt", "gpt2")
#: What the stock configs of the other families call the same things.
OTHERS: dict[str, dict[str, Any]] = {
    "opt": {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 24, "num_attention_heads": 4}
    | {"num_hidden_layers": 2, "init_std": 0.2, "max_position_embeddings": 64},
    "gpt2": {"n_embd": 16, "n_inner": 24, "n_head": 4, "n_layer": 2, "n_positions": 64}
    | {"initializer_range": 0.2},
}


def model_of(family: str, seed: int = 0, **shape: Any) -> Any:
    """Return a tiny random model whose rows are whole groups of 8."""
    if family in LLAMA_LIKE:
        return tiny_model(family, seed=seed, intermediate=24, **shape)
    config = AutoConfig.for_model(family, vocab_size=40, **OTHERS[family], **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def decide(name: str, model: Any, sparsity: int = 50, **parameters: Any) -> tuple[Masked, Any]:
    """Prune a model in place by a method; return the decision and the log."""
    method = find_method(name)
    parsed = method.parse(parameters)
    method.check(sparsity, parsed)
    return method.decide(model, sparsity, Context(TOKENS, 0), parsed)


PATTERNS = [("unstructured", 30), ("2:4", 50), ("4:8", 50), ("1:4", 75)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("pattern", "sparsity"), PATTERNS)
def test_linear_layers_lose_their_share_and_nothing_else_changes(
    family: str, name: str, pattern: str, sparsity: int
) -> None:
    dense = model_of(family)
    model = copy.deepcopy(dense)
    decision, _ = decide(name, model, sparsity, pattern=pattern)
    decision.check(weight_shapes(dense))
    for weight, (outputs, inputs) in weight_shapes(dense).items():
        count = outputs * int(inputs * sparsity / 100)
        if pattern == "unstructured" and name != "wanda":
            count = int(outputs * inputs * sparsity / 100) + 1  # one too many is official
        assert outputs * inputs - decision.masks[weight].kept == count
    pruned = {linear.name: linear.matrix for linear in all_linears(model)}
    for linear in all_linears(dense):
        kept = decision.masks[linear.name].unpack()
        after = pruned.pop(linear.name)
        assert (after[~kept] == 0).all()
        if name != "sparsegpt":
            assert torch.equal(after[kept], linear.matrix[kept])
        if pattern != "unstructured":
            chosen = Pattern.parse(pattern)
            # Along the inputs, also where the weight lies the other way round.
            groups = kept.reshape(kept.shape[0], -1, chosen.group)
            assert (groups.sum(2) == chosen.kept).all()
    assert not pruned
    before = dense.state_dict()
    for key, weight in model.state_dict().items():
        if key not in decision.masks:
            assert torch.equal(weight, before[key]), key
    assert torch.isfinite(logits(model, TOKENS)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_anatomy_names_every_linear_layer_of_the_blocks(family: str) -> None:
    model = model_of(family)
    kinds = ("Linear", "Conv1D")
    inside = {
        f"{anatomy_of(family).blocks}.{name}.weight"
        for name, module in blocks_of(model).named_modules()
        if type(module).__name__ in kinds
    }
    assert inside == set(weight_shapes(model))
    assert inside <= set(model.state_dict())


def input_of(module: Any, run: Callable[[], object]) -> torch.Tensor:
    """Return what a module is given in the course of a run [sequences, length, inputs]."""
    given: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    run()
    handle.remove()
    return torch.stack([part.reshape(len(TOKENS), -1, part.shape[-1]) for part in given])[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_layers_of_a_group_read_one_input_in_order(family: str) -> None:
    model = model_of(family)
    order: list[str] = []
    for linear in all_linears(model):
        linear.module.register_forward_pre_hook(
            lambda _, inputs, name=linear.name: order.append(name)
        )
    logits(model, TOKENS)
    position = {name: place for place, name in enumerate(order)}
    for index in range(2):
        groups = linears_of(model, index)
        places = [[position[linear.name] for linear in group] for group in groups]
        for before, after in itertools.pairwise(places):
            assert max(before) < min(after)
        for group in groups:
            first, *others = (
                input_of(linear.module, lambda: logits(model, TOKENS)) for linear in group
            )
            assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("family", LLAMA_LIKE)
def test_shapes_are_known_without_weights(family: str) -> None:
    model = model_of(family, heads=4, kv_heads=2, head_dim=8, hidden=24)
    assert expected_weight_shapes(shape_of_model(model)) == weight_shapes(model)


def norms_of(model: Any, linear: Any) -> float:
    """Return the sum of the squared norms of a layer's inputs, mean over the sequences."""
    inputs = input_of(linear.module, lambda: logits(model, TOKENS))
    return (inputs.double().pow(2).sum() / len(TOKENS)).item()


def sliding(family: str) -> dict[str, Any]:
    """Return settings under which layers differ in how far they look back."""
    if family == "mistral":
        return {"sliding_window": 4}
    if family in ("qwen2", "qwen3"):
        return {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    return {}


@pytest.mark.parametrize("family", FAMILIES)
def test_statistics_are_those_of_the_dense_layer_behind_pruned_ones(family: str) -> None:
    dense = model_of(family, **sliding(family))
    model = copy.deepcopy(dense)
    _, log = decide("wanda", model, pattern="2:4")
    lines = {line["weight"]: line["input_norms"] for line in log}
    for index in range(2):
        half = copy.deepcopy(dense)
        half.load_state_dict(
            {
                key: value
                for key, value in model.state_dict().items()
                if any(key.startswith(f"{anatomy_of(family).blocks}.{i}.") for i in range(index))
            },
            strict=False,
        )
        for group in linears_of(half, index):
            for linear in group:
                assert lines[linear.name] == pytest.approx(norms_of(half, linear), rel=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_sequential_statistics_are_those_behind_everything_that_is_pruned(family: str) -> None:
    dense = model_of(family)
    model = copy.deepcopy(dense)
    _, log = decide("wanda", model, pattern="2:4", sequential="corrected")
    lines = {line["weight"]: line["input_norms"] for line in log}
    done = dense.state_dict()
    for index in range(2):
        for group in linears_of(model, index):
            half = copy.deepcopy(dense)
            half.load_state_dict(done)
            twins = {linear.name: linear for linear in all_linears(half)}
            for linear in group:
                norms = norms_of(half, twins[linear.name])
                assert lines[linear.name] == pytest.approx(norms, rel=1e-5)
                done[linear.name] = linear.module.weight.detach()


@pytest.mark.parametrize("name", ["wanda", "sparsegpt"])
def test_official_and_corrected_statistics_differ(name: str) -> None:
    outcomes = []
    for sequential in ("official", "corrected"):
        model = model_of("llama")
        decision, _ = decide(name, model, pattern="2:4", sequential=sequential)
        outcomes.append(masks_hash(decision.masks))
    assert outcomes[0] != outcomes[1]


@pytest.mark.parametrize("name", NAMES)
def test_hooks_are_gone_after_an_error(name: str) -> None:
    model = model_of("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NumericalError, match=r"model\.layers\.1\.mlp\.up_proj\.weight: "):
        decide(name, model)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_family_without_anatomy_is_refused() -> None:
    config = AutoConfig.for_model("bloom", hidden_size=8, n_head=2, n_layer=1, vocab_size=40)
    with pytest.raises(UserError, match=r"for pruning single weights 'bloom'.*allowed: gpt2, llam"):
        decide("wanda", AutoModelForCausalLM.from_config(config))


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_row_that_is_no_whole_group_is_refused_before_any_pass(family: str) -> None:
    model = model_of(family)
    model.forward = model.base_model.forward = None
    with pytest.raises(UserError, match=r"5:10 does not divide the rows of .*, which have 16 inp"):
        decide("wanda", model, pattern="5:10")


@settings(max_examples=15)
@given(
    family=st.sampled_from(FAMILIES),
    name=st.sampled_from(NAMES),
    pattern=st.sampled_from(PATTERNS),
    quirks=st.sampled_from(["official", "corrected"]),
    seed=st.integers(0, 1000),
)
def test_decision_makes_the_same_model_of_the_dense_one(
    family: str, name: str, pattern: tuple[str, int], quirks: str, seed: int
) -> None:
    dense = model_of(family, seed)
    model, parameters = copy.deepcopy(dense), {"pattern": pattern[0], "ties": quirks}
    decision, _ = decide(name, model, pattern[1], **parameters)
    for _ in range(2):
        decision.apply(dense)
        after = model.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in dense.state_dict().items())


def test_decision_describes_itself() -> None:
    dense = model_of("llama")
    shapes, model = weight_shapes(dense), copy.deepcopy(dense)
    decision, _ = decide("wanda", model, pattern="2:4")
    total = sum(outputs * inputs for outputs, inputs in shapes.values())
    assert decision.describe() == {
        "pattern": "2:4",
        "weights": total,
        "kept": total // 2,
        "updated": False,
        "masks_sha256": masks_hash(decision.masks),
    }
    assert decision.reached(shapes) == 0.5
    assert count_nonzeros(model) == count_nonzeros(dense) - total // 2
    assert decide("sparsegpt", copy.deepcopy(dense))[0].describe()["updated"]


def test_decision_that_does_not_fit_is_refused() -> None:
    shapes = {"a": (2, 4), "b": (1, 4)}
    two_of_four = torch.tensor([[1, 1, 0, 0]], dtype=torch.bool)
    masks = {"a": Mask.pack(two_of_four.repeat(2, 1)), "b": Mask.pack(two_of_four)}
    Masked(Pattern(2, 4), masks, {"b": torch.ones(1, 4)}).check(shapes)
    for decision, told in (
        (Masked(Pattern(2, 4), {"a": masks["a"]}), "b has no mask"),
        (Masked(Pattern(2, 4), masks | {"c": masks["b"]}), "c is no weight of a linear layer"),
        (Masked(Pattern(2, 4), masks | {"a": masks["b"]}), r"a has shape \(1, 4\), the model \(2"),
        (Masked(Pattern(1, 4), masks), "a does not follow the pattern 1:4"),
        (Masked(Pattern(2, 4), masks, {"b": torch.ones(4, 1)}), r"b has shape \(4, 1\)"),
        (Masked(Pattern(2, 4), masks, {"c": torch.ones(4, 1)}), r"updated weight c"),
    ):
        with pytest.raises(UserError, match=told):
            decision.check(shapes)
    with pytest.raises(NumericalError, match="updated weight b is not finite"):
        Masked(Pattern(2, 4), masks, {"b": torch.full((1, 4), float("nan"))}).check(shapes)


@given(rows=st.integers(1, 9), columns=st.integers(1, 17), seed=st.integers(0, 1000))
def test_mask_takes_one_bit_per_weight(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(rows, columns, generator=generator) > 0.5
    mask = Mask.pack(kept)
    assert torch.equal(mask.unpack(), kept)
    assert mask.bits.nbytes == -(-rows * columns // 8)
    assert (mask.weights, mask.kept) == (rows * columns, int(kept.sum()))
    # The first weight in the highest bit, row by row.
    text = "".join(str(int(bit)) for bit in kept.flatten()).ljust(8 * mask.bits.nbytes, "0")
    assert mask.bits.tobytes() == int(text, 2).to_bytes(mask.bits.nbytes, "big")


def test_masks_are_read_as_they_were_written(tmp_path: Path) -> None:
    decision, _ = decide("wanda", model_of("gpt2"), pattern="2:4")
    path = tmp_path / "masks.safetensors"
    write_masks(path, decision.masks, decision.pattern)
    masks, pattern = read_masks(path)
    assert pattern == decision.pattern
    assert list(masks) == list(decision.masks)
    assert masks_hash(masks) == masks_hash(decision.masks)
    weights = sum(mask.weights for mask in masks.values())
    assert path.stat().st_size < weights / 8 + 4000


def test_file_of_masks_that_was_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    with pytest.raises(UserError, match=r"masks\.safetensors: no such file"):
        read_masks(path)
    write_masks(path, {"a": Mask.pack(torch.eye(8, dtype=torch.bool))}, Pattern())
    content = path.read_bytes()
    for broken, told in (
        (content[:-1] + b"\x03", "altered since it was written"),
        (content[:-1], "no file of masks"),
        (content.replace(b"unstructured", b"unstructurec"), "altered since it was written"),
        (content.replace(b"adaptprune", b"adaptprune_"[:10].upper()), "no file of masks"),
        (b"", "no file of masks"),
    ):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=told) as error:
            read_masks(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_pruned_in_float32(name: str, dtype: torch.dtype) -> None:
    model = model_of("llama").to(dtype)
    decision, _ = decide(name, model, pattern="2:4")
    decision.check(weight_shapes(model))
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert torch.isfinite(logits(model, TOKENS)).all()


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
    assert (status, err) == (0, "")
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


@pytest.mark.parametrize("threads", [1, 2])
def test_factor_does_not_depend_on_the_threads(threads: int) -> None:
    inputs = torch.randn(1, 900, 400, generator=torch.Generator().manual_seed(0))
    factors, before = [], torch.get_num_threads()
    for count in (1, threads):
        torch.set_num_threads(count)
        hessian = Hessian(400, inputs.device)
        hessian.add(inputs[0])
        factors.append(hessian.inverse_factor(0.01, torch.float32))
        assert torch.get_num_threads() == count
    torch.set_num_threads(before)
    assert torch.equal(*factors)
