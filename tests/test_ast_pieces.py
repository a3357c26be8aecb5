"""The pieces of AST against the official codes' figures, one by one, and by hand."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_figures import figures
from parity.formula import symmetric, uniform
from safetensors.torch import load_file

from adaptprune.errors import UserError
from adaptprune.models.anatomy import Linear
from adaptprune.papers.sparse_trainer.decay import DecayFactor
from adaptprune.papers.sparse_trainer.optimizer import SparseAdamW
from adaptprune.papers.sparse_trainer.slorb import (
    boost,
    check_group,
    extra_parameters,
    initial_factors,
)
from adaptprune.pruning import choice
from adaptprune.pruning.patterns import Pattern
from adaptprune.recovery import distillation
from adaptprune.recovery.schedules import WarmupCosine
from adaptprune.recovery.sparse_objective import cross_entropy
from adaptprune.recovery.straight_through import SparseLayer, SparseLayers, masked_linear

PIECES = figures("ast_pieces")
WEIGHTS = load_file(Path(__file__).parent / "golden" / "ast_optimizer.safetensors")
PATTERN = Pattern(2, 4)


def packed_hash(kept: torch.Tensor) -> str:
    return hashlib.sha256(np.packbits(kept.numpy().reshape(-1)).tobytes()).hexdigest()


def kept_of(matrix: torch.Tensor, pattern: str = "2:4") -> torch.Tensor:
    return ~choice.smallest_of_groups(matrix.abs(), Pattern.parse(pattern), "official")


def assert_sums(tensor: torch.Tensor, sums: dict[str, float], rel: float = 1e-5) -> None:
    values = tensor.detach().double()
    found = {"sum": values.sum(), "sumsq": values.square().sum(), "abssum": values.abs().sum()}
    size = float(found["abssum"])  # a sum of both signs is known as well as its terms
    for key, value in found.items():
        assert float(value) == pytest.approx(sums[key], rel=rel, abs=rel * size / 10), key


def test_inputs_are_those_of_the_formula() -> None:
    for call, expected in PIECES["formula"]["check"].items():
        stream, count = map(int, call[4:-1].split(","))
        assert uniform(stream, count).tolist() == expected


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_masks_are_the_official_ones(pattern: str) -> None:
    kept = kept_of(symmetric(1, (24, 128), 0.05), pattern)
    assert packed_hash(kept) == PIECES["mask"]["W"][f"mask_{pattern}_sha256_packbits"]


def test_unstructured_mask_goes_row_by_row() -> None:
    kept = ~choice.smallest_of_rows(symmetric(1, (24, 128), 0.05).abs(), 50)
    assert packed_hash(kept) == PIECES["mask"]["W"]["mask_unstructured_sha256_packbits"]


@pytest.mark.parametrize(("ties", "column"), [("official", 0), ("corrected", 2)])
def test_ties_are_broken_as_in_the_official_table(ties: Any, column: int) -> None:
    rows = PIECES["mask"]["tie_table"]["rows"]
    ranks = torch.tensor([[int(rank) for rank in ranked] for ranked in rows]).float()
    kept = ~choice.smallest_of_groups(ranks, PATTERN, ties)
    found = ["".join(str(int(bit)) for bit in row) for row in kept]
    assert found == [row[column] for row in rows.values()]
    assert all(row[1] == row[2] for row in rows.values())  # the LLaMA-2 code's later updates


def test_tied_matrix_has_the_official_masks() -> None:
    rows, columns = torch.arange(8)[:, None], torch.arange(32)[None]
    matrix = ((3 * rows + 5 * columns + rows * columns) % 7 - 3) / 4
    figure = PIECES["mask"]["T"]
    for ties, name in (("official", "topk"), ("corrected", "kernel")):
        kept = ~choice.smallest_of_groups(matrix.abs(), PATTERN, ties)
        assert packed_hash(kept) == figure[f"mask_{name}_sha256_packbits"]


def boosted(group: int) -> tuple[torch.nn.Linear, torch.Tensor]:
    """Return the official example's layer with SLoRB, and its input."""
    layer = torch.nn.Linear(128, 24, bias=False)
    layer.weight.data = symmetric(1, (24, 128), 0.05)
    linear = Linear("weight", layer)
    kept = kept_of(linear.matrix)
    SparseLayer(linear, kept).install()
    boost(linear, initial_factors(linear.matrix, kept, group, "mean"), train=True)
    return layer, symmetric(2, (5, 128), 1).requires_grad_()


