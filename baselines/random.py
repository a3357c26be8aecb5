"""Random pruning: units ranked by chance; the floor every method must clear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.pruning.uniform import UniformMethod, UniformParameters, named_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.pruning.method import Context, Scores


class Random(UniformMethod):
    """Keep units drawn at random, the same ones at every machine for a seed."""

    name = "random"
    title = "Random"
    version = 1
    citation = "-"
    needs_calibration = False

    def score(
        self,
        model: Any,
        context: Context,
        parameters: UniformParameters,
        sparsities: Sequence[int],
    ) -> Scores:
        """Draw a random permutation of the units of every layer."""
        import torch

        from adaptprune.models.sizes import shape_of_model

        generator = context.generator("random-units")
        heads, neurons = [], []
        for block in shape_of_model(model).blocks:
            heads.append(torch.randperm(block.kv_heads, generator=generator))
            neurons.append(torch.randperm(block.intermediate_size, generator=generator))
        return named_scores(heads, neurons)


SPEC = Random()
