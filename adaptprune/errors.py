"""The one exception that users are meant to see, and help with misspelt names."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pydantic

#: Exit status of a command that Ctrl-C ended, and what it says then.
INTERRUPTED, STOPPED = 130, "stopped; run the same command to go on"


class UserError(Exception):
    """A mistake in the input, told in one line that names the culprit and what is allowed.

    The command line prints the message without a traceback and exits with status 2.
    """


class NumericalError(Exception):
    """A loss, score or weight that is not finite: the cell fails, the others go on."""


def unknown(kind: str, name: object, allowed: Iterable[str]) -> UserError:
    """Build the error for a name that is not known, with the nearest valid one.

    Args:
        kind: what the name stands for, e.g. ``"method"``.
        name: what was asked for; YAML may make a number of it, or nothing.
        allowed: every valid name.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {kind} {name!r}{hint} (allowed: {', '.join(names) or 'none'})")


def refusal(error: pydantic.ValidationError, whole: str = "the file") -> str:
    """Return ``place: reason`` of the first thing that a schema refused.

    Args:
        error: what the schema raised.
        whole: what the place is called where it is no single key.
    """
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or whole
    return f"{place}: {first['msg']}"
