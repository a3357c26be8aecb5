"""Metrics that rank single weights, and the rules of one-shot pruning that are made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from adaptprune.errors import NumericalError
from adaptprune.pruning import choice
from adaptprune.pruning.statistics import Hessian, InputNorms

if TYPE_CHECKING:
    import torch

    from adaptprune.pruning.choice import Quirk
    from adaptprune.pruning.patterns import Pattern


def magnitude(weight: torch.Tensor) -> torch.Tensor:
    """Return |W| [outputs, inputs], float32."""
    return weight.float().abs()


def wanda(weight: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Return |W| · ‖x‖ [outputs, inputs], float32 (Wanda, equation 1).

    Args:
        weight: [outputs, inputs].
        squares: squared norm of every input [inputs].
    """
    return magnitude(weight) * squares.sqrt()


@dataclass
class Choice:
    """What a rule decided of one weight matrix.

    Args:
        pruned: which weights go [outputs, inputs].
        weight: the updated matrix, or None where what stays is unchanged.
        log: JSON-able figures of how it came about.
    """

    pruned: torch.Tensor
    weight: torch.Tensor | None = None
    log: dict[str, Any] = field(default_factory=dict)


class Rule(ABC):
    """How one weight matrix is pruned, given the statistics of its inputs."""

    #: What is gathered of the inputs, or None where the weights suffice.
    statistics: ClassVar[type[InputNorms] | type[Hessian] | None] = None

    @abstractmethod
    def choose(self, weight: torch.Tensor, statistics: Any) -> Choice:
        """Decide which weights of a matrix [outputs, inputs] go.

        Raises:
            NumericalError: a weight or a statistic is not finite.
        """


def _finite(metric: torch.Tensor) -> torch.Tensor:
    if not metric.isfinite().all():
        raise NumericalError("the metric of a weight is not finite")
    return metric


@dataclass(frozen=True)
class ByMagnitude(Rule):
    """Prune the smallest weights of a matrix, or of every group.

    Args:
        pattern: what stays.
        sparsity: percent, for an unstructured pattern.
        ties: see ``choice.smallest_of_groups``.
        threshold: see ``choice.smallest_of_matrix``.
    """

    pattern: Pattern
    sparsity: int
    ties: Quirk
    threshold: Quirk

    def choose(self, weight: torch.Tensor, statistics: Any) -> Choice:
        """Rank the weights by their absolute value."""
        metric = _finite(magnitude(weight))
        if self.pattern:
            return Choice(choice.smallest_of_groups(metric, self.pattern, self.ties))
        return Choice(choice.smallest_of_matrix(metric, self.sparsity, self.threshold))


@dataclass(frozen=True)
class ByWanda(Rule):
    """Prune the weights of a row, or of every group, that carry the least signal.

    Args:
        pattern: what stays.
        sparsity: percent, for an unstructured pattern.
        ties: see ``choice.smallest_of_groups``.
        use_variant: whether rows may differ, see ``choice.smallest_sums_of_rows``.
    """

    statistics = InputNorms

    pattern: Pattern
    sparsity: int
    ties: Quirk
    use_variant: bool = False

    def choose(self, weight: torch.Tensor, statistics: InputNorms) -> Choice:
        """Rank the weights by |W| · ‖x‖."""
        metric = _finite(wanda(weight, statistics.squares))
        log = {"input_norms": statistics.squares.double().sum().item()}
        if self.pattern:
            return Choice(choice.smallest_of_groups(metric, self.pattern, self.ties), log=log)
        choose = choice.smallest_sums_of_rows if self.use_variant else choice.smallest_of_rows
        return Choice(choose(metric, self.sparsity), log=log)
