"""Reference benchmark suite for pruning of language models.

The names below are for Python and notebooks, see docs/python.md. Importing this package never
imports torch, so that listings and workflow graphs are instant: a name is imported when it is first
used.
"""

import importlib
import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from adaptprune.files.surroundings import settle
from adaptprune.moved import keep_old_names, keep_the_function

if TYPE_CHECKING:
    from adaptprune.api import (
        calibrate,
        check_method,
        compare,
        evaluate,
        load,
        methods,
        prune,
        recover,
    )
    from adaptprune.pruning.uniform import UniformMethod

__all__ = [
    "UniformMethod",
    "calibrate",
    "check_method",
    "compare",
    "evaluate",
    "load",
    "methods",
    "prune",
    "recover",
]
__version__ = version("adaptprune")

keep_old_names()
keep_the_function()

# One vector width on every x86 machine. torch's float32 log-softmax over a vocabulary depends on
# it (about 1e-5 of the loss between AVX2 and AVX-512), which is enough to swap two units whose
# importances tie. AVX2 is what the official implementations' figures were computed with, but for
# those of single weights (``adaptprune.pruning.vectors``).
if platform.machine() in ("x86_64", "AMD64") and "ATEN_CPU_CAPABILITY" not in os.environ:
    os.environ |= {"ATEN_CPU_CAPABILITY": "avx2", "ADAPTPRUNE_VECTORS": "default"}

settle()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'adaptprune' has no attribute {name!r}")
    place = "adaptprune.pruning.uniform" if name == "UniformMethod" else "adaptprune.api"
    return getattr(importlib.import_module(place), name)


def __dir__() -> list[str]:
    """Return what there is, the names that are not imported yet among it."""
    return sorted({*globals(), *__all__})