@pytest.mark.parametrize("group", [16, 64])
def test_slorb_computes_and_learns_as_officially(group: int) -> None:
    figure = PIECES["slorb"][f"k{group}_mean"]
    layer, inputs = boosted(group)
    factors: Any = layer.slorb
    assert (
        hashlib.sha256(factors.weight.detach().numpy().tobytes()).hexdigest()
        == (figure["S_sha256"])
    )
    assert factors.projection.sum() == figure["X_sum"]
    assert factors.projection[1].nonzero()[0] == figure["X_row1_first_one"]
    assert extra_parameters({"W": (24, 128)}, group) == figure["extra_params"]
    output = layer(inputs)
    assert_sums(output, figure["forward"]["y"])
    assert output[0, :4].tolist() == pytest.approx(figure["forward"]["y_row0_first4"], rel=1e-5)
    (output * symmetric(3, (5, 24), 1)).sum().backward()
    gradients = figure["backward of sum(y*sym(3,(5,24),1))"]
    assert layer.weight.grad is not None
    assert_sums(layer.weight.grad, gradients["grad_W"])
    assert_sums(layer.weight.grad * ~kept_of(layer.weight.detach()), gradients["grad_W_on_pruned"])
    assert_sums(factors.weight.grad, gradients["grad_S"])
    assert_sums(factors.projection.grad, gradients["grad_X"])
    outside = factors.projection.grad * (factors.projection == 0)
    assert_sums(outside, gradients["grad_X_outside_blocks"])
    assert inputs.grad is not None
    assert_sums(inputs.grad, gradients["grad_x"])


def test_slorb_keeps_the_mean_of_every_group() -> None:
    matrix = symmetric(1, (3, 8), 1)
    kept = kept_of(matrix)
    weight, projection = initial_factors(matrix, kept, 4, "mean")
    boosted = (matrix * kept + weight @ projection).view(3, 2, 4)
    torch.testing.assert_close(boosted.mean(2), matrix.view(3, 2, 4).mean(2))


@pytest.mark.parametrize(
    ("start", "weight_zero", "blocks"),
    [("zero", True, True), ("xavier", True, False), ("xavier-both", False, False)],
)
def test_slorb_starts_in_other_ways(start: Any, weight_zero: bool, blocks: bool) -> None:
    matrix = symmetric(1, (3, 8), 1)
    weight, projection = initial_factors(matrix, kept_of(matrix), 4, start)
    assert (weight == 0).all() == weight_zero
    assert (projection.unique().tolist() == [0, 1]) == blocks


def test_slorb_refuses_a_group_that_does_not_divide() -> None:
    check_group(16, {"a": (8, 32)})
    with pytest.raises(UserError, match="slorb_k 16 does not divide the rows of b, which have 36"):
        check_group(16, {"a": (8, 32), "b": (8, 36)})


def test_gradient_reaches_pruned_weights_or_does_not() -> None:
    matrix = torch.tensor([[1.0, 2.0, 3.0, 4.0]], requires_grad=True)
    kept = torch.tensor([[False, True, False, True]])
    inputs = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
    output = masked_linear(inputs, matrix, torch.tensor([0.5]), kept)
    assert output.item() == 20 + 4000 + 0.5
    output.backward()
    assert matrix.grad is not None
    assert matrix.grad.tolist() == [[1, 10, 100, 1000]]
    matrix.grad = None
    masked_linear(inputs, matrix, None, kept, through=False).backward()
    assert matrix.grad.tolist() == [[0, 10, 0, 1000]]


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8)])
def test_masked_gradients_are_those_of_autograd(shape: tuple[int, ...]) -> None:
    inputs = symmetric(1, shape, 1).double().requires_grad_()
    matrix = symmetric(2, (6, 8), 1).double().requires_grad_()
    bias = symmetric(3, (6,), 1).double().requires_grad_()
    kept = kept_of(matrix.detach().float())
    torch.autograd.gradcheck(
        lambda x, w, b: masked_linear(x, w, b, kept, through=False), (inputs, matrix, bias)
    )


RULES = {"gpt2_as_published": "gpt2-official", "gpt2_boolean": "gpt2-boolean", "llama": "gradient"}


def trained(
    rule: Any, decays: list[float], weight_decay: float, gradients: bool = True
) -> list[torch.Tensor]:
    """Take the official three steps; return the weights after each."""
    parameter = torch.nn.Parameter(symmetric(11, (16, 64), 0.05))
    kept = kept_of(parameter.detach())
    assert packed_hash(kept) == PIECES["optimizer"]["mask_sha256_packbits"]
    optimizer = SparseAdamW(
        [parameter], {parameter: kept}, rule, decays.__getitem__, weight_decay=weight_decay
    )
    optimizer.param_groups[0]["lr"] = 2e-4
    after = []
    for step in range(len(decays)):
        gradient = symmetric(20 + step, (16, 64), 1e-3)
        parameter.grad = gradient if gradients else torch.zeros(16, 64)
        optimizer.step()
        after.append(parameter.detach().clone())
    return after


