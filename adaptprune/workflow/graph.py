"""What a graph of 10,000 cells needs of Python.

``benchmarks/scale.py`` resolves it in 18 s of CPU time on the machine where this was written. It
takes 22 s where garbage is looked for meanwhile, and 21 s without stored signatures.
"""

from __future__ import annotations

import functools
import gc
import inspect


def collect_no_garbage() -> None:
    """Let Python not look for garbage while the graph is built: its millions of objects stay."""
    gc.disable()


def collect_garbage() -> None:
    """Look for it again, but never in the graph, which is complete."""
    gc.freeze()
    gc.enable()


class RuleFunctions:
    """Base of objects whose public methods are the functions of rules.

    Snakemake asks for the signatures of a rule's functions at every job, about 20 times. That of a
    method is found in 30 microseconds, a stored one in 3.
    """

    def __init__(self) -> None:
        for name, function in inspect.getmembers(type(self), inspect.isfunction):
            if not name.startswith("_"):
                bound = functools.partial(function, self)
                signature = inspect.signature(getattr(self, name))
                vars(bound)["__signature__"] = signature
                vars(self)[name] = bound
