"""Base class of methods that rank units once and cut chosen layers to one sparsity.

The file of such a method says how its units are ranked, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic

from adaptprune.models.shapes import ModelShape, layer_range, uniform_blocks
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Context, Method, Scores

if TYPE_CHECKING:
    import torch

    from adaptprune.pruning.decisions import Cut


class UniformParameters(Parameters):
    """Which layers are cut; the others stay whole and the model ends above the asked sparsity."""

    layer_start: int = pydantic.Field(0, ge=0)
    layer_end: int | None = pydantic.Field(None, ge=1, description="exclusive")


class UniformMethod(Method):
    """One ranking per layer, one sparsity for all chosen layers; subclasses provide ``score``.

    ``score`` returns ``named_scores``. A method with parameters of its own derives their class
    from ``UniformParameters``.
    """

    parameters = UniformParameters

    def shares_scores(self, parameters: UniformParameters) -> bool:
        """The ranking does not depend on the sparsity."""
        return True

    def prune(
        self,
        model: Any,
        scores: Scores | None,
        sparsity: int,
        context: Context,
        parameters: UniformParameters,
    ) -> Cut:
        """Keep the most important units of every chosen layer.

        Args:
            model: the dense model.
            scores: of ``score``, or None to compute them here.
            sparsity: percent of the prunable channels of every chosen layer.
            context: calibration tokens and seed.
            parameters: an instance of the method's ``parameters`` class.

        Raises:
            UserError: the architecture is not supported, or the layers are not among its own.
        """
        from adaptprune.models.sizes import shape_of_model
        from adaptprune.pruning.decisions import Cut
        from adaptprune.pruning.selection import keep_blocks

        scores = scores or self.score(model, context, parameters, [sparsity])
        shape = shape_of_model(model)
        count = range(len(shape.blocks))
        return Cut(
            keep_blocks(
                [scores.tensors[f"{index}.kv_heads"] for index in count],
                [scores.tensors[f"{index}.mlp"] for index in count],
                self._blocks(shape, sparsity, parameters),
            )
        )

    def budget(self, shape: ModelShape, sparsity: int, parameters: UniformParameters) -> Budget:
        """Return the exact count: it follows from the architecture."""
        return Budget.exact(shape, self._blocks(shape, sparsity, parameters))

    def _blocks(self, shape: ModelShape, sparsity: int, parameters: UniformParameters) -> Any:
        layers = layer_range(shape, parameters.layer_start, parameters.layer_end)
        return uniform_blocks(shape, sparsity / 100, layers)


def named_scores(kv_heads: list[torch.Tensor], neurons: list[torch.Tensor]) -> Scores:
    """Pack importances under the names that ``UniformMethod.prune`` reads.

    Args:
        kv_heads: per layer [kv_heads], the larger the more important.
        neurons: per layer [intermediate_size], likewise.
    """
    tensors = {f"{index}.kv_heads": heads for index, heads in enumerate(kv_heads)}
    tensors |= {f"{index}.mlp": values for index, values in enumerate(neurons)}
    return Scores({name: tensor.contiguous() for name, tensor in tensors.items()})
