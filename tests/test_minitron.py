"""Minitron: importances and cuts by hand, distillation, and the whole recovery."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_examples import log_without_times, model_folder, recovery, weights
from tiny_models import FAMILIES, logits, save_tiny_model, tiny_model, tiny_tokens

from adaptprune.data.packing import Batch
from adaptprune.errors import NumericalError, UserError
from adaptprune.models.catalogue import shape_of
from adaptprune.models.checkpoint import count_parameters, load_model
from adaptprune.models.shapes import BlockShape, ModelShape
from adaptprune.models.sizes import shape_of_model
from adaptprune.recovery.cutting import cut_to_shape, uniform_config
from adaptprune.recovery.distillation import forward_kl
from adaptprune.recovery.stage import recover_stage
from adaptprune.recovery.targets import check_cut, shaped_like
from baselines.activations import Importances, aggregate, choose_units, largest, measure
from baselines.minitron import Distillation

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = tiny_tokens(3, 6)


def measured(model: Any, depth: str | None = None, **changes: Any) -> Importances:
    options = {"batch_aggregation": "l2", "sequence_aggregation": "mean", "batch": 2} | changes
    return measure(model, TOKENS, depth=depth, **options)


def smaller(shape: ModelShape, **changes: int) -> ModelShape:
    """Return a uniform shape with some sizes changed."""
    block = shape.blocks[0]
    kv_heads = changes.pop("kv_heads", block.kv_heads)
    neurons = changes.pop("neurons", block.intermediate_size)
    layers = changes.pop("layers", len(shape.blocks))
    return dataclasses.replace(shape, blocks=(BlockShape(kv_heads, neurons),) * layers, **changes)


def test_aggregation_by_hand() -> None:
    values = torch.tensor([[[3.0, -1.0], [-4.0, 1.0]]])  # one sequence, two tokens, two units
    assert aggregate(values, 1, "mean").tolist() == [[3.5, 1.0]]
    torch.testing.assert_close(aggregate(values, 1, "l2"), torch.tensor([[5.0, math.sqrt(2)]]))


def test_largest_keeps_the_first_of_equals() -> None:
    assert largest(torch.tensor([2.0, 5.0, 2.0, 1.0, 5.0]), 3) == (0, 1, 4)


def captured(model: Any) -> dict[str, torch.Tensor]:
    """Return what goes into and out of the modules of the first layer, for all sequences."""
    layer, found = model.model.layers[0], {}
    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _, inputs: found.update(heads=inputs[0])
        ),
        layer.mlp.register_forward_hook(lambda _, inputs, output: found.update(mlp=inputs[0])),
    ]
    hidden = model(input_ids=TOKENS, output_hidden_states=True, use_cache=False).hidden_states
    for handle in handles:
        handle.remove()
    return found | {"input": hidden[0], "output": hidden[1]}


@torch.no_grad()
def test_importances_are_those_of_the_paper() -> None:
    model = tiny_model(layers=2, heads=4, kv_heads=2)
    found, seen, layer = measured(model, "block-influence"), captured(model), model.model.layers[0]
    # Heads: the norm of each head's output, mean over tokens, L2 norm over sequences.
    heads = seen["heads"].view(3, 6, 4, 4).norm(dim=-1).mean(1).norm(dim=0)
    torch.testing.assert_close(found.heads[0], heads)
    # Neurons: SiLU(gate) * up, without the down projection.
    given = seen["mlp"]
    neurons = torch.nn.functional.silu(layer.mlp.gate_proj(given)) * layer.mlp.up_proj(given)
    torch.testing.assert_close(found.neurons[0], neurons.abs().mean(1).norm(dim=0))
    # Hidden channels: outputs of both norms of both layers.
    single = tiny_model(layers=1, heads=4, kv_heads=2)
    seen, layer = captured(single), single.model.layers[0]
    norms = [layer.input_layernorm(seen["input"]), seen["mlp"]]
    hidden = sum(norm.abs().mean(1).norm(dim=0) for norm in norms)
    torch.testing.assert_close(measured(single).hidden, hidden)


@torch.no_grad()
def test_block_influence_by_hand() -> None:
    model = tiny_model(layers=2)
    seen, found = captured(model), measured(model, "block-influence")
    cosine = torch.nn.functional.cosine_similarity(seen["input"], seen["output"], dim=-1)
    assert found.layers is not None
    assert found.layers[0] == pytest.approx(1 - cosine.mean().item(), abs=1e-6)
    assert found.passes == 1


@torch.no_grad()
def test_a_layer_is_worth_the_loss_without_it() -> None:
    model = tiny_model(layers=3)
    found = measured(model, "loss")
    del model.model.layers[1]
    model.config.num_hidden_layers = 2
    without = model(input_ids=TOKENS, labels=TOKENS, use_cache=False).loss.item()
    assert found.layers is not None
    assert found.loss + found.layers[1] == pytest.approx(without, rel=1e-5)
    assert found.passes == 4


def test_measuring_leaves_the_model_as_it_is() -> None:
    model = tiny_model(layers=3)
    before = logits(model, TOKENS)
    one = measured(model, "loss", batch=1)
    assert torch.equal(logits(model, TOKENS), before)
    assert one.loss == pytest.approx(measured(model, None, batch=3).loss, rel=1e-6)


def test_importance_that_is_not_finite_is_told() -> None:
    model = tiny_model()
    model.model.layers[0].mlp.up_proj.weight.data.fill_(torch.inf)
    with pytest.raises(NumericalError, match="importance from activations is not finite"):
        measured(model)


def test_units_are_chosen_by_hand() -> None:
    shape = ModelShape(
        "llama", 4, 10, 2, 2, (BlockShape(2, 3),) * 3, True, False, False, False, False
    )
    found = Importances(
        heads=[torch.tensor([1.0, 4.0, 3.0, 3.0])] * 2 + [torch.tensor([5.0, 2.0, 3.0, 3.0])],
        neurons=[torch.tensor([1.0, 3.0, 2.0])] * 3,
        hidden=torch.tensor([1.0, 9.0, 2.0, 8.0]),
        layers=[0.5, 0.1, 0.7],
        loss=1.0,
        passes=1,
    )
    target = smaller(shape, kv_heads=1, neurons=2, layers=2, hidden_size=2, queries_per_kv_head=1)
    cut = choose_units(found, shape, target)
    assert cut.hidden == (1, 3)
    # A kv head is worth its query heads together: 1 + 4 < 3 + 3, and 5 + 2 > 3 + 3.
    first, second = cut.layers
    assert (first.layer, first.kv_heads, first.query_heads, first.neurons) == (
        0,
        (1,),
        (2,),
        (1, 2),
    )
    assert (second.layer, second.kv_heads, second.query_heads) == (2, (0,), (0,))


@st.composite
def cuts(draw: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """Draw a uniform model and a smaller uniform shape of it."""
    ratio, kv_heads, head_dim = draw(st.sampled_from([1, 2, 3])), draw(st.integers(1, 3)), 4
    heads = ratio * kv_heads
    model = {
        "family": draw(st.sampled_from(FAMILIES)),
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "hidden": heads * draw(st.integers(2, 4)),
        "intermediate": draw(st.integers(2, 9)),
        "layers": draw(st.integers(1, 3)),
        "tied": draw(st.booleans()),
    }
    if model["family"] == "llama":
        biases = draw(st.booleans())
        model |= {"attention_bias": biases, "mlp_bias": biases}
    new_ratio, new_kv = draw(st.integers(1, ratio)), draw(st.integers(1, kv_heads))
    unit = new_ratio * new_kv
    target = {
        "queries_per_kv_head": new_ratio,
        "kv_heads": new_kv,
        "hidden_size": unit * draw(st.integers(1, model["hidden"] // unit)),
        "neurons": draw(st.integers(1, model["intermediate"])),
        "layers": draw(st.integers(1, model["layers"])),
    }
    return model, target


@settings(max_examples=25)
@given(cuts())
def test_cut_model_has_the_shape_and_the_weights(
    case: tuple[dict[str, Any], dict[str, int]],
) -> None:
    options, sizes = case
    model = tiny_model(**options)
    shape = shape_of_model(model)
    target = smaller(shape, **sizes)
    cut = choose_units(measured(model, "block-influence"), shape, target)
    student = cut_to_shape(model, cut, target)
    assert shape_of_model(student) == target
    assert count_parameters(student) == target.parameters
    assert logits(student, TOKENS).isfinite().all()
    last = cut.layers[-1]
    before = model.model.layers[last.layer].mlp.down_proj.weight
    after = student.model.layers[-1].mlp.down_proj.weight
    for row, hidden in enumerate(cut.hidden):
        for column, neuron in enumerate(last.neurons):
            assert after[row, column] == before[hidden, neuron]


def test_cut_of_units_that_do_nothing_changes_no_logit() -> None:
    """Units whose outputs are zero, and hidden channels that stay zero, can all be removed."""
    model = tiny_model(heads=6, kv_heads=3, hidden=12, intermediate=8, rms_norm_eps=0.0)
    with torch.no_grad():
        idle = torch.tensor([0, 5, 7, 9, 10, 11])
        model.model.embed_tokens.weight[:, idle] = 0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[idle] = 0
            layer.self_attn.v_proj.weight[4:8] = 0  # the second kv head
            layer.mlp.down_proj.weight[idle] = 0
            layer.mlp.up_proj.weight[[1, 2]] = 0
    found = measured(model)
    shape = shape_of_model(model)
    target = smaller(shape, kv_heads=2, neurons=6, hidden_size=8)
    student = cut_to_shape(model, choose_units(found, shape, target), target)
    # The norms divide by a mean over 8 channels in place of 12.
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "norm" in name:
                parameter *= math.sqrt(12 / 8)
    torch.testing.assert_close(logits(student, TOKENS), logits(model, TOKENS), rtol=1e-4, atol=1e-4)


def test_a_cut_config_says_from_which_layer_on_windows_slide() -> None:
    """By the list of layers, and by the number that readers from before the list look at."""
    windows = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
    model = tiny_model("qwen2", layers=4, **windows)
    assert model.config.layer_types == ["full_attention"] * 2 + ["sliding_attention"] * 2
    target = smaller(shape_of_model(model), layers=3)
    config = uniform_config(model.config, target, [0, 2, 3])
    assert config.max_window_layers == 1
    assert config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 11)])
def test_the_gradient_of_forward_kl_is_that_of_its_formula(
    shape: tuple[int, ...], temperature: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    learnt, taught = (torch.randn(shape, generator=generator).double() for _ in range(2))
    learnt = learnt.float().requires_grad_()
    found = forward_kl(learnt, taught.float(), temperature)
    weights = torch.rand(found.shape, generator=generator)
    (gradient,) = torch.autograd.grad((found * weights).sum(), learnt)
    exact = learnt.detach().double().requires_grad_()
    log_p, log_q = ((logits / temperature).log_softmax(-1) for logits in (taught, exact))
    formula = (log_p.exp() * (log_p - log_q)).sum(-1) * temperature**2
    (expected,) = torch.autograd.grad((formula * weights).sum(), exact)
    torch.testing.assert_close(found.double(), formula, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-6)


def test_forward_kl_by_hand() -> None:
    taught = torch.tensor([0.5, 0.5]).log()
    learnt = torch.tensor([0.25, 0.75]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert forward_kl(learnt, taught + 3).item() == pytest.approx(expected)  # shifts do not matter
    assert forward_kl(taught, learnt).item() != pytest.approx(expected)


def test_student_that_is_its_teacher_has_nothing_to_learn(tmp_path: Path) -> None:
    teacher = Distillation(save_tiny_model(tmp_path), torch.device("cpu"))
    student = load_model(tmp_path)
    loss = teacher.loss(student, Batch.of(TOKENS))
    loss.backward()
    assert loss.item() == 0
    assert max(p.grad.abs().max() for p in student.parameters()) < 1e-6
    assert all(not p.requires_grad for p in teacher.teacher.model.parameters())


def test_positions_that_do_not_count_teach_nothing(tmp_path: Path) -> None:
    teacher = Distillation(save_tiny_model(tmp_path), torch.device("cpu"))
    student = tiny_model(seed=1)
    counted = torch.zeros_like(TOKENS, dtype=torch.bool)
    counted[0, 3] = counted[2, 5] = True
    loss = teacher.loss(student, Batch(TOKENS, counted))
    every = forward_kl(logits(student, TOKENS), logits(teacher.teacher.model, TOKENS))
    assert loss.item() == pytest.approx((every[0, 2] + every[2, 4]).item() / 2, rel=1e-5)


def distilled(folder: Path, **changes: Any) -> dict[str, Any]:
    """Run Minitron on a tiny model and return the record."""
    settings = {"target": str(target_folder(folder / "target")), "tokens": 24 * 16}
    job = recovery(folder, preset="minitron", **(settings | changes))
    recover_stage(job, folder / "out", folder / "run")
    return json.loads((folder / "out" / "recovery.json").read_text())


def target_folder(folder: Path, **changes: Any) -> Path:
    """Write a model of the shape to reach; only its shape matters."""
    shape = {"hidden": 12, "heads": 2, "kv_heads": 1, "intermediate": 10, "layers": 2} | changes
    return model_folder(folder, **shape)


def test_recovery_corrects_the_teacher_and_distils(tmp_path: Path) -> None:
    record = distilled(tmp_path)
    model, target = load_model(tmp_path / "out"), shape_of(str(tmp_path / "target"))
    assert shape_of_model(model) == target
    assert type(model).__name__ == "LlamaForCausalLM"
    assert [stage["kind"] for stage in record["stages"]] == ["teacher", "distil"]
    assert (record["tokens"], record["teacher_tokens"]) == (24 * 16, 24 * 16)
    log = log_without_times(tmp_path / "out")
    teacher, student = log[:6], log[6:]
    assert {row["parameters"] for row in teacher} == {shape_of(str(tmp_path / "model")).parameters}
    assert {row["parameters"] for row in student} == {target.parameters}
    assert teacher[-1]["loss"] < teacher[0]["loss"]
    # Both have a learning-rate schedule of their own.
    rates = [[row["learning_rate"] for row in rows] for rows in (teacher, student)]
    assert rates[0] == rates[1]
    assert not (tmp_path / "run").exists()


def test_cost_of_distillation_counts_the_teacher(tmp_path: Path) -> None:
    record = distilled(tmp_path)
    large = shape_of(str(tmp_path / "model")).compute_parameters
    small = shape_of(str(tmp_path / "target")).compute_parameters
    tokens, calibration = 24 * 16, 4 * 12
    expected = tokens * 6 * large + 2 * large * calibration + tokens * (6 * small + 2 * large)
    assert record["flops"] == expected
    log = log_without_times(tmp_path / "out")
    assert log[5]["flops"] == tokens * 6 * large
    assert log[-1]["flops"] == expected


def test_without_correction_the_first_model_teaches(tmp_path: Path) -> None:
    still = {"peak_learning_rate": 1e-30, "minimum_learning_rate": 0}
    record = distilled(tmp_path, teacher_correction=False, **still)
    assert record["teacher_tokens"] == 0
    kept = json.loads((tmp_path / "out" / "kept.json").read_text())
    first = weights(tmp_path / "model")["model.embed_tokens.weight"]
    cut = weights(tmp_path / "out")["model.embed_tokens.weight"]
    assert torch.equal(cut, first[:, kept["hidden"]])
    assert [len(layer["q_heads"]) for layer in kept["layers"]] == [2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 20}, "hidden size 20 is larger than the model's 16"),
        ({"layers": 4}, "layers 4 is larger than the model's 3"),
        ({"heads": 6, "kv_heads": 3}, "kv heads 3 is larger than the model's 2"),
        ({"heads": 3}, "query heads per kv head 3 is larger than the model's 2"),
        ({"head_dim": 6}, "head_dim 6 differs from the model's 4"),
        ({"hidden": 16, "heads": 4, "kv_heads": 2, "intermediate": 24, "layers": 3}, "no fewer"),
    ],
)
def test_shape_out_of_reach_is_refused(
    changes: dict[str, int], message: str, tmp_path: Path
) -> None:
    target = shape_of(str(target_folder(tmp_path / "target", **changes)))
    with pytest.raises(UserError, match=f"^minitron: target shape: .*{message}"):
        check_cut("minitron", shape_of(str(model_folder(tmp_path / "model"))), target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "recovery preset minitron prunes: give a target model"),
        (12_000, "recovery preset minitron prunes: give a target model"),
        ("tiny-lama", "did you mean 'tiny-llama'"),
    ],
)
def test_target_must_be_a_model(target: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        distilled(tmp_path, target=target)
    assert not (tmp_path / "run").exists()


def test_heads_that_do_not_divide_the_hidden_size_are_refused() -> None:
    source = shape_of("tiny-llama")
    named = dataclasses.replace(source, hidden_size=source.hidden_size + 1)
    with pytest.MonkeyPatch.context() as context:
        context.setattr("adaptprune.recovery.targets.shape_of", lambda _: named)
        with pytest.raises(UserError, match="heads do not divide its hidden size"):
            shaped_like("odd", source)


def test_target_keeps_the_vocabulary_of_the_model() -> None:
    target = shaped_like("facebook/MobileLLM-125M", shape_of("facebook/MobileLLM-350M"))
    assert target.shape == shape_of("facebook/MobileLLM-125M")
    smol = shaped_like("facebook/MobileLLM-125M", shape_of("smollm2-135m"))
    assert smol.parameters == shape_of("smollm2-135m").parameters
