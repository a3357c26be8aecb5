"""How wide the vectors are that torch computes with, for methods to which the last bits matter.

The package has torch compute with AVX2 on every x86 machine, so that machines agree. The official
figures of methods that choose between single weights were computed with vectors of 512 bits: the
attention is rounded otherwise, and one choice between two nearly equal weights changes all that
follow. Torch reads the width once, when it is imported. Torch-free.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from adaptprune.errors import UserError
from adaptprune.pruning.registry import find_method

_CPU = Path("/proc/cpuinfo")
#: What torch asks of a CPU before it takes vectors of 512 bits.
_NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}


def take_official_vectors(arguments: list[str]) -> bool:
    """Let a command that prunes compute with the vectors of its method's official figures.

    Nothing is changed for other methods and commands, for a CPU without such vectors, or where
    the user has set ``ATEN_CPU_CAPABILITY``.

    Args:
        arguments: of the command line, without the program's name.

    Returns:
        Whether the environment was changed. Only torch that is imported afterwards heeds it.
    """
    if arguments[:1] != ["prune"] or "ADAPTPRUNE_VECTORS" not in os.environ:
        return False
    named = [value for key, value in itertools.pairwise(arguments) if key == "--method"]
    named += [part.partition("=")[2] for part in arguments if part.startswith("--method=")]
    try:
        wide = any(find_method(name.partition("@")[0]).wide_vectors for name in named)
    except UserError:
        return False  # the command tells
    if not wide or not _has_wide_vectors():
        return False
    os.environ["ATEN_CPU_CAPABILITY"] = "avx512"
    return True


def _has_wide_vectors() -> bool:
    try:
        flags = next(line for line in _CPU.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return set(flags.split()) >= _NEEDED
