"""Papers are plug-ins: what each brings lies in a package of its own, that nobody imports by name.

The contract lies here because graph, figures, report and commands all ask for it. A paper's parts
are modules of its package, imported when they are asked for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError, unknown
from adaptprune.plugins import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Paper:
    """What a paper brings.

    Its package has the modules ``claims`` (``judge_claims``, and in ``JUDGED_BY`` a sentence or two
    on what its tests are over), ``audit.report`` (``audit_paper``),
    one module for each figure (``draw``) and one for each table that no declaration lists. Its
    module ``made_of`` says which files of a run (a ``Source``) each figure, and each table of
    measurements, is made of (``SOURCES``), and which targets ask for several (``TARGETS``); the
    workflow's graph imports it, so it imports nothing large. What the paper declares and prints
    lies in a folder of its name.

    Args:
        name: of the entry point, and of the folder.
        title: as a reader knows it.
        package: dotted name of the package that holds its parts.
        figures: names of its figures, each a module.
        tables: tables that no declaration lists: their names and modules.
        shared: tables that no profile changes; they lie beside the folders of the profiles.
        reported: tables of a profile's matrix that its report has made.
        run_as: by figure, the declared table whose run it shows, and so the profile of that run.
    """

    name: str
    title: str
    package: str
    figures: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    run_as: Mapping[str, str] = field(default_factory=dict)

    def folder(self, tables: Path) -> Path:
        """Return where the paper's declared tables and printed numbers lie.

        Args:
            tables: the folder ``paper_tables``.
        """
        return tables / self.name

    def printed(self, tables: Path) -> list[Path]:
        """Return the files with the paper's printed numbers and quoted words, as far as it has any.

        Args:
            tables: the folder ``paper_tables``.
        """
        files = (published_file(self.folder(tables)), claims_file(self.folder(tables)))
        return [file for file in files if file.is_file()]

    def part(self, module: str) -> Any:
        """Import a module of the paper's package."""
        return importlib.import_module(f"{self.package}.{module}")


PAPERS: Registry[Paper] = Registry("adaptprune.papers", "paper", Paper)


def papers() -> list[Paper]:
    """Return the installed papers, in the order of their names."""
    return [PAPERS.find(name) for name in PAPERS.installed()]


def published_file(folder: Path) -> Path:
    """Return the file with the numbers that a paper prints, in its folder."""
    return folder / "published.csv"


def claims_file(folder: Path) -> Path:
    """Return the file with the words that a paper is quoted with, in its folder."""
    return folder / "quoted" / "claims.yaml"


def declared_tables(tables: Path) -> dict[str, Path]:
    """Return the declared tables by name: the suite's own, and those of every installed paper.

    Args:
        tables: the folder ``paper_tables``: it holds the suite's own declarations, and a folder of
            each paper.

    Raises:
        UserError: two declarations have one name.
    """
    found: dict[str, Path] = {}
    for folder in (tables, *(paper.folder(tables) for paper in papers())):
        for path in folder.glob("*.yaml"):
            if (other := found.setdefault(path.stem, path)) != path:
                raise UserError(f"table {path.stem!r} is declared twice: {other} and {path}")
    return dict(sorted(found.items()))


def target_of(table: str) -> str:
    """Return the target that makes a declared table: its own name, or one that makes several."""
    for paper in papers():
        for target, made in paper.part("made_of").TARGETS.items():
            if table in made:
                return str(target)
    return table


def paper_of_figure(name: str) -> Paper | None:
    """Return the paper that a figure belongs to, None where it is of the suite itself."""
    return next((paper for paper in papers() if name in paper.figures), None)


def run_as(figure: str) -> str | None:
    """Return the table whose run a figure shows, None where it shows the profile's own."""
    paper = paper_of_figure(figure)
    return paper.run_as.get(figure) if paper else None


def paper_of_table(name: str) -> Paper:
    """Return the paper that has a table which no declaration lists.

    Raises:
        UserError: no installed paper has such a table.
    """
    for paper in papers():
        if name in paper.tables:
            return paper
    raise unknown("table", name, [table for paper in papers() for table in paper.tables])


def table_module(name: str) -> Any:
    """Import the module of a paper that renders a table which no declaration lists.

    Raises:
        UserError: no installed paper has such a table.
    """
    paper = paper_of_table(name)
    return paper.part(paper.tables[name])
