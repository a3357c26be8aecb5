"""The registry of methods: one entry-point group for this repository's and everyone's methods."""

from __future__ import annotations

import functools
import importlib.metadata
import re

from adaptprune.errors import UserError, unknown
from adaptprune.method import Method

GROUP = "adaptprune.methods"

#: Methods that were registered by hand: name → (method, the file it comes from).
_registered: dict[str, tuple[Method, str]] = {}


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


def register(method: Method, source: str) -> None:
    """Make a method known by its name for the life of this process.

    Args:
        method: not from an installed package.
        source: the file it comes from.

    Raises:
        UserError: its name is no name for folders, or that of another method.
    """
    name = getattr(method, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(
            f"{source}: method name {name!r}; it must be letters, digits, '.', '_' and '-'"
        )
    if name in entry_points():
        raise UserError(f"{source}: {name!r} is a method of {origin(name)}; choose another name")
    if name in _registered and _registered[name][1] != source:
        raise UserError(f"method {name!r} is claimed twice: {_registered[name][1]} and {source}")
    _registered[name] = (method, source)
    find_method.cache_clear()


def origin(name: str) -> str:
    """Return the distribution that a method comes from, with its version; or its file."""
    if name in _registered:
        return _registered[name][1]
    distribution = entry_points()[name].dist
    return f"{distribution.name} {distribution.version}" if distribution else "unknown"


@functools.cache
def find_method(name: str) -> Method:
    """Return the method of a name (without a variant).

    Raises:
        UserError: no such method, or its module cannot be imported or holds something else.
    """
    if name in _registered:
        return _registered[name][0]
    points = entry_points()
    if name not in points:
        raise unknown("method", name, [*points, *_registered])
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


def split_variant(method: str) -> tuple[str, str | None]:
    """Split ``name@variant`` into its parts; a plain name has no variant."""
    name, separator, variant = method.partition("@")
    return name, variant if separator else None
