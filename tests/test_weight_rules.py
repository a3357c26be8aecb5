"""How one matrix is pruned: the choice of weights, and the updates of SparseGPT."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from official_figures import figures

from adaptprune.errors import NumericalError
from adaptprune.pruning import choice
from adaptprune.pruning.metrics import ByMagnitude, ByWanda, wanda
from adaptprune.pruning.patterns import Pattern
from adaptprune.pruning.reconstruction import BySparseGPT
from adaptprune.pruning.statistics import Hessian, InputNorms


def metric_of(rows: int, columns: int, seed: int, levels: int | None = None) -> torch.Tensor:
    """Return random non-negative numbers; with ``levels``, so few different ones that many tie."""
    generator = torch.Generator().manual_seed(seed)
    if levels:
        return torch.randint(levels, (rows, columns), generator=generator).float()
    return torch.rand(rows, columns, generator=generator)


seeds = st.integers(0, 10_000)
quirks = st.sampled_from(["official", "corrected"])


@given(
    rows=st.integers(1, 5),
    groups=st.integers(1, 4),
    group=st.integers(2, 9),
    seed=seeds,
    ties=quirks,
    levels=st.sampled_from([None, 3]),
    data=st.data(),
)
def test_every_group_loses_its_smallest(
    rows: int, groups: int, group: int, seed: int, ties: Any, levels: Any, data: st.DataObject
) -> None:
    pattern = Pattern(data.draw(st.integers(1, group - 1)), group)
    metric = metric_of(rows, groups * group, seed, levels)
    pruned = choice.smallest_of_groups(metric, pattern, ties)
    for row in range(rows):
        for start in range(0, groups * group, group):
            values, gone = metric[row, start : start + group], pruned[row, start : start + group]
            assert gone.sum() == pattern.pruned
            assert values[gone].max() <= values[~gone].min()
            if ties == "corrected":
                order = sorted(range(group), key=lambda i, v=values: (v[i].item(), i))
                assert set(order[: pattern.pruned]) == set(gone.nonzero().flatten().tolist())


def test_official_ties_are_those_of_the_official_code() -> None:
    """On a CPU, topk leaves the first two of four equal weights and the first four of eight."""
    official = choice.smallest_of_groups(torch.ones(1, 8), Pattern(4, 8), "official")
    assert official.int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    official = choice.smallest_of_groups(torch.ones(1, 4), Pattern(2, 4), "official")
    assert official.int().tolist() == [[0, 0, 1, 1]]
    corrected = choice.smallest_of_groups(torch.ones(1, 4), Pattern(2, 4), "corrected")
    assert corrected.int().tolist() == [[1, 1, 0, 0]]


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 9),
    sparsity=st.integers(1, 99),
    seed=seeds,
    levels=st.sampled_from([None, 3]),
)
def test_matrix_loses_its_smallest(
    rows: int, columns: int, sparsity: int, seed: int, levels: Any
) -> None:
    metric = metric_of(rows, columns, seed, levels)
    count = int(rows * columns * (sparsity / 100))
    exact = choice.smallest_of_matrix(metric, sparsity, "corrected")
    assert exact.sum() == count
    official = choice.smallest_of_matrix(metric, sparsity, "official")
    assert torch.equal(official, metric <= sorted(metric.flatten().tolist())[count])
    assert official.sum() > count
    assert (official | ~exact).all()


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 9),
    sparsity=st.integers(1, 99),
    seed=seeds,
)
def test_every_row_loses_its_smallest(rows: int, columns: int, sparsity: int, seed: int) -> None:
    metric = metric_of(rows, columns, seed, levels=3)
    pruned = choice.smallest_of_rows(metric, sparsity)
    for values, gone in zip(metric.tolist(), pruned, strict=True):
        order = sorted(range(columns), key=lambda i, v=values: (v[i], i))
        smallest = order[: int(columns * (sparsity / 100))]
        assert set(smallest) == set(gone.nonzero().flatten().tolist())


def test_variant_takes_a_share_of_each_sum() -> None:
    metric = metric_of(200, 300, seed=0)
    metric[0] = 0
    metric[0, 7] = 1
    pruned = choice.smallest_sums_of_rows(metric, 40)
    assert pruned.float().mean() == pytest.approx(0.4, abs=1e-3)
    shares = (metric * pruned).sum(1) / metric.sum(1)
    assert shares[1:].std() < 0.01
    assert pruned.sum(1).unique().numel() > 5
    assert pruned[0].sum() == 299


def test_row_of_which_nothing_fits_keeps_everything() -> None:
    metric = torch.ones(2, 2)
    assert not choice.smallest_sums_of_rows(metric, 10).any()


def test_norms_are_the_mean_over_sequences() -> None:
    inputs = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0))
    norms = InputNorms(3, inputs.device)
    for sequence in inputs:
        norms.add(sequence)
    torch.testing.assert_close(norms.squares, inputs.pow(2).sum((0, 1)) / 5)
    weight = torch.tensor([[3.0, -2.0, 0.5]])
    expected = weight.abs() * (inputs.pow(2).sum((0, 1)) / 5).sqrt()
    torch.testing.assert_close(wanda(weight, norms.squares), expected)


def observed(inputs: torch.Tensor) -> Hessian:
    """Return the Hessian of some sequences [sequences, length, inputs]."""
    hessian = Hessian(inputs.shape[-1], inputs.device)
    for sequence in inputs:
        hessian.add(sequence)
    return hessian


@pytest.mark.parametrize("width", [1, 130, 576, 640])
def test_hessian_is_the_second_moment_below_its_diagonal(width: int) -> None:
    inputs = torch.randn(3, 7, width, generator=torch.Generator().manual_seed(width))
    whole = 2 / 3 * torch.einsum("sli,slj->ij", inputs, inputs)
    found = observed(inputs).matrix
    torch.testing.assert_close(found.tril(), whole.tril(), rtol=1e-5, atol=1e-5)


def sparsegpt(pattern: str = "unstructured", sparsity: int = 50, **settings: Any) -> BySparseGPT:
    return BySparseGPT(
        **{
            "pattern": Pattern.parse(pattern),
            "sparsity": sparsity,
            "ties": "official",
            "threshold": "official",
            "block_size": 128,
            "damping": 0.01,
            "factorisation": torch.float32,
        }
        | settings
    )


@given(
    rows=st.integers(1, 4),
    blocks=st.integers(1, 3),
    block_size=st.sampled_from([4, 8]),
    pattern=st.sampled_from(["2:4", "1:2", "unstructured"]),
    seed=seeds,
)
def test_columns_to_come_make_up_for_what_goes(
    rows: int, blocks: int, block_size: int, pattern: str, seed: int
) -> None:
    """Given which weights went, the others are what brain surgery on one weight at a time makes."""
    generator = torch.Generator().manual_seed(seed)
    columns = blocks * block_size
    inputs = torch.randn(3, 2 * columns, columns, generator=generator)
    weight = torch.randn(rows, columns, generator=generator)
    hessian = observed(inputs)
    found = sparsegpt(pattern, block_size=block_size, factorisation=torch.float64).choose(
        weight, hessian
    )
    matrix = 2 / 3 * inputs.double().flatten(0, 1).t() @ inputs.double().flatten(0, 1)
    matrix += 0.01 * matrix.diagonal().mean() * torch.eye(columns)
    expected, error = weight.double(), 0.0
    for column in range(columns):
        inverse = matrix[column:, column:].inverse()
        lost = torch.where(found.pruned[:, column], expected[:, column], 0)
        expected[:, column:] -= lost[:, None] / inverse[0, 0] * inverse[0]
        error += (lost**2 / inverse[0, 0] / 2).sum().item()
    torch.testing.assert_close(found.weight.double(), expected, rtol=1e-3, atol=1e-3)
    assert found.log["error"] == pytest.approx(error, rel=1e-3, abs=1e-4)
    assert (found.weight[found.pruned] == 0).all()


def test_saliency_decides() -> None:
    """An input that no other can stand in for keeps its weight, though it is the smallest."""
    inputs = torch.randn(1, 400, 4, generator=torch.Generator().manual_seed(0))
    inputs[..., 1] *= 10
    weight = torch.tensor([[1.0, 0.5, 1.2, 1.3]])
    found = sparsegpt("2:4").choose(weight, observed(inputs))
    assert found.pruned.tolist() == [[True, False, True, False]]


def test_dead_inputs_lose_their_weights() -> None:
    inputs = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    inputs[..., 3] = 0
    found = sparsegpt("4:8").choose(torch.ones(2, 8), observed(inputs))
    assert found.pruned[:, 3].all()
    assert found.pruned.sum(1).tolist() == [4, 4]


def test_numbers_that_are_not_finite_are_told() -> None:
    inputs = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(2, 8)
    broken = torch.full((2, 8), float("nan"))
    with pytest.raises(NumericalError, match="metric of a weight is not finite"):
        ByMagnitude(Pattern(), 50, "official", "official").choose(broken, None)
    norms = InputNorms(8, inputs.device)
    norms.add(inputs[0] * float("inf"))
    with pytest.raises(NumericalError, match="metric of a weight is not finite"):
        ByWanda(Pattern(), 50, "official").choose(weight, norms)
    with pytest.raises(NumericalError, match="inputs of a linear layer are not finite"):
        sparsegpt().choose(weight, observed(inputs * float("inf")))
    with pytest.raises(NumericalError, match="updated weight is not finite"):
        sparsegpt().choose(broken, observed(inputs))
    inputs[..., 1] = inputs[..., 0]
    with pytest.raises(NumericalError, match="not positive definite in float32 with a damp"):
        sparsegpt(damping=0.0).choose(weight, observed(inputs[:, :3]))


# --- the official figures of one layer ------------------------------------------------------


def uniform(stream: int, count: int) -> np.ndarray:
    """Return numbers in [0, 1) by the formula of the official runs (``golden/README.md``)."""
    with np.errstate(over="ignore"):
        z = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(1_000_003 * (stream + 1))
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53


def symmetric(stream: int, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """Return numbers in [-scale, scale), float32."""
    numbers = (2 * uniform(stream, int(np.prod(shape))) - 1) * scale
    return torch.from_numpy(numbers.astype(np.float32).reshape(shape))


def test_formula_is_the_official_one() -> None:
    assert uniform(0, 3).tolist() == [0.9540821943542598, 0.5349456496882219, 0.7227386262038963]


@pytest.fixture(scope="module")
def one_layer() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight [64, 256] and the inputs [8, 64, 256] of the official runs."""
    weight = symmetric(31, (64, 256), 0.05)
    scale = torch.from_numpy(np.where(uniform(33, 256) > 0.95, 10, 1).astype(np.float32))
    inputs = symmetric(32, (512, 256), 1) * scale
    inputs[:, 200] = 0
    return weight, inputs.view(8, 64, 256)


