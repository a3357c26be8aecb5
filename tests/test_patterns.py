"""N:M patterns: how they are read, what they refuse, and what they cost on disk."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adaptprune.errors import UserError
from adaptprune.pruning.patterns import Pattern
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.storage import compression_ratio, huffman_length, index_bits, packed_bits

WEIGHT_METHODS = ("weight-magnitude", "wanda", "sparsegpt")


@pytest.mark.parametrize("text", ["1:2", "2:4", "4:8", "3:4", "1:16", "16:32", "32:64"])
@pytest.mark.parametrize("name", WEIGHT_METHODS)
def test_pattern_is_read_as_it_is_written(name: str, text: str) -> None:
    # YAML 1.1 reads most of these as numbers of base 60.
    for value in (text, yaml.safe_load(text)):
        assert find_method(name).parse({"pattern": value}).pattern == text
    pattern = Pattern.parse(text)
    assert str(pattern) == text
    assert pattern.kept + pattern.pruned == pattern.group


def test_unstructured_is_no_group() -> None:
    assert not Pattern.parse("unstructured")
    assert str(Pattern.parse("unstructured")) == "unstructured"
    assert find_method("wanda").parse({}).pattern == "unstructured"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("5:4", r"pattern '5:4' keeps 5 of 4 weights; N must be in 1\.\.M-1"),
        ("4:4", "keeps 4 of 4"),
        ("0:4", "keeps 0 of 4"),
        ("2-4", "must be N:M"),
        ("2:", "must be N:M"),
        ("structured", "must be N:M"),
        (24, "must be N:M"),
        (None, "must be N:M"),
        ("99999:100000", "must be N:M"),
    ],
)
def test_no_pattern_is_refused_in_one_line(value: object, told: str) -> None:
    with pytest.raises(UserError, match=f"wanda: pattern: .*{told}") as error:
        find_method("wanda").parse({"pattern": value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", WEIGHT_METHODS)
def test_sparsity_agrees_with_the_pattern(name: str) -> None:
    method = find_method(name)
    parameters = method.parse({"pattern": "2:4"})
    method.check(50, parameters)
    with pytest.raises(UserError, match=r"sparsity 40 contradicts the pattern 2:4.*50 %"):
        method.check(40, parameters)
    method.check(40, method.parse({}))


@given(st.integers(1, 40), st.integers(2, 41))
def test_one_whole_percentage_fits_a_pattern(kept: int, group: int) -> None:
    if kept >= group:
        return
    pattern = Pattern(kept, group)
    fitting = math.floor(Fraction(100 * (group - kept), group))
    for sparsity in range(101):
        if sparsity == fitting:
            pattern.check_sparsity(sparsity)
        else:
            with pytest.raises(UserError, match=f"allowed: {fitting}"):
                pattern.check_sparsity(sparsity)


def test_rows_are_whole_groups() -> None:
    shapes = {"first": (3, 16), "second": (8, 12)}
    Pattern(2, 4).check_rows(shapes)
    Pattern().check_rows(shapes)
    with pytest.raises(UserError, match="4:8 does not divide the rows of second, which have 12"):
        Pattern(4, 8).check_rows(shapes)


#: AST, Table 7, "Actual Compression Ratio".
PUBLISHED = {
    "1:2": "7.81",
    "2:4": "8.33",
    "4:8": "8.66",
    "8:16": "8.93",
    "16:32": "9.10",
    "32:64": "9.22",
}


@pytest.mark.parametrize(("text", "published"), PUBLISHED.items())
def test_huffman_code_gives_the_published_ratio(text: str, published: str) -> None:
    ratio = compression_ratio(Pattern.parse(text), "huffman")
    assert f"{100 * float(ratio):.2f}" == published
    assert ratio < Fraction(3, 32)  # the bound of section 6.1


def test_printed_formula_gives_another_ratio() -> None:
    """With the ceiling of section 6.1 a pattern of 2:4 takes 3 bits."""
    assert index_bits(Pattern(2, 4), "plain") == 3
    assert f"{100 * float(compression_ratio(Pattern(2, 4), 'plain')):.2f}" == "8.59"
    assert f"{100 * float(compression_ratio(Pattern(2, 4), 'bitmap')):.2f}" == "9.38"


@given(st.integers(1, 300))
def test_length_is_that_of_a_huffman_tree(symbols: int) -> None:
    trees, bits = [1] * symbols, 0
    while len(trees) > 1:
        joined = heapq.heappop(trees) + heapq.heappop(trees)
        heapq.heappush(trees, joined)
        bits += joined
    assert huffman_length(symbols) == Fraction(bits, symbols)


@given(st.integers(1, 20), st.integers(2, 32))
def test_codes_are_ordered(kept: int, group: int) -> None:
    if kept >= group:
        return
    pattern = Pattern(kept, group)
    huffman, plain = index_bits(pattern, "huffman"), index_bits(pattern, "plain")
    assert math.log2(math.comb(group, kept)) <= huffman + 1e-9
    assert huffman <= plain <= index_bits(pattern, "bitmap") == group


def test_unstructured_weights_need_a_bitmap() -> None:
    # 70 of 100 weights stay: 70 numbers of 4 bits, and a bit for each of the 100.
    for code in ("bitmap", "plain", "huffman"):
        assert packed_bits(100, 70, Pattern(), 4, code) == 70 * 4 + 100
