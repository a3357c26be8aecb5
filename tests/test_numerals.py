"""Printed numbers: none is rounded to a value that says something else."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from adaptprune.results.numerals import (
    MINUS,
    NOTHING,
    interval,
    magnitude,
    plain,
    print_p,
    ratio,
    ratio_interval,
    signed,
)
from adaptprune.results.verdict import LEVEL


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (2.14, "+2.1"),
        (-2.16, f"{MINUS}2.2"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (-1e-15, "0.0"),
        (0.05, "+0.1"),
        (-0.05, f"{MINUS}0.1"),
        (-0.04, f"{MINUS}0.04"),
        (0.00049, "+0.0005"),
        (0.0496, "+0.05"),
        (-2.5e8, f"{MINUS}2.5·10⁸"),
    ],
)
def test_only_zero_is_printed_as_zero(value: float, printed: str) -> None:
    assert signed(value) == printed


def test_decimals_are_those_asked_for_where_they_suffice() -> None:
    assert (signed(0.6, 2), signed(-0.004, 2), signed(1.0, 2)) == (
        "+0.60",
        f"{MINUS}0.004",
        "+1.00",
    )


def test_the_end_of_an_interval_shows_on_which_side_of_zero_it_lies() -> None:
    assert interval(-3.82, -0.04) == f"[{MINUS}3.8, {MINUS}0.04]"
    assert interval(0.02, 3.1) == "[0.02, 3.1]"
    assert interval(-0.04, 0.0) == f"[{MINUS}0.04, 0.0]"
    assert interval(-0.004, 1, 2) == f"[{MINUS}0.004, 1.00]"
    assert ratio_interval(0.9996, 1.0004) == "[0.9996, 1.0004]"


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (0.318, "0.318"),
        (0.9996, "0.9996"),
        (1.0, "1"),
        (1.00002, "1.00002"),
        (1234.6, "1235"),
        (2.5e8, "2.50·10⁸"),
        (0.00015, "1.50·10⁻⁴"),
        (1.82e-6, "1.82·10⁻⁶"),
    ],
)
def test_only_equality_is_a_ratio_of_1(value: float, printed: str) -> None:
    assert ratio(value) == printed


@pytest.mark.parametrize(
    ("p", "printed"),
    [
        (0.0496, "= 0.0496"),
        (0.04999, "= 0.04999"),
        (0.0503, "= 0.0503"),
        (0.05, "= 0.05"),
        (0.0134, "= 0.013"),
        (0.0002, "< 0.001"),
        (1.0, "= 1"),
    ],
)
def test_a_p_below_the_level_is_not_printed_as_the_level(p: float, printed: str) -> None:
    assert print_p(p) == printed


def value_of(printed: str) -> float:
    """Read a number back, powers of ten included."""
    mantissa, _, exponent = printed.replace(MINUS, "-").partition("·10")
    digits = exponent.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(mantissa) * 10.0 ** int(digits or 0)


@hypothesis.given(st.floats(1e-12, 1e12))
def test_a_magnitude_is_the_number_to_its_digits(value: float) -> None:
    assert value_of(magnitude(value, 3)) == pytest.approx(value, rel=6e-4)


@hypothesis.given(st.floats(-1e9, 1e9, allow_subnormal=False), st.integers(1, 3))
def test_what_is_printed_has_the_sign_of_the_number(value: float, decimals: int) -> None:
    said = value_of(signed(value, decimals))
    assert (said > 0, said < 0) == (value >= NOTHING, value <= -NOTHING)
    assert value_of(plain(value, decimals)) == said


@hypothesis.given(st.floats(0.001, 1.0))
def test_what_is_printed_lies_on_the_same_side_of_the_level(p: float) -> None:
    said = float(print_p(p).removeprefix("= "))
    assert (said < LEVEL) == (p < LEVEL) or abs(p - LEVEL) < NOTHING


@hypothesis.given(st.floats(1e-9, 1e9))
def test_a_printed_ratio_lies_on_the_same_side_of_1(value: float) -> None:
    said = value_of(ratio(value))
    assert (said < 1, said > 1) == (value < 1 - NOTHING, value > 1 + NOTHING) or (
        abs(value - 1) <= NOTHING
    )
