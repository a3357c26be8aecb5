"""The report of a profile: verdicts, conditions, tables and figures on one page."""

from __future__ import annotations

import base64
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

from adaptprune.figures.catalog import figure_module, figure_names
from adaptprune.report.conditions import facts_of, problems_of, tasks_of
from adaptprune.results.verdict import Outcome
from adaptprune.tables.html import render_page
from adaptprune.workflow.papers import papers, target_of
from adaptprune.workflow.paths import found_files

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.report.evidence import Evidence

#: The suite's own tables that no declaration lists.
_OTHER_TABLES = ("table6", "speed")
#: Not of the paper: a check of the installation.
_LEFT_OUT = {"smoke"}


@dataclass(frozen=True)
class Shown:
    """A table or figure on the page."""

    name: str
    content: Markup


@dataclass(frozen=True)
class NotRun:
    """A table or figure that is not there, and the command that makes it."""

    name: str
    command: str


def render_report(evidence: Evidence) -> str:
    """Return the report as one HTML page that needs nothing else.

    Raises:
        UserError: the results of the profile are absent or cannot be trusted.
    """
    verdicts = [
        verdict for paper in papers() for verdict in paper.part("claims").judge_claims(evidence)
    ]
    tables, figures = _tables(evidence), _figures(evidence)
    return render_page(
        "adaptprune.report",
        "page.html.j2",
        title=f"Report of profile {evidence.source.name}",
        profile=evidence.source.profile,
        counts={outcome: sum(v.outcome == outcome for v in verdicts) for outcome in Outcome},
        verdicts=verdicts,
        facts=facts_of(evidence),
        tasks=tasks_of(evidence),
        problems=problems_of(evidence),
        tables=[table for table in tables if isinstance(table, Shown)],
        figures=[figure for figure in figures if isinstance(figure, Shown)],
        absent=[other for other in (*tables, *figures) if isinstance(other, NotRun)],
        statements=[
            statement
            for paper in papers()
            for statement in paper.part("audit.report")
            .audit_paper(paper.folder(evidence.declarations))
            .statements
        ],
    )


def _tables(evidence: Evidence) -> list[Shown | NotRun]:
    """Return all tables of the paper and of the suite, in the order of their names."""
    tables: list[Shown | NotRun] = []
    of_papers = {name for paper in papers() for name in paper.tables}
    for name in sorted({*evidence.tables, *of_papers, *_OTHER_TABLES} - _LEFT_OUT):
        path = _find(evidence, name, ".md")
        if path is None:
            tables.append(NotRun(name, _command(evidence, target_of(name))))
        else:
            tables.append(Shown(name, _html_of(path.read_text(encoding="utf-8"))))
    return tables


def _find(evidence: Evidence, name: str, suffix: str) -> Path | None:
    """Return the file of a table or figure, None where there is none."""
    files = {path.name: path for path in found_files(evidence.of(name).generated)}
    return files.get(f"{name}{suffix}")


def _html_of(text: str) -> Markup:
    """Turn a table's Markdown into HTML: headings two levels lower, wide tables scrolled."""
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = html.replace("&lt;u&gt;", "<u>").replace("&lt;/u&gt;", "</u>")
    for level in (2, 1):
        html = html.replace(f"<h{level}>", f"<h{level + 2}>")
        html = html.replace(f"</h{level}>", f"</h{level + 2}>")
    html = html.replace("<table>", '<div class="table"><table>')
    return Markup(html.replace("</table>", "</table></div>").replace("<ul>", '<ul class="notes">'))


def _figures(evidence: Evidence) -> list[Shown | NotRun]:
    """Return all figures as pictures that the page holds itself."""
    figures: list[Shown | NotRun] = []
    for name in figure_names():
        path = _find(evidence, name, ".png")
        caption = " ".join((inspect.getdoc(figure_module(name)) or name).split())
        if path is None:
            figures.append(NotRun(name, _command(evidence, name)))
            continue
        data = base64.b64encode(path.read_bytes()).decode()
        picture = Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, caption)
        figures.append(Shown(name, picture + Markup("<p>{}</p>").format(caption)))
    return figures


def _command(evidence: Evidence, target: str) -> str:
    return f"snakemake {target} --cores 4 --config profile={evidence.source.name}"
