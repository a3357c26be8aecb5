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
        heads, neurons = [], []
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            kv_heads = attention.k_proj.out_features // attention.head_dim
            rows = [
                projection.weight.detach().float().pow(2).sum(1).view(kv_heads, -1).sum(1)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            ]
            output = attention.o_proj.weight.detach().float().pow(2).sum(0)
            heads.append(sum(rows) + output.view(kv_heads, -1).sum(1))
            neurons.append(
                mlp.gate_proj.weight.detach().float().pow(2).sum(1)
                + mlp.up_proj.weight.detach().float().pow(2).sum(1)
                + mlp.down_proj.weight.detach().float().pow(2).sum(0)
            )
        return named_scores(heads, neurons)


SPEC = Magnitude()