def sha256(kept: torch.Tensor) -> str:
    return hashlib.sha256(np.packbits(kept.numpy().reshape(-1))).hexdigest()


def rule_of(pattern: str) -> tuple[Pattern, int]:
    """Return pattern and sparsity of an official run, ``2:4`` or ``unstructured 70 %``."""
    name, *percent = pattern.split()
    return Pattern.parse(name), int(percent[0]) if percent else 50


@pytest.mark.parametrize("run", range(4))
@pytest.mark.parametrize("factorisation", [torch.float32, torch.float64])
def test_sparsegpt_prunes_one_layer_as_officially(
    run: int, factorisation: torch.dtype, one_layer: tuple[torch.Tensor, torch.Tensor]
) -> None:
    official = figures("sparse_one_layer")["sparsegpt"][run]
    weight, inputs = one_layer
    pattern, sparsity = rule_of(official["pattern"])
    found = sparsegpt(str(pattern), sparsity, factorisation=factorisation).choose(
        weight, observed(inputs)
    )
    assert found.weight is not None
    assert sha256(found.weight != 0) == official["mask_sha256"]
    assert torch.equal(found.weight != 0, ~found.pruned)
    assert (~found.pruned).sum() == official["kept"]
    assert found.log["error"] == pytest.approx(official["error"], rel=1e-6)
    assert found.log["hessian_trace"] == pytest.approx(official["H_trace"], rel=1e-6)
    assert found.weight.double().pow(2).sum().item() == pytest.approx(
        official["weight_sumsq"], rel=1e-6
    )
    assert found.weight[0, :8].tolist() == pytest.approx(official["row0_first8"], abs=1e-7)


@pytest.mark.parametrize("run", range(3))
def test_wanda_prunes_one_layer_as_officially(
    run: int, one_layer: tuple[torch.Tensor, torch.Tensor]
) -> None:
    official = figures("sparse_one_layer")["wanda"]
    weight, inputs = one_layer
    norms = InputNorms(256, inputs.device)
    for sequence in inputs:
        norms.add(sequence)
    assert norms.squares[:4].tolist() == pytest.approx(official["scaler_row_first4"], rel=1e-6)
    pattern, sparsity = rule_of(official["masks"][run]["pattern"])
    found = ByWanda(pattern, sparsity, "official").choose(weight, norms)
    assert found.log["input_norms"] == pytest.approx(official["scaler_row"]["sum"], rel=1e-6)
    assert sha256(~found.pruned) == official["masks"][run]["mask_sha256"]
