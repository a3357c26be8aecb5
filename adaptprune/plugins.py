"""Plug-ins: what methods of pruning and of recovery share, and how both are found by name."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import traceback
from abc import ABC
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from adaptprune.errors import NumericalError, UserError, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator


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
            where = ".".join(str(part) for part in first["loc"]) or "parameters"
            value = f" (got {first['input']!r})" if first["loc"] else ""
            raise UserError(f"{self.name}: {where}: {first['msg']}{value}") from None


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
        own = inspect.getfile(type(method))
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
        message = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"method {method.name!r} failed: {type(error).__name__}: {message} "
            f"({Path(place.filename).name}:{place.lineno})"
        ) from error
