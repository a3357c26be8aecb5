"""The model as it is: the first row of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.pruning.method import Budget, Context, Method, Pruned, Scores
from adaptprune.pruning.units import KeptUnits

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.plugins import Parameters


class Dense(Method):
    """No pruning; the only method with sparsity 0."""

    name = "dense"
    title = "Dense"
    version = 1
    citation = "-"
    needs_calibration = False

    def check(self, sparsity: int, parameters: Parameters) -> None:
        """Allow sparsity 0 alone."""
        if sparsity != 0:
            raise UserError(f"method dense has sparsity 0 only, not {sparsity}")

    def prune(
        self,
        model: Any,
        scores: Scores | None,
        sparsity: int,
        context: Context,
        parameters: Parameters,
    ) -> Pruned:
        """Keep everything."""
        from adaptprune.models.sizes import shape_of_model

        return Pruned(KeptUnits.everything(shape_of_model(model)))

    def budget(self, shape: ModelShape, sparsity: int, parameters: Parameters) -> Budget:
        """Return the dense count."""
        return Budget.exact(shape, shape.blocks)


SPEC = Dense()
