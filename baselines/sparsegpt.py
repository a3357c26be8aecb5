"""SparseGPT (Frantar and Alistarh 2023): zero weights and let the others make up for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pydantic

from adaptprune.errors import UserError
from adaptprune.pruning.oneshot import OneShotMethod, OneShotParameters
from adaptprune.pruning.patterns import Pattern

if TYPE_CHECKING:
    from adaptprune.pruning.metrics import Rule


class SparseGPTParameters(OneShotParameters):
    """Parameters of SparseGPT.

    ``threshold`` (unstructured): official prunes every weight of a block that is not above the one
    at the place where the share ends: one too many, and all ties; ``corrected`` prunes the share
    exactly. ``sequential``: official takes the statistics of a layer's matrices from one pass of
    the dense layer; ``corrected`` prunes those that read one input before it looks at the next
    ones' inputs. ``factorisation``: the Hessian is summed in float32; in which precision it is
    factored.
    """

    threshold: Literal["official", "corrected"] = "official"
    sequential: Literal["official", "corrected"] = "official"
    block_size: int = pydantic.Field(128, ge=1, description="columns updated at once")
    damping: float = pydantic.Field(0.01, ge=0, description="of the Hessian's mean diagonal")
    factorisation: Literal["float32", "float64"] = "float32"


class SparseGPT(OneShotMethod):
    """Zero weights by their saliency w² / [H⁻¹]², column by column with optimal updates."""

    name = "sparsegpt"
    title = "SparseGPT"
    version = 1
    citation = "SparseGPT, arXiv 2301.00774"
    parameters = SparseGPTParameters
    wide_vectors = True

    def check(self, sparsity: int, parameters: Any) -> None:
        """Refuse groups that would lie across two blocks of columns, too."""
        super().check(sparsity, parameters)
        pattern = Pattern.parse(parameters.pattern)
        if pattern and parameters.block_size % pattern.group:
            raise UserError(
                f"sparsegpt: block_size {parameters.block_size} is no multiple of the "
                f"{pattern.group} weights of a group of the pattern {pattern}"
            )

    def rule(self, pattern: Pattern, sparsity: int, parameters: SparseGPTParameters) -> Rule:
        """Rank by the saliency, and update."""
        import torch

        from adaptprune.pruning.reconstruction import BySparseGPT

        return BySparseGPT(
            pattern,
            sparsity,
            parameters.ties,
            parameters.threshold,
            parameters.block_size,
            parameters.damping,
            getattr(torch, parameters.factorisation),
        )


SPEC = SparseGPT()
