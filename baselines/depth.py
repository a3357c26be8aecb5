"""What methods share that remove whole decoder layers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.pruning.method import Budget, Context, Method, Pruned, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.models.shapes import ModelShape


class DepthMethod(Method):
    """The least important layers go; subclasses provide ``removal_order``.

    The sparsity is that of the layers: floor(sparsity · layers / 100) of them are removed. One
    order of removal serves every sparsity.
    """

    family = "layers"

    @abstractmethod
    def removal_order(
        self, model: Any, context: Context, parameters: Any, count: int
    ) -> tuple[list[int], dict[str, Any]]:
        """Say which layers go first.

        Args:
            model: the dense model; left unchanged.
            context: calibration tokens and seed.
            parameters: of the method.
            count: how many layers will be removed at most; at least 1.

        Returns:
            At least ``count`` of the ``candidates``, the first to go first; and what a record
            should say of how they came about, JSON-able.

        Raises:
            NumericalError: an importance is not finite.
        """

    def candidates(self, layers: int, parameters: Any) -> range:
        """Return which of so many layers may be removed."""
        return range(layers)

    def count(self, layers: int, sparsity: int, parameters: Any) -> int:
        """Return how many of so many layers are removed at a sparsity (percent)."""
        return min(sparsity * layers // 100, len(self.candidates(layers, parameters)))

    def shares_scores(self, parameters: Any) -> bool:
        """The order of removal does not depend on the sparsity."""
        return True

    def score(
        self, model: Any, context: Context, parameters: Any, sparsities: Sequence[int]
    ) -> Scores:
        """Find the order of removal up to the highest sparsity."""
        import torch

        from adaptprune.models.sizes import shape_of_model

        layers = len(shape_of_model(model).blocks)
        most = self.count(layers, max(sparsities), parameters)
        order: list[int] = []
        log: dict[str, Any] = {}
        if most:
            order, log = self.removal_order(model, context, parameters, most)
        return Scores({"order": torch.tensor(order, dtype=torch.int64)}, log)

    def prune(
        self, model: Any, scores: Scores | None, sparsity: int, context: Context, parameters: Any
    ) -> Pruned:
        """Keep all units of the layers that are not among the first to go."""
        from adaptprune.models.sizes import shape_of_model
        from adaptprune.pruning.units import KeptUnits

        scores = scores or self.score(model, context, parameters, [sparsity])
        shape = shape_of_model(model)
        layers = len(shape.blocks)
        count = self.count(layers, sparsity, parameters)
        order = scores.tensors["order"].tolist()
        if len(order) < count:
            raise UserError(
                f"{self.name}: the scores list {len(order)} layers, sparsity {sparsity} takes "
                f"{count}; compute them for this sparsity too"
            )
        gone = order[:count]
        kept = KeptUnits.everything(shape).only(set(range(layers)) - set(gone))
        notes = [] if count * 100 == sparsity * layers else [_less(layers, sparsity, count)]
        return Pruned(kept, notes=notes, steps=[{"removed_layer": layer} for layer in gone])

    def budget(self, shape: ModelShape, sparsity: int, parameters: Any) -> Budget:
        """Return the exact count of layers that are alike; bounds where they differ."""
        layers = len(shape.blocks)
        count = self.count(layers, sparsity, parameters)
        if len(set(shape.blocks)) == 1 and not shape.added_biases:
            return Budget.exact(shape, shape.blocks[count:])
        may_go = self.candidates(layers, parameters)
        sizes = sorted(shape.block_parameters(shape.blocks[index]) for index in may_go)
        # A layer holds at most two biases that a method added.
        biases = shape.added_biases
        fewest = max(0, biases - 2 * shape.hidden_size * (layers - count))
        most = min(biases, 2 * shape.hidden_size * count)
        return Budget(
            shape.parameters - sum(sizes[len(sizes) - count :]) - most,
            shape.parameters - sum(sizes[:count]) - fewest,
        )


def _less(layers: int, sparsity: int, count: int) -> str:
    """Say that fewer layers went than were asked for."""
    return (
        f"{sparsity} % of {layers} layers are {sparsity * layers / 100:g}; whole layers go, and "
        f"{count} went: {100 * count / layers:.1f} %"
    )


def by_importance(importance: dict[int, float]) -> list[int]:
    """Return layers, the least important one first; of equal ones that which comes first."""
    return sorted(importance, key=lambda layer: (importance[layer], layer))
