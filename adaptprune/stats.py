"""The few statistics that tables print: spread over seeds, and sampling error over documents.

The two are different things. Seeds redraw the calibration data and keep the documents; the standard
error says how far an accuracy over so few documents may lie from that over all of them.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) over seeds; one seed has no deviation."""

    mean: float
    std: float | None
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Summarize one measurement per seed.

    Args:
        values: at least one finite number.
    """
    std = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), std, len(values))


def macro_average_stderr(stderrs: Sequence[float]) -> float:
    """Return the standard error of a mean over tasks: sqrt(sum of squares) / number of tasks.

    The documents of different tasks are independent draws, so the variances add.
    """
    return math.sqrt(math.fsum(stderr**2 for stderr in stderrs)) / len(stderrs)