@pytest.mark.parametrize(
    "run", PIECES["optimizer"]["runs"], ids=lambda run: run["after_1"]["tensor"]
)
def test_optimiser_is_the_official_one(run: dict[str, Any]) -> None:
    after = trained(
        RULES[run["variant"]], [run["decay"]] * 3, run["weight_decay"], run["gradient"] == "G"
    )
    for step in (1, 3):
        figure = run[f"after_{step}"]
        torch.testing.assert_close(after[step - 1], WEIGHTS[figure["tensor"]], rtol=0, atol=3e-7)


def test_decay_of_the_llama_callback() -> None:
    factor = DecayFactor(6e-5, 3000)
    after = trained("gradient", [factor.at(batch) for batch in (0, 1000, 2000)], 0.0)
    expected = WEIGHTS["llama.G.callback_batches_0_1000_2000.step3"]
    torch.testing.assert_close(after[-1], expected, rtol=0, atol=3e-7)


def test_paper_rule_by_hand() -> None:
    """Eq. 20-23 as printed: the second moment is not corrected for its start at zero."""
    parameter = torch.nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    kept = torch.tensor([[True, False]])
    optimizer = SparseAdamW([parameter], {parameter: kept}, "paper", [0.2, 0.1].__getitem__)
    optimizer.param_groups[0]["lr"] = 0.01
    weights, first, second = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step, (gradients, decay) in enumerate([((0.5, 0.1), 0.2), ((-0.3, 0.4), 0.1)], 1):
        parameter.grad = torch.tensor([gradients], dtype=torch.float64)
        optimizer.step()
        for i, pruned in enumerate((0, 1)):
            first[i] = 0.9 * first[i] + 0.1 * gradients[i]
            decayed = first[i] + decay * pruned * weights[i]
            second[i] = 0.95 * second[i] + 0.05 * decayed**2
            weights[i] -= 0.01 * decayed / ((1 - 0.9**step) * (math.sqrt(second[i]) + 1e-8))
        assert parameter.tolist() == [pytest.approx(weights, rel=1e-12)]


def test_dense_parameters_are_updated_by_adamw() -> None:
    dense, reference = (torch.nn.Parameter(symmetric(1, (4,), 1)) for _ in range(2))
    sparse = torch.nn.Parameter(symmetric(2, (4, 4), 1))
    masks = {sparse: kept_of(sparse.detach())}
    ours = SparseAdamW([dense, sparse], masks, "paper", lambda _: 0.1)
    theirs = torch.optim.AdamW([reference], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    ours.param_groups[0]["lr"] = 1e-3
    for step in range(3):
        dense.grad, reference.grad = symmetric(step, (4,), 1), symmetric(step, (4,), 1)
        sparse.grad = torch.ones(4, 4)
        ours.step()
        theirs.step()
    assert torch.equal(dense, reference)


@pytest.mark.parametrize("largest", ["1e-4", "6e-5"])
def test_decay_factor_grows_as_officially(largest: str) -> None:
    official = PIECES["schedules"][f"gpt2_decay_{largest}"]
    factor = DecayFactor(float(largest), 10_000)
    for step, value in official.items():
        assert factor.at(int(step)) == pytest.approx(value, rel=1e-12)


def test_decay_factor_of_the_llama_code() -> None:
    factor = DecayFactor(6e-5, 3000)
    for step, value in PIECES["schedules"]["llama_decay_by_batch"].items():
        assert factor.at(int(step)) == pytest.approx(value, rel=1e-12)


def test_learning_rates_are_the_official_ones() -> None:
    schedules = PIECES["schedules"]
    gpt2 = WarmupCosine(40_000, 2000, 38_000, 2e-4, 2e-5)
    name = "gpt2_lr (2e-4, min 2e-5, warm-up 2000, decay until 38000, end 40000)"
    for step, rate in schedules[name].items():
        assert gpt2.rate(int(step)) == pytest.approx(rate, rel=1e-12)
    llama = WarmupCosine(15_000, 500, 15_000, 2e-5, 2e-6)
    for step, rate in schedules["llama_lr (2e-5, warm-up 500, 15000 batches, alpha_f 0.1)"].items():
        assert llama.rate(int(step)) == pytest.approx(rate, rel=1e-6)  # theirs is float32


def logits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the official example's logits: of the student and of the teacher."""
    student, teacher = (symmetric(stream, (2, 6, 40), 3) for stream in (901, 902))
    return student.requires_grad_(), teacher


def test_kl_is_the_official_one() -> None:
    figure = PIECES["losses"]["gpt2"]
    for temperature, value in figure["kl_by_temperature"].items():
        student, teacher = logits()
        kl = distillation.forward_kl(student, teacher, float(temperature)).mean()
        assert kl.item() == pytest.approx(value, rel=1e-6)
    kl = distillation.forward_kl(student := logits()[0], teacher, 2.0).mean()
    kl.backward()
    assert student.grad is not None
    assert student.grad.norm().item() == pytest.approx(figure["kl_T2_grad_norm"], rel=1e-5)


def test_total_loss_is_the_official_one() -> None:
    figure = PIECES["losses"]["gpt2"]
    student, teacher = logits()
    labels = torch.from_numpy(np.floor(40 * uniform(903, 12)).astype(np.int64))
    task = torch.nn.functional.cross_entropy(student.flatten(0, 1), labels)
    assert task.item() == pytest.approx(figure["ce (labels already shifted)"], rel=1e-6)
    total = 0.33 * task + 0.67 * distillation.forward_kl(student, teacher, 2.0).mean()
    total.backward()
    assert total.item() == pytest.approx(figure["total 0.33*ce+0.67*kl"], rel=1e-6)
    assert student.grad is not None
    assert student.grad.norm().item() == pytest.approx(figure["total_grad_norm"], rel=1e-5)


def test_squarehead_is_the_official_one() -> None:
    student, teacher = (
        [symmetric(first + layer, (2, 6, 16), 1) for layer in range(3)] for first in (910, 920)
    )
    value = PIECES["losses"]["gpt2"]["squarehead"]["value"]
    assert distillation.squarehead(student, teacher).item() == pytest.approx(value, rel=1e-6)


def test_losses_by_hand() -> None:
    learnt, taught = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    backward = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert distillation.forward_kl(learnt, taught).item() == pytest.approx(forward, rel=1e-6)
    assert distillation.reverse_kl(learnt, taught).item() == pytest.approx(backward, rel=1e-6)
    soft = distillation.soft_cross_entropy(learnt, taught)
    assert soft.item() == pytest.approx(math.log(2), rel=1e-6)
    states = [torch.tensor([[1.0, 2.0]])], [torch.tensor([[1.0, 4.0]])]
    assert distillation.hidden_mse(*states).item() == 2
    assert distillation.squarehead(*states, eps=0.0).item() == pytest.approx(2 / 8.5)
    attention = [torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]])]
    other = [torch.tensor([[[[0.75, 0.25], [1.0, 0.0]]]])]
    assert distillation.attention_kl(attention, other).item() == pytest.approx(forward / 2)


