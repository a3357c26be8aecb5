"""The model as it is: the first row of every table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.models.anatomy import stock_family
from adaptprune.models.shapes import FAMILIES
from adaptprune.pruning.method import Budget, Context, Method, Pruned, Scores
from adaptprune.pruning.units import KeptUnits

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.plugins import Parameters
    from adaptprune.pruning.decisions import Decision


class Dense(Method):
    """No pruning; the only method with sparsity 0."""

    name = "dense"
    title = "Dense"
    version = 1
    citation = "-"
    needs_calibration = False
    needs_shape = False

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
    ) -> Pruned | Decision:
        """Keep everything: all units, or the model where its family has none."""
        from adaptprune.models.sizes import shape_of_model
        from adaptprune.pruning.decisions import Sliced

        if stock_family(model.config.model_type) not in FAMILIES:
            return Sliced(model)
        return Pruned(KeptUnits.everything(shape_of_model(model)))

    def budget(self, shape: ModelShape, sparsity: int, parameters: Parameters) -> Budget:
        """Return the dense count."""
        return Budget.exact(shape, shape.blocks)

    def budget_of(self, skeleton: Any, sparsity: int, parameters: Parameters) -> Budget:
        """Return the dense count of a model of any family."""
        from adaptprune.models.sizes import ModelSize

        size = ModelSize.of(skeleton)
        return Budget(size.parameters, size.parameters, size.decoder)


SPEC = Dense()
