"""The report of a profile: verdicts, conditions, tables and figures on one page."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, NamedTuple

from adaptprune.figures.catalog import figure_module, figure_names
from adaptprune.report.conditions import facts_of, problems_of, summary_of, tasks_of
from adaptprune.report.markup import html_of, picture_of
from adaptprune.report.verdicts import FOUND, MARKS, judge_papers
from adaptprune.results.verdict import LEVEL, Outcome
from adaptprune.tables.html import render_page
from adaptprune.workflow.papers import papers, target_of
from adaptprune.workflow.paths import found_files
from adaptprune.workflow.presented import CHECKS, MEASURED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from markupsafe import Markup

    from adaptprune.report.evidence import Evidence


class Shown(NamedTuple):
    """A table or figure of the run, and what the page shows of it."""

    name: str
    content: Markup


def render_report(evidence: Evidence) -> str:
    """Return the report as one HTML page that needs nothing else.

    Raises:
        UserError: the results of the profile are absent or cannot be trusted.
    """
    tables, figures = _tables(evidence), _figures(evidence)
    return render_page(
        "adaptprune.report",
        "page.html.j2",
        title=f"Report of profile {evidence.source.name}",
        profile=evidence.source.profile,
        summary=summary_of(evidence),
        judged=judge_papers(evidence),
        Outcome=Outcome,
        marks=MARKS,
        found=FOUND,
        level=LEVEL,
        facts=facts_of(evidence),
        tasks=tasks_of(evidence),
        problems=problems_of(evidence),
        tables=tables,
        figures=figures,
        absent=_absent(evidence, tables, figures),
        command=lambda target: _command(evidence, target),
        html_of=html_of,
    )


def _table_names(evidence: Evidence) -> list[str]:
    """Return the names of all tables of the papers and of the suite."""
    of_papers = {name for paper in papers() for name in (*paper.tables, *paper.shared)}
    # A check of the installation shows nothing.
    return _in_order({*evidence.tables, *of_papers, *MEASURED} - CHECKS.keys())


def _in_order(names: Iterable[str]) -> list[str]:
    """Sort names as a reader counts: 2 stands before 10."""
    return sorted(names, key=lambda name: [part.zfill(4) for part in re.split(r"(\d+)", name)])


def _find(evidence: Evidence, name: str, suffix: str) -> Path | None:
    """Return the file of a table or figure, None where there is none."""
    files = {path.name: path for path in found_files(evidence.of(name).generated)}
    return files.get(f"{name}{suffix}")


def _tables(evidence: Evidence) -> list[Shown]:
    """Return the tables that lie there."""
    return [
        Shown(name, html_of(path.read_text(encoding="utf-8"), name))
        for name in _table_names(evidence)
        if (path := _find(evidence, name, ".md"))
    ]


def _figures(evidence: Evidence) -> list[Shown]:
    """Return the figures that lie there, as pictures that the page holds itself."""
    shown = []
    for name in _in_order(figure_names()):
        if path := _find(evidence, name, ".png"):
            caption = " ".join((inspect.getdoc(figure_module(name)) or name).split())
            shown.append(Shown(name, picture_of(path, caption)))
    return shown


def _absent(evidence: Evidence, tables: list[Shown], figures: list[Shown]) -> dict[str, list[str]]:
    """Return the names of the tables and figures that are not there, by what makes them."""
    targets = {name: target_of(name) for name in _table_names(evidence)}
    lacking = targets.keys() - {table.name for table in tables}
    lacking |= set(figure_names()) - {figure.name for figure in figures}
    made_by: dict[str, list[str]] = {}
    for name in _in_order(lacking):
        made_by.setdefault(_command(evidence, targets.get(name, name)), []).append(name)
    return made_by


def _command(evidence: Evidence, target: str) -> str:
    return f"snakemake {target} --cores 4 --config profile={evidence.source.name}"
