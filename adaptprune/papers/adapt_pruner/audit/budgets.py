"""A printed parameter count, and what its method says about it without weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.models.catalogue import shape_of
from adaptprune.pruning.registry import find_method
from adaptprune.report.statements import billions, lies_within

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


def as_printed(number: Printed) -> str:
    """Print a count as the paper does."""
    return f"{number.value:.2f}B"


def span(least: float, most: float) -> str:
    """Print a range of counts."""
    return f"{billions(least)} to {billions(most)}"


def within(number: Printed, budget: Budget) -> bool:
    """Say whether a printed count can stand for one of those that a method may leave."""
    return lies_within(number.value, budget.minimum, budget.maximum)
