"""The methods of recovery training, found by their entry points."""

from __future__ import annotations

from adaptprune.plugins import Registry, check_declared
from adaptprune.recovery.method import RecoveryMethod

RECOVERIES: Registry[RecoveryMethod] = Registry(
    "adaptprune.recoveries", "recovery method", RecoveryMethod, check_declared
)


def find_recovery(name: str) -> RecoveryMethod:
    """Return the method of recovery training of a name.

    Raises:
        UserError: no such method, or its module cannot be imported or holds something else.
    """
    return RECOVERIES.find(name)
