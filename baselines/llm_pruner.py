"""LLM-Pruner (Ma et al. 2023): one gradient pass, Taylor importance of coupled groups, one cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from baselines.uniform import UniformMethod, UniformParameters, named_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.method import Context, Scores


class LLMPrunerParameters(UniformParameters):
    """Parameters of LLM-Pruner.

    The Adapt-Pruner paper's counts follow from cutting all layers at the ratio of the sparsity;
    LLM-Pruner's own scripts spare the first four and last layers of LLaMA.
    """

    alignment: Literal["official", "corrected"] = "official"


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
        from adaptprune.importance import group_importance
        from adaptprune.surgery import shape_of_model

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


SPEC = LLMPruner()
