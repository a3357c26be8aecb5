"""Magnitude pruning: the squared norm of a unit's weights; a sanity floor without data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.pruning.uniform import UniformMethod, UniformParameters, named_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.pruning.method import Context, Scores


class Magnitude(UniformMethod):
    """Keep the units whose coupled weights have the largest squared L2 norm."""

    name = "magnitude"
    title = "Magnitude"
    version = 1
    citation = "Han et al. 2015, arXiv 1506.02626, for groups"
    needs_calibration = False

    def score(
        self,
        model: Any,
        context: Context,
        parameters: UniformParameters,
        sparsities: Sequence[int],
    ) -> Scores:
        """Sum squared weights over each kv head's and each neuron's coupled channels."""
        from adaptprune.models.anatomy import layers_of

        heads, neurons = [], []
        for layer in layers_of(model):
            kv_heads = layer.key.out_features // layer.head_dim
            rows = [
                projection.weight.detach().float().pow(2).sum(1).view(kv_heads, -1).sum(1)
                for projection in (layer.query, layer.key, layer.value)
            ]
            output = layer.output.weight.detach().float().pow(2).sum(0)
            heads.append(sum(rows) + output.view(kv_heads, -1).sum(1))
            neurons.append(
                layer.gate.weight.detach().float().pow(2).sum(1)
                + layer.up.weight.detach().float().pow(2).sum(1)
                + layer.down.weight.detach().float().pow(2).sum(0)
            )
        return named_scores(heads, neurons)


SPEC = Magnitude()
