"""Wanda (Sun et al. 2023): zero the weights whose |W| times the norm of their input is smallest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from adaptprune.errors import UserError
from adaptprune.pruning.oneshot import OneShotMethod, OneShotParameters
from adaptprune.pruning.patterns import UNSTRUCTURED

if TYPE_CHECKING:
    from adaptprune.pruning.metrics import Rule
    from adaptprune.pruning.patterns import Pattern


class WandaParameters(OneShotParameters):
    """Parameters of Wanda.

    ``sequential``: official takes the statistics of a layer's matrices from one pass of the dense
    layer; ``corrected`` prunes those that read one input before it looks at the next ones' inputs.
    ``use_variant`` (unstructured): rows lose a share of their summed metric in place of a number
    of weights, as with the official switch of that name.
    """

    sequential: Literal["official", "corrected"] = "official"
    use_variant: bool = False


class Wanda(OneShotMethod):
    """Zero the weights of every row, or of every N:M group, that carry the least signal."""

    name = "wanda"
    title = "Wanda"
    version = 1
    citation = "Wanda, arXiv 2306.11695"
    parameters = WandaParameters
    wide_vectors = True

    def check(self, sparsity: int, parameters: Any) -> None:
        """Refuse the variant with N:M groups, and what it cannot reach, too."""
        super().check(sparsity, parameters)
        if parameters.use_variant and parameters.pattern != UNSTRUCTURED:
            raise UserError(
                f"wanda: use_variant goes with pattern {UNSTRUCTURED!r} alone, not "
                f"{parameters.pattern!r}"
            )

    def rule(self, pattern: Pattern, sparsity: int, parameters: WandaParameters) -> Rule:
        """Rank by |W| times the norm of the input."""
        from adaptprune.pruning.metrics import ByWanda

        return ByWanda(pattern, sparsity, parameters.ties, parameters.use_variant)


SPEC = Wanda()
