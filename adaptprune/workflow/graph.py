"""What a graph of 10,000 cells needs of Python, and how long it takes without.

Measured by ``benchmarks/scale.py``; see `docs/architecture.md`.
"""

from __future__ import annotations

import functools
import gc
import inspect


def collect_no_garbage() -> None:
    """Let nobody look for garbage while the graph is built: its millions of objects all stay."""
    gc.disable()


def collect_garbage() -> None:
    """Look for it again, but never in the graph, which is complete."""
    gc.freeze()
    gc.enable()


class RuleFunctions:
    """Base of objects whose public methods are the functions of rules.

    Snakemake asks for the signature of a function at every job, up to a dozen times. Found anew,
    that of a method takes 30 microseconds; a stored one takes 3.
    """

    def __init__(self) -> None:
        for name, function in inspect.getmembers(type(self), inspect.isfunction):
            if not name.startswith("_"):
                bound = functools.partial(function, self)
                signature = inspect.signature(getattr(self, name))
                vars(bound)["__signature__"] = signature
                vars(self)[name] = bound
