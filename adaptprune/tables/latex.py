"""Tables as text: LaTeX, Markdown and tidy CSV from one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import jinja2

from adaptprune.results.numerals import MINUS, signed
from adaptprune.tables.grid import COUNTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adaptprune.tables.grid import Column, Entry, Grid, TableRow

MISSING = "\N{EN DASH}"
#: Follows an accuracy that guessing would reach.
AT_CHANCE = "\N{DEGREE SIGN}"

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
        MINUS: "$-$",
        MISSING: "--",
        "—": "---",
        "…": r"\dots{}",
        "→": r"$\rightarrow$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
    }
)

#: By kind of column, the units to print in, from the largest.
_UNITS = {
    "params": ((1e9, "B"), (1e6, "M")),
    "tokens": ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")),
    "time": ((3600.0, " h"), (60.0, " min"), (1.0, " s")),
}

_TEMPLATE = r"""% Table << heading.name >>, profile << heading.profile >>.
% Made from << heading.n_rows >> result rows.
% Needs \usepackage{booktabs,graphicx}.
<% for panel in panels %>
\begin{table*}[t]
\centering
<% if loop.first %>
\caption{<< heading.caption|tex >>}
\label{<< heading.label >>}
<% else %>
\caption{<< panel.title|tex >> (see Table~\ref{<< heading.label >>}).}
<% endif %>
\setlength{\tabcolsep}{4pt}
\resizebox{\textwidth}{!}{%
\begin{tabular}{ll<< "r" * panel.width >>}
\toprule
<% if panel.parts %>
 &<% for header in panel.headers %> & \multicolumn{<< panel.parts|length >>}{r}{<< header|tex >>}
<%- endfor %> \\
<< panel.labels[1:]|join(" & ") >><% for header in panel.headers %> & << panel.parts|join(" & ") >>
<%- endfor %> \\
<% else %>
<< panel.labels[1:]|join(" & ") >><% for header in panel.headers %> & << header|tex >>
<%- endfor %> \\
<% endif %>
<% for row in panel.rows %>
<% if row.starts_model %>
\midrule
\multicolumn{<< panel.width + 2 >>}{l}{\textit{<< row.model|tex >>}} \\
<% endif %>
<% if row.starts_block and not row.starts_model %>
\midrule
<% endif %>
<< (row.sparsity if row.starts_block or panel.listed else "")|tex >> & << row.label|tex >>
<%- for text, rank in row.texts %> & << text|mark(rank) >><% endfor %> \\
<% endfor %>
\bottomrule
\end{tabular}}
<% if loop.first %>
\par\smallskip
\begin{minipage}{\textwidth}\scriptsize\raggedright
<% for note in notes %>
<< note|tex >>\par
<% endfor %>
\end{minipage}
<% endif %>
\end{table*}
<% endfor %>
"""


class Text(NamedTuple):
    """What a table prints in one place, and how it is marked."""

    text: str
    rank: str = ""


@dataclass(frozen=True)
class PanelRow:
    """One printed line: label cells, then texts with their rank."""

    model: str
    sparsity: str
    label: str
    texts: list[Text]
    starts_model: bool
    starts_block: bool


@dataclass(frozen=True)
class Heading:
    """What a table is called and made from."""

    name: str
    caption: str
    label: str
    profile: str
    n_rows: int


@dataclass(frozen=True)
class Panel:
    """One printed grid of a table, still free of any markup; headers may have equal parts.

    The rows are blocks of one sparsity each, or ``listed`` one by one.
    """

    title: str
    headers: list[str]
    parts: list[str]
    rows: list[PanelRow]
    listed: bool = False

    @property
    def labels(self) -> list[str]:
        """Return the headers of the label cells: heading, sparsity, row."""
        return ["Block", "Removed", "Model"] if self.listed else ["Model", "Sparsity", "Method"]

    @property
    def width(self) -> int:
        """Return the number of printed columns after the labels."""
        return len(self.headers) * max(1, len(self.parts))

    @property
    def flat_headers(self) -> list[str]:
        """Return one header per printed column."""
        parts = self.parts or [""]
        return [f"{header} {part}".strip() for header in self.headers for part in parts]


def escape_latex(text: str) -> str:
    """Return text with every character that LaTeX reads as markup made printable."""
    return text.translate(_LATEX)


def _scale(value: float, column: Column) -> tuple[float, str]:
    """Return divisor and suffix: parameters and tokens are counted in millions, say."""
    steps = _UNITS.get(column.kind, ((1.0, ""),))
    return next((step for step in steps if abs(value) >= step[0]), steps[-1])


def _decimals(value: float) -> str:
    """Print two decimals; a perplexity beyond a million is told by its magnitude."""
    return f"{value:.2f}" if value < 1e6 else f"{value:.2e}"


def format_entry(entry: Entry, column: Column) -> str:
    """Print mean ± standard deviation, or why there is no number."""
    if entry.value is None:
        return MISSING if entry.status == "missing" else entry.status
    if column.kind == "tokens" and entry.value == 0:
        return "0"
    scale, suffix = _scale(entry.value, column)
    text = _decimals(entry.value / scale) + suffix
    if entry.std is not None and not (column.kind in COUNTED and entry.std == 0):
        text += f" ± {_decimals(entry.std / scale)}"
    return text + (AT_CHANCE if entry.at_chance else "")


def format_published(entry: Entry, column: Column) -> str:
    """Print a published mean; the paper counts parameters in billions throughout."""
    if entry.published is None:
        return MISSING
    if column.kind == "params":
        return f"{entry.published / 1e9:.2f}B"
    scale, suffix = _scale(entry.published, column)
    return _decimals(entry.published / scale) + suffix


def format_difference(entry: Entry, column: Column) -> str:
    """Print measured minus published with its sign, in the unit of the published number."""
    if entry.difference is None or entry.published is None:
        return MISSING
    scale, suffix = (1e9, "B") if column.kind == "params" else _scale(entry.published, column)
    return signed(entry.difference / scale, 2) + suffix


def format_change(entry: Entry, column: Column) -> str:
    """Print the mean of the differences with its sign ± their standard deviation."""
    if entry.change is None:
        return MISSING
    scale, suffix = _scale(entry.change.mean, column)
    text = signed(entry.change.mean / scale, 2) + suffix
    if entry.change.std is None or (column.kind == "params" and entry.change.std == 0):
        return text
    return f"{text} ± {_decimals(entry.change.std / scale)}"


def lay_out(
    lines: Iterable[tuple[str, str, str, list[Text]]], *, listed: bool = False
) -> list[PanelRow]:
    """Lay lines out, marking where a model or a block of one sparsity begins.

    Args:
        lines: model, sparsity as it is printed, label, and texts of each.
        listed: whether a model is one block, whatever the sparsities.
    """
    rows: list[PanelRow] = []
    for model, sparsity, label, texts in lines:
        starts_model = not rows or rows[-1].model != model
        starts_block = starts_model or (rows[-1].sparsity != sparsity and not listed)
        rows.append(PanelRow(model, sparsity, label, texts, starts_model, starts_block))
    return rows


def _panel_rows(
    lines: list[tuple[TableRow, list[Text]]], *, listed: bool = False
) -> list[PanelRow]:
    printed = ((row.model, f"{row.sparsity}%", row.label, texts) for row, texts in lines)
    return lay_out(printed, listed=listed)


def _measured_texts(row: TableRow, columns: list[Column]) -> list[Text]:
    entries = [(row.entries[column.key], column) for column in columns]
    return [Text(format_entry(entry, column), entry.rank) for entry, column in entries]


def _compared_texts(row: TableRow, columns: list[Column]) -> list[Text]:
    texts = []
    for column in columns:
        entry = row.entries[column.key]
        texts += [Text(format_published(entry, column)), Text(format_difference(entry, column))]
    return texts


def _changed_texts(row: TableRow, columns: list[Column]) -> list[Text]:
    return [Text(format_change(row.entries[column.key], column)) for column in columns]


def _changed_row(row: TableRow) -> TableRow:
    """Return a row labelled as its changes are, which are over the seeds that both methods have."""
    found = max(entry.change.count if entry.change else 0 for entry in row.entries.values())
    return replace(row, title=f"{row.title}, against {row.against}", seeds_found=found)


def panels_of(grid: Grid, *, with_published: bool) -> list[Panel]:
    """Return the measured panel and those that compare.

    One holds the changes of the rows that are set against others, one, where asked, the published
    numbers and the differences to them.
    """
    columns, headers = grid.columns, [column.header for column in grid.columns]
    measured = [(row, _measured_texts(row, columns)) for row in grid.rows]
    listed = grid.listed
    panels = [Panel("", headers, [], _panel_rows(measured, listed=listed), listed)]
    changed = [(row, _changed_texts(row, columns)) for row in grid.rows if row.against]
    if changed:
        named = [(_changed_row(row), texts) for row, texts in changed]
        panels.append(
            Panel("Change against another row, seed by seed", headers, [], _panel_rows(named))
        )
    if with_published:
        printed = [
            row
            for row in grid.rows
            if any(entry.published is not None for entry in row.entries.values())
        ]
        compared = [(row, _compared_texts(row, columns)) for row in printed]
        title = "Published numbers, and the difference: measured minus published"
        rows = _panel_rows(compared, listed=listed)
        panels.append(Panel(title, headers, ["publ.", "diff."], rows, listed))
    return panels


def _mark_latex(text: str, rank: str) -> str:
    command = {"best": r"\textbf", "second": r"\underline"}.get(rank)
    return f"{command}{{{escape_latex(text)}}}" if command else escape_latex(text)


def to_latex(panels: list[Panel], notes: Sequence[str], heading: Heading) -> str:
    """Return a ``table*`` environment with booktabs rules, to be input into a paper."""
    environment = jinja2.Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"tex": escape_latex, "mark": _mark_latex}
    template = environment.from_string(_TEMPLATE)
    return template.render(panels=panels, notes=notes, heading=heading)


def _mark_markdown(text: Text) -> str:
    before, after = {"best": ("**", "**"), "second": ("<u>", "</u>")}.get(text.rank, ("", ""))
    return f"{before}{text.text}{after}"


def _markdown_line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def to_markdown(panels: list[Panel], notes: Sequence[str], heading: Heading) -> str:
    """Return the panels as pipe tables, every line labelled in full, and the notes as a list."""
    lines = [f"# {heading.caption}", ""]
    for panel in panels:
        if panel.title:
            lines += [f"## {panel.title}", ""]
        headers = [*panel.labels, *panel.flat_headers]
        lines += [_markdown_line(headers), "|---|---|---|" + "---:|" * panel.width]
        for row in panel.rows:
            texts = [_mark_markdown(text) for text in row.texts]
            lines.append(_markdown_line([row.model, row.sparsity, row.label, *texts]))
        lines.append("")
    lines += [f"- {note}" for note in notes]
    return "\n".join(lines) + "\n"
