"""How numbers are printed: rounding never turns one into a value that says something else.

A difference that rounds to zero would read as none, the end of an interval as if it reached zero,
a ratio as equality, and a p-value as the level that it is compared with. Such a number is printed
with as many digits as show what it is.
"""

from __future__ import annotations

import math

from adaptprune.results.verdict import LEVEL

MINUS = "\N{MINUS SIGN}"
#: Below this a sum of floating-point numbers in another order is taken for zero.
NOTHING = 1e-9
#: From here on a number is told by its magnitude, as a perplexity may be: 1.1·10⁶.
LARGE = 1e6
#: Below this a ratio is.
SMALL = 1e-3
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """Return what stands behind a mantissa: ``·10⁶``."""
    return f"·10{str(exponent).translate(_SUPERSCRIPT)}"


def magnitude(size: float, decimals: int) -> str:
    """Print a positive number as a mantissa and a power of ten: ``1.1·10⁶``."""
    mantissa, _, exponent = f"{size:.{decimals}e}".partition("e")
    return mantissa + power_of_ten(int(exponent)) if exponent else mantissa


def fixed(size: float, decimals: int) -> str:
    """Print a number that is not negative; only zero is printed as zero.

    A large one is told by its magnitude.
    """
    if size >= LARGE:
        return magnitude(size, decimals)
    if size < NOTHING:
        return f"{0:.{decimals}f}"
    if float(f"{size:.{decimals}f}") == 0:
        decimals = -math.floor(math.log10(float(f"{size:.1g}")))
    return f"{size:.{decimals}f}"


def signed(value: float, decimals: int = 1) -> str:
    """Print a number with its sign, zero without."""
    sign = "+" if value >= NOTHING else MINUS if value <= -NOTHING else ""
    return sign + fixed(abs(value), decimals)


def plain(value: float, decimals: int = 1) -> str:
    """Print a number with a sign where it is negative alone."""
    return signed(value, decimals).removeprefix("+")


def interval(low: float, high: float, decimals: int = 1) -> str:
    """Print an interval of differences: ``[−0.04, 2.1]``."""
    return f"[{plain(low, decimals)}, {plain(high, decimals)}]"


def ratio(value: float) -> str:
    """Print a ratio to three digits or by its magnitude, only equality as 1."""
    if abs(value - 1) < NOTHING:
        return "1"
    if not SMALL <= value < LARGE:
        return magnitude(value, 2)
    text = f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
    if float(text) != 1:
        return text
    return f"{value:.{-math.floor(math.log10(float(f'{abs(value - 1):.1g}')))}f}"


def ratio_interval(low: float, high: float) -> str:
    """Print an interval of ratios: ``[0.91, 0.9996]``."""
    return f"[{ratio(low)}, {ratio(high)}]"


def print_p(p: float) -> str:
    """Print a p-value with its relation, ``= 0.02`` or ``< 0.001``; as the level only if it is."""
    if p < 0.001:
        return "< 0.001"
    digits = 2
    while float(text := f"{p:.{digits}g}") == LEVEL and abs(p - LEVEL) >= NOTHING:
        digits += 1
    return f"= {text}"
