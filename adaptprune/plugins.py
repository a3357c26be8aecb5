"""Plug-ins: what methods of pruning and of recovery share, and how both are found by name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import inspect
import re
import traceback
from abc import ABC
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pydantic

from adaptprune.errors import NumericalError, UserError, refusal, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.metadata import EntryPoint


class Parameters(pydantic.BaseModel):
    """Base of every method's parameters: closed, frozen, checked."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def seed_for(scope: str, seed: int) -> int:
    """Return the seed of a random generator for one purpose, independent of other purposes."""
    return int.from_bytes(hashlib.sha256(f"{scope}:{seed}".encode()).digest()[:7], "big")


class Plugin(ABC):
    """What methods of pruning and of recovery share: a name, a version, closed parameters."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: Bump whenever a change of the code changes a number: it makes exactly its cells run again.
    version: ClassVar[int]
    citation: ClassVar[str]
    parameters: ClassVar[type[Parameters]] = Parameters

    def parse(self, settings: dict[str, Any]) -> Any:
        """Build the method's parameters from a mapping.

        Raises:
            UserError: an unknown key (the nearest valid one is named) or a refused value.
        """
        for key in settings:
            if key not in self.parameters.model_fields:
                raise unknown(f"parameter of {self.name}", key, self.parameters.model_fields)
        try:
            return self.parameters(**settings)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            value = f" (got {first['input']!r})" if first["loc"] else ""
            raise UserError(f"{self.name}: {refusal(error, 'parameters')}{value}") from None


def source_file(method: Plugin) -> str | None:
    """Return the file that a method's class stands in; None of one in a notebook."""
    try:
        return inspect.getfile(type(method))
    except (TypeError, OSError):
        return None


@contextlib.contextmanager
def in_one_line(method: Plugin) -> Iterator[None]:
    """Turn whatever a method raises into one line with the place in its own file.

    Raises:
        UserError: the method raised something that is neither a mistake in the input nor a
            number that is not finite, or ended the process.
    """
    try:
        yield
    except (UserError, NumericalError):
        raise
    except (Exception, SystemExit) as error:
        own = source_file(method)
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
        message = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"method {method.name!r} failed: {type(error).__name__}: {message} "
            f"({Path(place.filename).name}:{place.lineno})"
        ) from error


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
            f"adaptprune.plugins.Parameters, not {parameters!r}"
        )


Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """What is found by name: installed packages' entry points, and what was registered by hand.

    An entry point is imported when its name is first asked for.

    Args:
        group: of the entry points.
        kind: what an entry is called in messages.
        base: the class that an entry must be an instance of.
        check: refuses an entry; is told it and where it comes from.
    """

    def __init__(
        self,
        group: str,
        kind: str,
        base: type[Any],
        check: Callable[[Any, str], None] = lambda entry, source: None,
    ):
        self.group = group
        self.kind = kind
        self.base = base
        self.check = check
        self.forget()

    def forget(self) -> None:
        """Know nothing but what is installed; for tests."""
        self._points: dict[str, EntryPoint] | None = None
        self._found: dict[str, Entry] = {}
        #: Registered by hand: name → (entry, the file it comes from).
        self._registered: dict[str, tuple[Entry, str]] = {}

    def installed(self) -> dict[str, EntryPoint]:
        """Return the installed entries by name, not imported yet.

        Raises:
            UserError: two distributions claim one name.
        """
        if self._points is None:
            points: dict[str, EntryPoint] = {}
            for point in sorted(importlib.metadata.entry_points(group=self.group)):
                other = points.setdefault(point.name, point)
                if other.value != point.value:
                    raise UserError(
                        f"{self.kind} {point.name!r} is claimed twice: {other.value} and "
                        f"{point.value}"
                    )
            self._points = points
        return self._points

    def register(self, entry: Entry, source: str) -> None:
        """Make an entry known by its name for the life of this process.

        Args:
            entry: not from an installed package.
            source: the file it comes from.

        Raises:
            UserError: its name is no name for folders, or that of another entry.
        """
        name = getattr(entry, "name", None)
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise UserError(
                f"{source}: {self.kind} name {name!r}; it must be letters, digits, '.', '_' and '-'"
            )
        self.check(entry, source)
        if name in self.installed():
            raise UserError(
                f"{source}: {name!r} is a {self.kind} of {self.origin(name)}; choose another name"
            )
        if name in self._registered and self._registered[name][1] != source:
            other = self._registered[name][1]
            raise UserError(f"{self.kind} {name!r} is claimed twice: {other} and {source}")
        self._registered[name] = (entry, source)

    def origin(self, name: str) -> str:
        """Return the distribution that an entry comes from, with its version; or its file."""
        if name in self._registered:
            return self._registered[name][1]
        distribution = self.installed()[name].dist
        return f"{distribution.name} {distribution.version}" if distribution else "unknown"

    def find(self, name: str) -> Entry:
        """Return the entry of a name.

        Raises:
            UserError: there is none, or its module cannot be imported or holds something else.
        """
        if name in self._registered:
            return self._registered[name][0]
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def _load(self, name: str) -> Entry:
        points = self.installed()
        if name not in points:
            raise unknown(self.kind, name, [*points, *self._registered])
        try:
            entry: Any = points[name].load()
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{self.kind} {name!r} from {self.origin(name)} cannot be imported: "
                f"{type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        if not isinstance(entry, self.base) or entry.name != name:
            raise UserError(
                f"entry point {name!r} ({points[name].value}) must be a {self.base.__name__} "
                f"instance named {name!r}"
            )
        self.check(entry, points[name].value)
        found: Entry = entry
        return found
