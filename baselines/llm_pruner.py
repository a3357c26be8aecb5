"""LLM-Pruner (Ma et al. 2023): one gradient pass, Taylor importance of coupled groups, one cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from adaptprune.errors import UserError
from adaptprune.models.shapes import layer_range
from adaptprune.pruning.uniform import UniformMethod, UniformParameters, named_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.method import Context, Scores


class LLMPrunerParameters(UniformParameters):
    """Parameters of LLM-Pruner.

    The Adapt-Pruner paper's counts follow from cutting all layers at the ratio of the sparsity;
    LLM-Pruner's own scripts spare the first four and last layers of LLaMA.

    ``empty_cut``: the official code crashes where a sparsity takes no whole kv head from a layer
    (20 % of 3 heads, say). ``corrected`` leaves the attention of that layer whole, as the copy of
    the code in Adapt-Pruner's repository does; ``official`` refuses such a sparsity. This is the
    one quirk whose default is ``corrected``: where a head goes, as in every published run (a fifth
    or more of 8 kv heads), both do the same, and elsewhere a method that stops has no results.
    """

    alignment: Literal["official", "corrected"] = "official"
    empty_cut: Literal["official", "corrected"] = "corrected"


class LLMPruner(UniformMethod):
    """Block-wise pruning of coupled structures (LLM-Pruner, section 3, "param_first")."""

    name = "llm-pruner"
    title = "LLM-Pruner"
    version = 1
    citation = "LLM-Pruner, arXiv 2305.11627"
    parameters = LLMPrunerParameters

    def score(
        self,
        model: Any,
        context: Context,
        parameters: LLMPrunerParameters,
        sparsities: Sequence[int],
    ) -> Scores:
        """Compute group importance in one backward pass over all calibration tokens."""
        from adaptprune.models.sizes import shape_of_model
        from adaptprune.pruning.importance import group_importance

        assert context.tokens is not None, "llm-pruner needs calibration tokens"
        importance = group_importance(
            model,
            context.tokens,
            ratio=shape_of_model(model).queries_per_kv_head,
            alignment=parameters.alignment,
        )
        scores = named_scores(importance.kv_heads, importance.neurons)
        scores.log["loss"] = importance.loss
        return scores

    def _blocks(self, shape: ModelShape, sparsity: int, parameters: Any) -> Any:
        blocks = super()._blocks(shape, sparsity, parameters)
        if parameters.empty_cut == "official":
            for index in layer_range(shape, parameters.layer_start, parameters.layer_end):
                heads = shape.blocks[index].kv_heads
                if blocks[index].kv_heads == heads:
                    raise UserError(
                        f"llm-pruner: sparsity {sparsity} takes none of the {heads} kv heads of "
                        f"layer {index}, where the official code crashes; empty_cut=corrected "
                        "leaves them whole"
                    )
        return blocks


SPEC = LLMPruner()
