"""Parameter arithmetic against real models and against published counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import FAMILIES, SHAPES, count_parameters, tiny_config, tiny_model, tiny_tokens

from adaptprune.errors import UserError
from adaptprune.models.catalogue import shape_of
from adaptprune.models.shapes import (
    BlockShape,
    ModelShape,
    kept_count,
    layer_range,
    layer_target,
    uniform_blocks,
)
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.method import Context
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.surgery import add_biases, cut_layers

if TYPE_CHECKING:
    from collections.abc import Callable

LLAMA_8B = "meta-llama/Llama-3.1-8B"
LLAMA_3B = "meta-llama/Llama-3.2-3B"
LLAMA_1B = "meta-llama/Llama-3.2-1B"

#: Billions of parameters that the Adapt-Pruner paper prints in its Table 7.
PUBLISHED = [
    ("llm-pruner", LLAMA_8B, 20, "6.73"),
    ("llm-pruner", LLAMA_8B, 40, "5.27"),
    ("llm-pruner", LLAMA_8B, 60, "3.98"),
    ("llm-pruner", LLAMA_3B, 20, "2.70"),
    ("llm-pruner", LLAMA_3B, 40, "2.10"),
    ("llm-pruner", LLAMA_3B, 60, "1.59"),
    ("llm-pruner", LLAMA_1B, 20, "1.05"),
    ("llm-pruner", LLAMA_1B, 40, "0.85"),
    ("llm-pruner", LLAMA_1B, 60, "0.67"),
    ("slicegpt", LLAMA_8B, 20, "7.22"),
    ("slicegpt", LLAMA_8B, 40, "5.44"),
    ("slicegpt", LLAMA_8B, 60, "3.73"),
    ("slicegpt", LLAMA_3B, 20, "3.31"),
    ("slicegpt", LLAMA_3B, 40, "2.52"),
    ("slicegpt", LLAMA_3B, 60, "1.78"),
    ("slicegpt", LLAMA_1B, 20, "1.34"),
    ("slicegpt", LLAMA_1B, 40, "1.06"),
    ("slicegpt", LLAMA_1B, 60, "0.79"),
]


#: Parameters of the paper's models, tied embeddings counted once.
DENSE = {
    LLAMA_8B: 8_030_261_248,
    LLAMA_3B: 3_212_749_824,
    LLAMA_1B: 1_235_814_400,
    "facebook/MobileLLM-125M": 124_635_456,
    "facebook/MobileLLM-350M": 345_355_200,
    "facebook/MobileLLM-600M": 603_188_352,
    "facebook/MobileLLM-1B": 1_005_461_760,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
}


@pytest.mark.parametrize("method", ["adapt-pruner", "llm-pruner", "flap", "slicegpt"])
@pytest.mark.parametrize("model", DENSE)
def test_command_params_knows_every_model_of_the_paper(
    command: Callable[..., tuple[int, str, str]], model: str, method: str
) -> None:
    status, out, _ = command("params", "--model", model, "--method", method, "--sparsity", 40)
    content = json.loads(out)
    assert status == 0
    assert content["params_dense"] == DENSE[model]
    exact = method in ("llm-pruner", "slicegpt")
    assert (content["params_total"] is not None) == exact
    assert (content["params_min"] == content["params_max"]) == exact
    assert 0 < content["params_min"] <= content["params_max"]


@pytest.mark.parametrize(("method", "model", "sparsity", "billions"), PUBLISHED)
def test_published_counts_follow_from_the_architecture(
    method: str, model: str, sparsity: int, billions: str
) -> None:
    chosen = find_method(method)
    budget = chosen.budget(shape_of(model), sparsity, chosen.parse({}))
    assert budget.minimum == budget.maximum
    assert f"{budget.minimum / 1e9:.2f}" == billions


def test_uniform_adapt_pruner_has_the_count_of_table_8() -> None:
    method = find_method("adapt-pruner")
    parameters = method.parse({"amplitude": 0, "steps": 50})
    budget = method.budget(shape_of(LLAMA_8B), 50, parameters)
    assert budget.minimum == budget.maximum
    assert f"{budget.minimum / 1e9:.2f}" == "4.54"


@pytest.mark.parametrize(
    ("method", "model", "sparsity", "settings", "billions"),
    [
        *((method, model, sparsity, (), count) for method, model, sparsity, count in PUBLISHED),
        ("adapt-pruner", LLAMA_8B, 50, ("--set", "amplitude=0", "--set", "steps=50"), "4.54"),
    ],
)
def test_command_params_prints_the_published_counts(
    command: Callable[..., tuple[int, str, str]],
    method: str,
    model: str,
    sparsity: int,
    settings: tuple[str, ...],
    billions: str,
) -> None:
    status, out, _ = command(
        "params", "--model", model, "--method", method, "--sparsity", sparsity, *settings
    )
    assert status == 0
    assert f"{json.loads(out)['params_total'] / 1e9:.2f}" == billions


def test_command_params_bounds_what_depends_on_weights(
    command: Callable[..., tuple[int, str, str]],
) -> None:
    status, out, _ = command("params", "--model", LLAMA_8B, "--method", "flap", "--sparsity", "20")
    content = json.loads(out)
    assert status == 0
    assert content["params_total"] is None
    assert content["params_min"] < content["params_max"] < content["params_dense"]


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("llama", {"attention_bias": True}),
    ("llama", {"mlp_bias": True}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("qwen3", {"attention_bias": True}),
]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("family", "settings"), VARIANTS)
def test_arithmetic_counts_the_tensors_of_real_models(
    family: str, settings: dict[str, Any], shape: str, tied: bool
) -> None:
    model = tiny_model(family, tied=tied, **SHAPES[shape], **settings)
    counted = ModelShape.from_config(model.config.to_dict())
    assert counted.parameters == count_parameters(model)
    decoder = sum(parameter.numel() for parameter in model.model.layers.parameters())
    assert counted.decoder_parameters == decoder


@given(
    family=st.sampled_from(FAMILIES),
    kv_heads=st.integers(1, 4),
    ratio=st.integers(1, 4),
    half_head_dim=st.integers(1, 4),
    intermediate=st.integers(1, 30),
    layers=st.integers(1, 3),
    tied=st.booleans(),
)
def test_arithmetic_holds_for_any_shape(
    family: str,
    kv_heads: int,
    ratio: int,
    half_head_dim: int,
    intermediate: int,
    layers: int,
    tied: bool,
) -> None:
    model = tiny_model(
        family,
        heads=kv_heads * ratio,
        kv_heads=kv_heads,
        head_dim=2 * half_head_dim,
        hidden=3 * kv_heads * ratio,
        intermediate=intermediate,
        layers=layers,
        tied=tied,
    )
    assert shape_of_model(model).parameters == count_parameters(model)


def test_head_dim_defaults_to_an_even_share_of_the_hidden_size() -> None:
    config = tiny_config(heads=4, head_dim=4, hidden=32).to_dict()
    del config["head_dim"]
    assert ModelShape.from_config(config).head_dim == 8


def test_absent_kv_heads_mean_multi_head_attention() -> None:
    config = tiny_config(heads=4, kv_heads=4).to_dict()
    del config["num_key_value_heads"]
    assert ModelShape.from_config(config).queries_per_kv_head == 1


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "vocab_size"])
def test_missing_key_is_named(key: str) -> None:
    config = tiny_config().to_dict()
    del config[key]
    with pytest.raises(UserError, match=key):
        ModelShape.from_config(config)


def test_unsupported_architecture_names_the_supported_ones() -> None:
    with pytest.raises(UserError, match=r"gpt2.*llama, mistral, qwen2, qwen3"):
        ModelShape.from_config(tiny_config().to_dict() | {"model_type": "gpt2"})


def test_sliced_model_cannot_be_pruned_again() -> None:
    config = tiny_config().to_dict() | {"model_type": "adaptprune_sliced_llama"}
    with pytest.raises(UserError, match="sliced"):
        ModelShape.from_config(config)


def test_query_heads_must_share_kv_heads_evenly() -> None:
    config = tiny_config(heads=4, kv_heads=2).to_dict() | {"num_key_value_heads": 3}
    with pytest.raises(UserError, match="4 query heads cannot share 3 kv heads"):
        ModelShape.from_config(config)


def test_blocks_of_a_config_override_the_dense_sizes() -> None:
    config = tiny_config(kv_heads=2, intermediate=12, layers=2).to_dict()
    config |= {"model_type": "adaptprune_llama", "blocks": [{"num_key_value_heads": 1}, {}]}
    assert ModelShape.from_config(config).blocks == (BlockShape(1, 12), BlockShape(2, 12))


@pytest.mark.parametrize(
    ("initial", "sparsity", "kept"), [(10, 0.25, 7), (1536, 0.25, 1152), (14336, 0.2, 11468)]
)
def test_kept_count_truncates(initial: int, sparsity: float, kept: int) -> None:
    assert kept_count(initial, sparsity) == kept


@pytest.mark.parametrize(
    ("sparsity", "kv_heads"), [(0.2, 3), (0.328, 3), (0.33, 2), (0.66, 2), (0.67, 1), (0.99, 1)]
)
def test_attention_loses_whole_kv_heads_only(sparsity: float, kv_heads: int) -> None:
    shape = shape_of("smollm2-135m")
    dense = shape.blocks[0]
    assert layer_target(shape, dense, dense, sparsity).kv_heads == kv_heads


def test_units_that_are_gone_do_not_come_back() -> None:
    shape = shape_of("smollm2-135m")
    current = BlockShape(1, 100)
    assert layer_target(shape, shape.blocks[0], current, 0.1) == current


@given(sparsity=st.floats(0, 0.999), name=st.sampled_from(sorted(SHAPES)))
def test_one_kv_head_and_one_neuron_stay_at_any_sparsity(sparsity: float, name: str) -> None:
    shape = ModelShape.from_config(tiny_config(**SHAPES[name]).to_dict())
    for block in uniform_blocks(shape, sparsity, range(len(shape.blocks))):
        assert block.kv_heads >= 1
        assert block.intermediate_size >= 1


def test_uniform_blocks_spare_the_other_layers() -> None:
    shape = shape_of("smollm2-135m")
    blocks = uniform_blocks(shape, 0.5, range(4, 26))
    whole = [index for index, block in enumerate(blocks) if block == shape.blocks[index]]
    assert whole == [0, 1, 2, 3, 26, 27, 28, 29]


@pytest.mark.parametrize(("start", "end"), [(0, 31), (5, 5), (7, 3), (-1, 2), (30, None)])
def test_layers_outside_the_model_are_refused(start: int, end: int | None) -> None:
    with pytest.raises(UserError, match=r"layers 0\.\.29"):
        layer_range(shape_of("smollm2-135m"), start, end)


def pruned_count(model: Any, method: str, sparsity: int, settings: dict[str, Any]) -> int:
    """Prune a model in place and count what is left, one tensor at a time."""
    chosen = find_method(method)
    tokens = tiny_tokens(4, 6, model.config.vocab_size)
    pruned = chosen.prune(model, None, sparsity, Context(tokens, 0), chosen.parse(settings))
    if not pruned.already_cut:
        cut_layers(model, pruned.kept)
    add_biases(model, pruned.biases)
    return count_parameters(model)


@given(
    family=st.sampled_from(FAMILIES),
    shape=st.sampled_from(sorted(SHAPES)),
    layers=st.integers(1, 4),
    sparsity=st.integers(1, 99),
    compensated=st.booleans(),
    rounding=st.sampled_from(["official", "corrected"]),
    seed=st.integers(0, 1000),
)
def test_flap_ends_within_its_bounds(
    family: str,
    shape: str,
    layers: int,
    sparsity: int,
    compensated: bool,
    rounding: str,
    seed: int,
) -> None:
    model = tiny_model(family, layers=layers, seed=seed, **SHAPES[shape])
    settings = {"bias_compensation": compensated, "head_cost": rounding}
    method = find_method("flap")
    budget = method.budget(shape_of_model(model), sparsity, method.parse(settings))
    assert budget.minimum <= pruned_count(model, "flap", sparsity, settings) <= budget.maximum


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    layers=st.integers(1, 4),
    sparsity=st.integers(1, 99),
    steps=st.integers(1, 5),
    amplitude=st.floats(0, 0.4),
    distance=st.sampled_from(["cosine", "euclidean"]),
    rule=st.sampled_from(["accumulate", "printed"]),
    seed=st.integers(0, 1000),
)
def test_adapt_pruner_ends_within_its_bounds(
    shape: str,
    layers: int,
    sparsity: int,
    steps: int,
    amplitude: float,
    distance: str,
    rule: str,
    seed: int,
) -> None:
    model = tiny_model(layers=layers, seed=seed, **SHAPES[shape])
    settings = {
        "steps": steps,
        "amplitude": amplitude,
        "layer_distance": distance,
        "sparsity_rule": rule,
    }
    method = find_method("adapt-pruner")
    budget = method.budget(shape_of_model(model), sparsity, method.parse(settings))
    count = pruned_count(model, "adapt-pruner", sparsity, settings)
    assert budget.minimum <= count <= budget.maximum
