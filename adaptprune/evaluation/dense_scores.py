"""Known scores of dense models: of a suite's own runs, and published ones, with their sources."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from adaptprune.files.declared import Closed, declared

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


PERPLEXITY = "word_perplexity"
#: How far beyond the published figures a full set may lie: of a share of the documents, and of a
#: perplexity as a part of it. Other versions of a harness, kernels and precisions are in there.
MARGIN, PERPLEXITY_MARGIN = 0.02, 0.025


class DenseScore(Closed):
    """A known number of the dense model.

    Attributes:
        tasks: the tasks whose metric is averaged; one for the score of a task.
        metric: None for the one that is shown.
        value: the known score, a fraction (or a perplexity).
        band: how far a full set may lie off, either way.
        documents: of each task that the known score rests on; None for the full sets.
        source: where it comes from, if not from where all of the model's scores do.
    """

    tasks: tuple[str, ...] = pydantic.Field(min_length=1)
    metric: str | None = None
    value: float = pydantic.Field(gt=0)
    band: float = pydantic.Field(ge=0)
    documents: int | None = pydantic.Field(None, ge=1)
    source: str | None = None

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Leave out what younger keys do not say, so that older declarations keep their hash."""
        for key, value in super().__repr_args__():
            if value is not None or key not in ("metric", "source"):
                yield key, value


class DenseScores(Closed):
    """The known numbers of one dense model, and where they come from."""

    source: str
    scores: tuple[DenseScore, ...] = pydantic.Field(min_length=1)


class PublishedScore(Closed):
    """What others have measured of a model on the full set of one benchmark.

    Attributes:
        task: the benchmark.
        metric: what the figures are.
        figures: by source.
    """

    task: str
    metric: str
    figures: dict[str, Annotated[float, pydantic.Field(gt=0)]] = pydantic.Field(min_length=1)

    def known(self, sources: dict[str, str]) -> DenseScore:
        """Return the middle of the figures, with a band that holds all of them and the margin."""
        least, most = min(self.figures.values()), max(self.figures.values())
        value = (least + most) / 2
        margin = PERPLEXITY_MARGIN * value if self.metric == PERPLEXITY else MARGIN
        return DenseScore(
            tasks=(self.task,),
            metric=self.metric,
            value=value,
            band=(most - least) / 2 + margin,
            documents=None,
            source="published by " + "; ".join(sources[name] for name in self.figures),
        )


class PublishedScores(Closed):
    """The published scores of one model.

    Attributes:
        model: its id.
        sources: what each source is, by the short name that the figures use.
        scores: of some benchmarks; of those that nobody is known to have published, none.
    """

    model: str
    sources: dict[str, str]
    scores: tuple[PublishedScore, ...]

    @pydantic.model_validator(mode="after")
    def _sources_are_those_of_the_figures(self) -> PublishedScores:
        """Refuse a figure without its source, and a source without figures."""
        used = {name for score in self.scores for name in score.figures}
        if used != set(self.sources):
            raise ValueError(f"{self.model}: figures are from {used}, not from {self.sources}")
        return self


@functools.cache
def _published() -> tuple[PublishedScores, ...]:
    return tuple(declared(pydantic.TypeAdapter(PublishedScores), "adaptprune", "evaluate/dense"))


def published_scores(tasks: Collection[str]) -> dict[str, DenseScores]:
    """Return by model what has been published of some benchmarks."""
    found = {}
    for model in _published():
        scores = tuple(score.known(model.sources) for score in model.scores if score.task in tasks)
        if scores:
            found[model.model] = DenseScores(
                source="; ".join(model.sources.values()), scores=scores
            )
    return found
