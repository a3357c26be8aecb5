"""Papers are plug-ins: what each brings lies in a package of its own, that nobody imports by name.

The contract lies here because graph, figures, report and commands all ask for it. A paper's parts
are modules of its package, imported when they are asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptprune.errors import unknown
from adaptprune.plugins import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Paper:
    """What a paper brings.

    Its package has the modules ``claims`` (``judge_claims``), ``audit.report`` (``audit`` and
    ``write_audit``), one module for each figure (``draw``) and one for each table.

    Args:
        name: of the entry point.
        title: as a reader knows it.
        package: dotted name of the package that holds its parts.
        figures: names of its figures, each a module.
        tables: tables that no declaration lists: their names and modules.
    """

    name: str
    title: str
    package: str
    figures: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)

    def part(self, module: str) -> Any:
        """Import a module of the paper's package."""
        return importlib.import_module(f"{self.package}.{module}")


PAPERS: Registry[Paper] = Registry("adaptprune.papers", "paper", Paper)


def papers() -> list[Paper]:
    """Return the installed papers, in the order of their names."""
    return [PAPERS.find(name) for name in PAPERS.installed()]


def paper_of_figure(name: str) -> Paper | None:
    """Return the paper that a figure belongs to, None where it is of the suite itself."""
    return next((paper for paper in papers() if name in paper.figures), None)


def table_module(name: str) -> Any:
    """Import the module of a paper that renders a table which no declaration lists.

    Raises:
        UserError: no installed paper has such a table.
    """
    for paper in papers():
        if name in paper.tables:
            return paper.part(paper.tables[name])
    raise unknown("table", name, [table for paper in papers() for table in paper.tables])
