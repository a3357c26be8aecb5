"""Which figures there are, and what each of them is drawn from."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, NamedTuple

import adaptprune.figures
from adaptprune.errors import UserError, unknown
from adaptprune.workflow.papers import paper_of_figure, papers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from adaptprune.workflow.run import Source


_NO_FIGURES = {"catalog", "labels", "style"}


class Drawing(NamedTuple):
    """A figure and tidy rows with every number that it shows."""

    figure: Figure
    data: pd.DataFrame


def figure_names() -> list[str]:
    """Return the names of all figures, the suite's own and the papers'."""
    modules = pkgutil.iter_modules(adaptprune.figures.__path__)
    own = {module.name for module in modules} - _NO_FIGURES
    return sorted(own.union(*(paper.figures for paper in papers())))


def figure_module(name: str) -> Any:
    """Import the module that draws a figure.

    Raises:
        UserError: there is no figure of that name.
    """
    if name not in figure_names():
        raise unknown("figure", name, figure_names())
    paper = paper_of_figure(name)
    return paper.part(name) if paper else importlib.import_module(f"adaptprune.figures.{name}")


def draw(name: str, source: Source) -> Drawing:
    """Draw a figure.

    Raises:
        UserError: there is no figure of that name, or what it shows was not run.
    """
    drawing: Drawing = figure_module(name).draw(source)
    if drawing.data.empty:
        raise UserError(f"figure {name}: profile {source.name!r} holds nothing that it shows")
    return drawing
