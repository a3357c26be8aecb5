"""Tables without blocks or ranks, as Markdown and LaTeX: a header, lines of text, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.tables.latex import escape_latex

if TYPE_CHECKING:
    from collections.abc import Sequence


def plain_markdown(
    lines: Sequence[Sequence[str]], notes: Sequence[str], caption: str, *, numbers: bool = False
) -> str:
    """Return a table with its notes below.

    Args:
        lines: the header, then the rows.
        notes: sentences.
        caption: what the table is called.
        numbers: whether all columns but the first hold numbers.
    """
    header, *rows = lines
    rule = ["---", *["---:" if numbers else "---"] * (len(header) - 1)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))
    listed = "".join(f"- {note}\n" for note in notes)
    return f"# {caption}\n\n{body}\n" + (f"\n{listed}" if listed else "")


def plain_latex(
    lines: Sequence[Sequence[str]],
    notes: Sequence[str],
    caption: str,
    label: str,
    *,
    numbers: bool = False,
    total: bool = False,
) -> str:
    """Return a ``table*`` environment with booktabs rules.

    Args:
        lines: the header, then the rows.
        notes: sentences below the table.
        caption: what the table is called.
        label: to refer to it by.
        numbers: whether all columns but the first hold numbers.
        total: whether the last row sums the others up.
    """
    header, *body = [" & ".join(map(escape_latex, line)) + r" \\" for line in lines]
    if total:
        body.insert(-1, r"\midrule")
    columns = "l" + ("r" if numbers else "l") * (len(lines[0]) - 1)
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs}.",
            r"\begin{table*}[t]",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            header,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\smallskip\footnotesize\raggedright",
            *map(escape_latex, notes),
            r"\end{table*}",
            "",
        ]
    )
