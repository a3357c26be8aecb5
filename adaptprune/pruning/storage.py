"""What a pattern costs on disk, with the indices of the kept weights (AST, section 6.1).

Of every group of M weights the N kept ones are stored, and which of the C(M, N) possible patterns
they form. Exact arithmetic; torch-free.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from adaptprune.pruning.patterns import Pattern

#: How a group's pattern is written: one bit per weight; an equally long number for each pattern;
#: a Huffman code over equally likely patterns.
IndexCode = Literal["bitmap", "plain", "huffman"]


def huffman_length(symbols: int) -> Fraction:
    """Return the mean length (bits) of a Huffman code over equally likely symbols.

    Such a code is as level as it can be: with k = ⌊log2(symbols)⌋, every symbol has k bits but the
    2 · (symbols − 2^k) that have one more. For 32:64 no tree of 1.8 · 10¹⁸ leaves need be built.
    """
    shorter = symbols.bit_length() - 1
    return shorter + Fraction(2 * (symbols - 2**shorter), symbols)


def index_bits(pattern: Pattern, code: IndexCode) -> Fraction:
    """Return the (mean) bits of a group's indices; of one weight, where there are no groups.

    Only a bitmap can say which weights of an unstructured pattern stay.
    """
    if code == "bitmap" or not pattern:
        return Fraction(max(1, pattern.group))
    patterns = math.comb(pattern.group, pattern.kept)
    return huffman_length(patterns) if code == "huffman" else Fraction((patterns - 1).bit_length())


def packed_bits(weights: int, kept: int, pattern: Pattern, bits: int, code: IndexCode) -> Fraction:
    """Return the size of pruned weights on disk.

    Args:
        weights: number of weights before pruning; whole groups.
        kept: number of weights that stay.
        pattern: the pattern they follow.
        bits: of one kept weight.
        code: how the indices are written.
    """
    groups = Fraction(weights, max(1, pattern.group))
    return kept * bits + groups * index_bits(pattern, code)


def compression_ratio(
    pattern: Pattern, code: IndexCode, *, bits: int = 4, dense_bits: int = 32
) -> Fraction:
    """Return packed size over dense size (AST, section 6.1: 4-bit weights, dense float32)."""
    packed = packed_bits(pattern.group, pattern.kept, pattern, bits, code)
    return packed / (pattern.group * dense_bits)
