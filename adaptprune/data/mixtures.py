"""Mixtures of training data: one file in ``mixtures/`` each, closed schema. Torch-free."""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import pydantic

from adaptprune.data.formats import Adapter
from adaptprune.errors import UserError, unknown
from adaptprune.files.declared import Closed, declared


class _Source(Closed):
    """What all sources of a mixture have.

    Args:
        name: of the domain, printed in tables.
        share: of its rows that is drawn, at random by the mixture's seed.
        samples: rows that are taken at most, the first ones of what is drawn; None for all.
        tokens: tokens that are taken at most, the first ones; None for all.
    """

    name: str
    share: float = pydantic.Field(1.0, gt=0, le=1)
    samples: int | None = pydantic.Field(None, ge=1)
    tokens: int | None = pydantic.Field(None, ge=1)


class HubSource(_Source):
    """A split of a data set of the hub.

    Args:
        repository: the hub's ``owner/name``.
        revision: branch, tag or commit.
        configuration: of the data set, None for its only one.
        split: the hub's name of the split.
        format: how a row becomes a document.
    """

    kind: Literal["hub"]
    repository: str
    revision: str = "main"
    configuration: str | None = None
    split: str = "train"
    format: Adapter


class CorpusSource(_Source):
    """A named collection of text (one of ``corpora/``).

    Args:
        corpus: its name.
        origin: what the documents' ``source`` must be, where the collection has several.
    """

    kind: Literal["corpus"]
    corpus: str
    origin: str | None = None


class MixtureSource(Closed):
    """All sources of another mixture.

    Args:
        mixture: its name.
        share: by which the share of each of them is multiplied.
    """

    kind: Literal["mixture"]
    mixture: str
    share: float = pydantic.Field(1.0, gt=0, le=1)


Source = HubSource | CorpusSource


class Mixture(Closed):
    """Several sources that are trained on together; each is a domain.

    Args:
        name: the file's name.
        note: what it is and who decided what.
        cut: tokens that are kept of a chat, its end included; plain text is never cut.
        seed: of the drawing of shares.
        sources: in order.
    """

    name: str
    note: str
    cut: int | None = pydantic.Field(None, ge=2)
    seed: int = 42
    sources: tuple[Annotated[Source | MixtureSource, pydantic.Field(discriminator="kind")], ...]

    @property
    def domains(self) -> list[Source]:
        """All sources in order, those of other mixtures with the share that is drawn of them.

        Raises:
            UserError: two of them have the same name, or another mixture is unknown.
        """
        found: list[Source] = []
        for source in self.sources:
            if isinstance(source, MixtureSource):
                inner = find_mixture(source.mixture).domains
                found += [
                    one.model_copy(update={"share": one.share * source.share}) for one in inner
                ]
            else:
                found.append(source)
        names = [source.name for source in found]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"mixture {self.name}: two sources are called {name}")
        return found


@functools.cache
def mixtures() -> dict[str, Mixture]:
    """Return all mixtures by name."""
    entries = declared(pydantic.TypeAdapter(Mixture), "adaptprune.data", "mixtures")
    return {entry.name: entry for entry in entries}


def find_mixture(name: str) -> Mixture:
    """Return a mixture.

    Raises:
        UserError: there is none of that name.
    """
    if name not in mixtures():
        raise unknown("mixture", name, mixtures())
    return mixtures()[name]
