"""A printed parameter count, and what its method says about it without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.models.catalogue import shape_of
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from adaptprune.pruning.method import Budget
    from adaptprune.results.published import Printed


def counts_of(numbers: list[Printed], table: int, method: str) -> list[Printed]:
    """Return the printed parameter counts of one method in one table."""
    return [n for n in numbers if (n.table, n.method, n.key) == (table, method, "params")]


def budget_of(number: Printed, **settings: Any) -> Budget:
    """Return what the architecture says about a printed count, with a method's settings."""
    method = find_method(number.method)
    return method.budget(shape_of(number.model_id), number.sparsity, method.parse(settings))
