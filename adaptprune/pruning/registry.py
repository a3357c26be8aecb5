"""The pruning methods: this repository's and everyone's come through the same entry points."""

from __future__ import annotations

from adaptprune.cells import split_variant
from adaptprune.plugins import Registry, check_declared
from adaptprune.pruning.method import Method

METHODS: Registry[Method] = Registry("adaptprune.methods", "method", Method, check_declared)


def find_method(name: str) -> Method:
    """Return the pruning method of a name (without a variant).

    Raises:
        UserError: no such method, or its module cannot be imported or holds something else.
    """
    return METHODS.find(name)


def method_title(method: str) -> str:
    """Return the printed name of ``name`` or ``name@variant``."""
    name, variant = split_variant(method)
    title = find_method(name).title
    return f"{title} ({variant})" if variant else title