@pytest.mark.parametrize(
    ("rule", "rates"), [("paper", 44.72), ("gpt2-boolean", 10), ("gradient", 1)]
)
def test_first_step_from_rest_depends_on_the_rule(rule: Any, rates: float) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1, 4))
    kept = torch.ones(1, 4, dtype=torch.bool)
    optimizer = SparseAdamW([parameter], {parameter: kept}, rule, lambda _: 0.0)
    optimizer.param_groups[0]["lr"] = 1e-3
    parameter.grad = torch.full((1, 4), -0.5)
    optimizer.step()
    assert parameter[0, 0].item() == pytest.approx(rates * 1e-3, rel=1e-3)


def test_flips_are_the_official_ones() -> None:
    layer = torch.nn.Linear(128, 24, bias=False)
    layer.weight.data = symmetric(1, (24, 128), 0.05)
    linear = Linear("weight", layer)
    layers = SparseLayers({"weight": SparseLayer(linear, kept_of(linear.matrix))})
    layers.begin(layers.masks())
    for stream, figure in zip((5, 6), PIECES["flip"]["gpt2"], strict=True):
        layer.weight.data += symmetric(stream, (24, 128), 0.01)
        found = layers.update(lambda _, matrix: kept_of(matrix)).figures()
        assert found["flips"] == figure["flipped"]
        assert found["initial_flips"] == figure["init_flipped"]
        assert found["flip_rate"] == figure["flip_rate"]
        assert found["initial_flip_rate"] == figure["init_flip_rate"]


def test_loss_of_the_llama_code_is_the_official_one() -> None:
    """Labels are shifted inside, and the divergence runs over the last position too."""
    figure = PIECES["losses"]["llama"]
    student, teacher = logits()
    targets = torch.tensor(figure["targets"])
    task = cross_entropy(student, targets.clamp(min=0), targets != -100)
    assert task.item() == pytest.approx(
        figure["ce (labels shifted inside, last position ignored)"], rel=1e-6
    )
    total = task + 0.5 * distillation.forward_kl(student, teacher, 2.0).mean()
    total.backward()
    assert total.item() == pytest.approx(figure["total"], rel=1e-6)
    assert student.grad is not None
    assert student.grad.norm().item() == pytest.approx(figure["total_grad_norm"], rel=1e-5)
