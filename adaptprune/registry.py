"""The registry of methods: one entry-point group for this repository's and everyone's methods."""

from __future__ import annotations

import functools
import importlib.metadata

from adaptprune.errors import UserError, unknown
from adaptprune.method import Method

GROUP = "adaptprune.methods"


@functools.cache
def entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the installed methods by name, not imported yet.

    Raises:
        UserError: two distributions claim one name.
    """
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda p: p.name):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise UserError(
                f"method {point.name!r} is claimed twice: {other.value} and {point.value}"
            )
        found[point.name] = point
    return found


def origin(name: str) -> str:
    """Return the distribution that a method comes from, with its version."""
    distribution = entry_points()[name].dist
    return f"{distribution.name} {distribution.version}" if distribution else "unknown"


@functools.cache
def find_method(name: str) -> Method:
    """Return the method of a name (without a variant).

    Raises:
        UserError: no such method, or its module cannot be imported or holds something else.
    """
    points = entry_points()
    if name not in points:
        raise unknown("method", name, points)
    try:
        method = points[name].load()
    except Exception as error:
        raise UserError(
            f"method {name!r} from {origin(name)} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(method, Method) or method.name != name:
        raise UserError(
            f"entry point {name!r} ({points[name].value}) must be a Method instance named {name!r}"
        )
    return method


def method_title(method: str) -> str:
    """Return the printed name of ``name`` or ``name@variant``."""
    name, variant = split_variant(method)
    title = find_method(name).title
    return f"{title} ({variant})" if variant else title


def split_variant(method: str) -> tuple[str, str | None]:
    """Split ``name@variant`` into its parts; a plain name has no variant."""
    name, separator, variant = method.partition("@")
    return name, variant if separator else None
