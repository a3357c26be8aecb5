"""Which figures there are, and what each of them is drawn from."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import adaptprune.figures
from adaptprune.cells import Cell, cell_folder
from adaptprune.errors import UserError, unknown

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from adaptprune.workflow.profiles import Profile

_NO_FIGURES = {"catalog", "style"}


class Drawing(NamedTuple):
    """A figure and tidy rows with every number that it shows."""

    figure: Figure
    data: pd.DataFrame


@dataclass(frozen=True)
class Source:
    """The run that a figure shows.

    Args:
        name: of the profile.
        profile: what was run.
        runs: where the profiles' runs lie.
    """

    name: str
    profile: Profile
    runs: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the profile's run."""
        return self.runs / self.name

    @property
    def methods(self) -> list[str]:
        """Return the profile's methods but for dense."""
        return [method for method in self.profile.methods if method != "dense"]

    def cell(self, model: str, method: str, sparsity: int) -> Path:
        """Return the folder of a cell at the first seed."""
        cell = Cell(model, method, sparsity, "none", self.profile.seeds[0])
        return cell_folder(self.runs, self.name, cell)


def figure_names() -> list[str]:
    """Return the names of all figures."""
    modules = pkgutil.iter_modules(adaptprune.figures.__path__)
    return sorted({module.name for module in modules} - _NO_FIGURES)


def draw(name: str, source: Source) -> Drawing:
    """Draw a figure.

    Raises:
        UserError: there is no figure of that name, or what it shows was not run.
    """
    if name not in figure_names():
        raise unknown("figure", name, figure_names())
    drawing: Drawing = importlib.import_module(f"adaptprune.figures.{name}").draw(source)
    if drawing.data.empty:
        raise UserError(f"figure {name}: profile {source.name!r} holds nothing that it shows")
    return drawing
