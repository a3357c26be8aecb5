"""Panels as LaTeX: ``table*`` environments with booktabs rules, to be input into a paper."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jinja2

from adaptprune.results.numerals import MINUS
from adaptprune.tables.panels import AT_CHANCE, MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.tables.panels import Heading, Panel

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "`": r"\`{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        AT_CHANCE: r"$^\circ$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "·": r"$\cdot$",
        "⁻": r"$^{-}$",
        **{raised: f"$^{{{digit}}}$" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        MINUS: "$-$",
        MISSING: "--",
        "—": "---",
        "…": r"\dots{}",
        "→": r"$\rightarrow$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
    }
)


def escape_latex(text: str) -> str:
    """Return text with every character that LaTeX reads as markup made printable."""
    return text.translate(_LATEX)


def _mark(text: str, rank: str) -> str:
    command = {"best": r"\textbf", "second": r"\underline"}.get(rank)
    return f"{command}{{{escape_latex(text)}}}" if command else escape_latex(text)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("adaptprune.tables", ""),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"tex": escape_latex, "mark": _mark}
    return environment.get_template("table.tex.j2")


def to_latex(panels: Sequence[Panel], notes: Sequence[str], heading: Heading) -> str:
    """Return one ``table*`` environment per panel, the notes below the first."""
    return _template().render(panels=panels, notes=notes, heading=heading)
