"""How often this machine gets something done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def repetitions_per_second(work: Callable[[], None], seconds: float) -> float:
    """Do something again and again for some seconds, once before to warm up."""
    work()
    start, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds or count == 0:
        work()
        count += 1
    return count / passed
