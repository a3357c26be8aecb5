"""The registries of methods: this repository's and everyone's come through the same entry points.

Pruning methods are found in the group ``adaptprune.methods``, methods of recovery training in
``adaptprune.recoveries``.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from typing import TYPE_CHECKING

from adaptprune.cells import split_variant
from adaptprune.errors import UserError, unknown
from adaptprune.plugins import Parameters, Plugin
from adaptprune.pruning.method import Method
from adaptprune.recovery.method import RecoveryMethod

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "adaptprune.methods"
RECOVERIES = "adaptprune.recoveries"

#: Methods that were registered by hand: name → (method, the file it comes from).
_registered: dict[str, tuple[Method, str]] = {}


@functools.cache
def entry_points(group: str = GROUP) -> dict[str, EntryPoint]:
    """Return the installed methods of a group by name, not imported yet.

    Raises:
        UserError: two distributions claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(importlib.metadata.entry_points(group=group), key=lambda p: p.name):
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
    check_declared(method, source)
    if name in entry_points():
        raise UserError(f"{source}: {name!r} is a method of {origin(name)}; choose another name")
    if name in _registered and _registered[name][1] != source:
        raise UserError(f"method {name!r} is claimed twice: {_registered[name][1]} and {source}")
    _registered[name] = (method, source)
    find_method.cache_clear()


def check_declared(method: Plugin, source: str) -> None:
    """Refuse a method whose class attributes are not those of a method.

    Args:
        method: to be registered.
        source: where it comes from, for the message.

    Raises:
        UserError: names the attribute and what it must be.
    """
    kinds = {"title": str, "version": int, "citation": str}
    for attribute, kind in kinds.items():
        value = getattr(method, attribute, None)
        if type(value) is not kind:
            raise UserError(
                f"{source}: {attribute} of method {method.name!r} must be of type "
                f"{kind.__name__}, not {value!r}"
            )
    parameters = method.parameters
    if not (isinstance(parameters, type) and issubclass(parameters, Parameters)):
        raise UserError(
            f"{source}: parameters of method {method.name!r} must be a class derived from "
            f"adaptprune.pruning.method.Parameters, not {parameters!r}"
        )


def origin(name: str, group: str = GROUP) -> str:
    """Return the distribution that a method comes from, with its version; or its file."""
    if group == GROUP and name in _registered:
        return _registered[name][1]
    distribution = entry_points(group)[name].dist
    return f"{distribution.name} {distribution.version}" if distribution else "unknown"


@functools.cache
def find_method(name: str) -> Method:
    """Return the pruning method of a name (without a variant).

    Raises:
        UserError: no such method, or its module cannot be imported or holds something else.
    """
    if name in _registered:
        return _registered[name][0]
    method = _load(GROUP, "method", name, Method)
    assert isinstance(method, Method), "_load has checked it"
    return method


@functools.cache
def find_recovery(name: str) -> RecoveryMethod:
    """Return the method of recovery training of a name.

    Raises:
        UserError: no such method, or its module cannot be imported or holds something else.
    """
    method = _load(RECOVERIES, "recovery method", name, RecoveryMethod)
    assert isinstance(method, RecoveryMethod), "_load has checked it"
    return method


def _load(group: str, kind: str, name: str, base: type[Plugin]) -> Plugin:
    points = entry_points(group)
    if name not in points:
        raise unknown(kind, name, [*points, *(_registered if group == GROUP else [])])
    try:
        method = points[name].load()
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{kind} {name!r} from {origin(name, group)} cannot be imported: "
            f"{type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(method, base) or method.name != name:
        raise UserError(
            f"entry point {name!r} ({points[name].value}) must be a {base.__name__} instance "
            f"named {name!r}"
        )
    check_declared(method, points[name].value)
    return method


def method_title(method: str) -> str:
    """Return the printed name of ``name`` or ``name@variant``."""
    name, variant = split_variant(method)
    title = find_method(name).title
    return f"{title} ({variant})" if variant else title
