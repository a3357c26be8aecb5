"""Hard-concrete gates: the released code's figures, and what follows from the distribution."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from official_figures import figures

from baselines import hard_concrete

OFFICIAL = figures("sheared_l0")


def test_constants_are_the_official_ones() -> None:
    constants = OFFICIAL["constants"]
    assert constants["limit_a"] == hard_concrete.LOW
    assert constants["limit_b"] == hard_concrete.HIGH
    assert constants["epsilon"] == hard_concrete.EPSILON
    assert constants["temperature"] == hard_concrete.TEMPERATURE
    assert constants["magical_number"] == hard_concrete.DETERMINISTIC_FACTOR
    assert [math.log(bound) for bound in constants["loga_clamp"]] == list(hard_concrete.BOUNDS)
    assert constants["mask_init_mean"] == hard_concrete.INITIAL_MEAN
    assert constants["mask_init_std"] == hard_concrete.INITIAL_DEVIATION


def test_quantiles_and_probabilities_are_the_official_ones() -> None:
    official = OFFICIAL["quantile"]
    log_alpha = torch.tensor(official["z_loga"])
    values = hard_concrete.stretched(log_alpha, torch.tensor(official["uniforms"]))
    close = {"rtol": 1e-6, "atol": 1e-7}
    torch.testing.assert_close(values, torch.tensor(official["stretched"]), **close)
    torch.testing.assert_close(values.clamp(0, 1), torch.tensor(official["z"]), **close)
    closed = hard_concrete.probability_of_zero(log_alpha)
    torch.testing.assert_close(closed, torch.tensor(official["cdf_zero"]), **close)


def test_probability_of_zero_is_where_the_stretched_variable_crosses_zero() -> None:
    """The closed form against its definition: the quantile at that probability is 0."""
    log_alpha = torch.linspace(-3, 3, 13, dtype=torch.float64)
    crossing = hard_concrete.stretched(log_alpha, hard_concrete.probability_of_zero(log_alpha))
    torch.testing.assert_close(crossing, torch.zeros_like(crossing), rtol=0, atol=1e-12)


def test_samples_are_zero_as_often_as_expected() -> None:
    log_alpha = torch.tensor([-2.0, 0.0, 1.5])[:, None].expand(3, 20_000)
    gates = hard_concrete.sample(log_alpha, torch.Generator().manual_seed(0))
    assert gates.min() >= 0
    assert gates.max() <= 1
    closed = (gates == 0).double().mean(1)
    expected = hard_concrete.probability_of_zero(log_alpha[:, 0]).double()
    torch.testing.assert_close(closed, expected, rtol=0, atol=0.01)


def test_gradient_of_a_sample_reaches_its_log_alpha() -> None:
    log_alpha = torch.zeros(50, requires_grad=True)
    gates = hard_concrete.sample(log_alpha, torch.Generator().manual_seed(0))
    gates.sum().backward()
    assert log_alpha.grad is not None
    between = (gates > 0) & (gates < 1)
    assert between.any()
    assert not between.all()
    assert torch.equal(log_alpha.grad > 0, between)


def test_first_gates_are_open() -> None:
    alpha = hard_concrete.initial_log_alpha((40, 3), torch.Generator().manual_seed(1))
    assert alpha.max() <= hard_concrete.BOUNDS[1]
    assert hard_concrete.expected_open(alpha).min() > 0.99


def test_expected_number_of_gates_stays_without_a_target() -> None:
    log_alpha = torch.tensor([[4.0, -4.0, 4.0, -4.0, -4.0], [4.0, 4.0, 4.0, 4.0, -4.0]])
    gates = hard_concrete.deterministic(log_alpha)
    assert (gates != 0).tolist() == [[True, False, True, False, False], [True] * 4 + [False]]
    soft = torch.sigmoid(torch.tensor(4.0 * 1.5 * 0.8)).item()
    assert gates[0, 0].item() == pytest.approx(soft)


@given(st.lists(st.floats(-4.5, 4.5, width=32), min_size=1, max_size=30, unique=True), st.data())
def test_the_highest_gates_stay(alphas: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(alphas)))
    gates = hard_concrete.deterministic(torch.tensor(alphas), kept)
    stay = {index for index, gate in enumerate(gates.tolist()) if gate != 0}
    assert len(stay) == kept
    soft = torch.sigmoid(torch.tensor(alphas) * 1.2)
    closed = [soft[index].item() for index in range(len(alphas)) if index not in stay]
    assert all(soft[index].item() >= gate for index in stay for gate in closed)
