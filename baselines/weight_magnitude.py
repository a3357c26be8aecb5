"""Magnitude pruning of single weights (Han et al. 2015), as the Wanda repository runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from adaptprune.pruning.oneshot import OneShotMethod, OneShotParameters

if TYPE_CHECKING:
    from adaptprune.pruning.metrics import Rule
    from adaptprune.pruning.patterns import Pattern


class WeightMagnitudeParameters(OneShotParameters):
    """Parameters of magnitude pruning.

    ``threshold`` (unstructured): official prunes every weight that is not above the one at the
    place where the share ends: one too many, and all ties; ``corrected`` prunes the share exactly.
    """

    threshold: Literal["official", "corrected"] = "official"


class WeightMagnitude(OneShotMethod):
    """Zero the smallest weights of every matrix, or of every N:M group."""

    name = "weight-magnitude"
    title = "Weight magnitude"
    version = 1
    citation = "Han et al. 2015, arXiv 1506.02626"
    parameters = WeightMagnitudeParameters
    needs_calibration = False

    def rule(self, pattern: Pattern, sparsity: int, parameters: WeightMagnitudeParameters) -> Rule:
        """Rank by |W|."""
        from adaptprune.pruning.metrics import ByMagnitude

        return ByMagnitude(pattern, sparsity, parameters.ties, parameters.threshold)


SPEC = WeightMagnitude()
