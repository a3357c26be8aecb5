"""Base class of methods that zero single weights in one shot: the file of one names its rule."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from adaptprune.models.anatomy import expected_weight_shapes
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Context, Method, Passes, Pruned, Scores
from adaptprune.pruning.patterns import UNSTRUCTURED, Pattern, PatternText

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.decisions import Masked
    from adaptprune.pruning.metrics import Rule


class OneShotParameters(Parameters):
    """What all of them know; plain values are the official codes'.

    ``pattern``: what stays, ``N:M`` or ``unstructured``. ``ties``: official leaves equal values in
    a group to torch's topk, whose choice depends on the device; ``corrected`` prunes the first.
    """

    pattern: PatternText = UNSTRUCTURED
    ties: Literal["official", "corrected"] = "official"


class OneShotMethod(Method):
    """One rule for every matrix of the decoder blocks; embeddings, head and norms stay."""

    needs_shape = False
    parameters: ClassVar[type[OneShotParameters]] = OneShotParameters

    @abstractmethod
    def rule(self, pattern: Pattern, sparsity: int, parameters: Any) -> Rule:
        """Return how one matrix is pruned."""

    def check(self, sparsity: int, parameters: OneShotParameters) -> None:
        """Refuse a sparsity that contradicts the pattern, too."""
        super().check(sparsity, parameters)
        Pattern.parse(parameters.pattern).check_sparsity(sparsity)

    def passes(self, shape: ModelShape, sparsity: int, parameters: OneShotParameters) -> Passes:
        """Every layer is passed before and after it is pruned."""
        return Passes(forward=2 * self.needs_calibration)

    def budget(self, shape: ModelShape, sparsity: int, parameters: OneShotParameters) -> Budget:
        """Return the dense count: zeros are parameters too.

        Raises:
            UserError: the pattern does not divide a row.
        """
        Pattern.parse(parameters.pattern).check_rows(expected_weight_shapes(shape))
        return Budget.exact(shape, shape.blocks)

    def budget_of(self, skeleton: Any, sparsity: int, parameters: OneShotParameters) -> Budget:
        """Return the same of any model with an anatomy.

        Raises:
            UserError: the pattern does not divide a row.
        """
        from adaptprune.models.anatomy import weight_shapes
        from adaptprune.models.sizes import ModelSize

        Pattern.parse(parameters.pattern).check_rows(weight_shapes(skeleton))
        size = ModelSize.of(skeleton)
        return Budget(size.parameters, size.parameters, size.decoder)

    def decide(
        self, model: Any, sparsity: int, context: Context, parameters: Any
    ) -> tuple[Masked, list[dict[str, Any]]]:
        """Prune a model in place; return the decision, and a log of every linear layer.

        Raises:
            UserError: the model's family has no anatomy, or the pattern does not divide a row.
            NumericalError: a weight or an input is not finite.
        """
        from adaptprune.pruning.layerwise import prune_weights

        pattern = Pattern.parse(parameters.pattern)
        return prune_weights(
            model,
            context.tokens,
            self.rule(pattern, sparsity, parameters),
            pattern,
            getattr(parameters, "sequential", "official"),
        )

    def prune(
        self, model: Any, scores: Scores | None, sparsity: int, context: Context, parameters: Any
    ) -> Pruned:
        """Return the masks, and the weights that were updated."""
        from adaptprune.pruning.masks import masks_hash

        decision, log = self.decide(model, sparsity, context, parameters)
        weights = sum(mask.weights for mask in decision.masks.values())
        note = (
            f"{weights - decision.kept} of {weights} weights of linear layers are zero (pattern "
            f"{decision.pattern}, masks {masks_hash(decision.masks)[:12]})"
        )
        return Pruned(decision=decision, steps=log, notes=[note])
