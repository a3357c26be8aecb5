"""What a run says of Adapt-Pruner beside the pruners that the paper sets it against."""

from __future__ import annotations

import functools
from dataclasses import fields

import pandas as pd

from adaptprune.comparison.paired import Cells, Pairing, Place, compare_pairings
from adaptprune.papers.adapt_pruner import PAPER
from adaptprune.report.evidence import Evidence
from adaptprune.workflow.papers import published_file

#: The paper's own method, and the ones that it is set against.
OURS = "adapt-pruner"
BASELINES = ("llm-pruner", "flap", "slicegpt")


class PruningEvidence(Evidence):
    """A run's evidence, with the paper's numbers and its own method against its baselines."""

    @classmethod
    def from_run(cls, evidence: Evidence) -> PruningEvidence:
        """Return the evidence of the same run."""
        return cls(**{field.name: getattr(evidence, field.name) for field in fields(evidence)})

    @functools.cached_property
    def published(self) -> pd.DataFrame:
        """All numbers that the paper prints."""
        return pd.read_csv(published_file(PAPER.folder(self.declarations)))

    @functools.cached_property
    def _cells(self) -> Cells:
        return Cells(self.matrix)

    @property
    def places(self) -> list[Place]:
        """Models and sparsities of the profile, where claims about pruning are judged."""
        models, sparsities = self.source.profile.models, self.source.profile.sparsities
        return [Place(model, "none", sparsity) for model in models for sparsity in sparsities]

    def seeds(self, place: Place) -> frozenset[int]:
        """Return the seeds at which the paper's method and all its baselines are finished."""
        return frozenset.intersection(
            *(frozenset(self._cells.seeds(place, method)) for method in (OURS, *BASELINES))
        )

    def pairing(self, place: Place, baseline: str) -> Pairing:
        """Set the paper's method against another one, at the seeds that all of them have."""
        return Pairing(place, self._cells, OURS, self._cells, baseline, self.seeds(place))

    @functools.cached_property
    def comparison(self) -> pd.DataFrame:
        """The paper's method against the paper's baselines, paired over documents."""
        pairings = [self.pairing(place, other) for place in self.places for other in BASELINES]
        return compare_pairings(pairings, self.suite)
