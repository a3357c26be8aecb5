"""Panels: what a table prints, still free of any markup. One grid becomes one or several."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from adaptprune.results.numerals import LARGE, magnitude, power_of_ten, signed
from adaptprune.tables.measures import COUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from adaptprune.tables.grid import Entry, Grid, Layout, TableRow
    from adaptprune.tables.measures import Measure

MISSING = "\N{EN DASH}"
#: Follows an accuracy that guessing would reach.
AT_CHANCE = "\N{DEGREE SIGN}"

#: By kind of measure, the units to print in, from the largest.
_UNITS = {
    "params": ((1e9, "B"), (1e6, "M")),
    "tokens": ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")),
    "time": ((3600.0, " h"), (60.0, " min"), (1.0, " s")),
    "share": ((1.0, "%"),),
}


@dataclass(frozen=True)
class Heading:
    """What a table is called and made from; one that is not of results has no profile."""

    name: str
    caption: str
    label: str
    profile: str = ""
    n_rows: int = 0


class Text(NamedTuple):
    """What a table prints in one place, and how it is marked."""

    text: str
    rank: str = ""


@dataclass(frozen=True)
class PanelRow:
    """One printed line: heading of its block, label cells, then texts with their rank.

    The heading begins anew with ``starts_heading``, the labels but the last with ``starts_block``.
    """

    heading: str
    labels: tuple[str, ...]
    texts: list[Text]
    starts_heading: bool
    starts_block: bool


@dataclass(frozen=True)
class Panel:
    """One printed grid of a table; headers may have equal parts.

    Args:
        title: above it; empty for the first.
        headers: of the columns.
        rows: the lines.
        parts: what every header is divided into, if anything.
        heading: header of the headings; empty where there are none.
        labels: headers of the label cells.
        listed: whether every line prints all of its labels.
        align: of the columns, as LaTeX calls it.
        note: a sentence under the title.
    """

    title: str
    headers: list[str]
    rows: list[PanelRow]
    parts: list[str] = field(default_factory=list)
    heading: str = "Model"
    labels: tuple[str, ...] = ("Sparsity", "Method")
    listed: bool = False
    align: str = "r"
    note: str = ""

    @property
    def width(self) -> int:
        """Return the number of printed columns after the labels."""
        return len(self.headers) * max(1, len(self.parts))

    @property
    def is_wide(self) -> bool:
        """Say whether the panel is fitted to the width of a page; a narrow one is not blown up."""
        return self.heading != "" or self.width > 7

    @property
    def label_headers(self) -> list[str]:
        """Return the headers of heading and labels."""
        return [*([self.heading] if self.heading else []), *self.labels]

    @property
    def flat_headers(self) -> list[str]:
        """Return one header per printed column."""
        parts = self.parts or [""]
        return [f"{header} {part}".strip() for header in self.headers for part in parts]

    def cells(self, row: PanelRow) -> list[str]:
        """Return heading and labels of a row, all of them."""
        return [*([row.heading] if self.heading else []), *row.labels]


def _scale(value: float, column: Measure) -> tuple[float, str]:
    """Return divisor and suffix: parameters and tokens are counted in millions, say."""
    steps = _UNITS.get(column.kind, ((1.0, ""),))
    return next((step for step in steps if abs(value) >= step[0]), steps[-1])


def _decimals(value: float) -> str:
    """Print two decimals; a perplexity beyond a million is told by its magnitude."""
    return f"{value:.2f}" if value < LARGE else magnitude(value, 2)


def _spread(value: float, std: float, form: Callable[[float], str], suffix: str) -> str:
    """Print mean ± standard deviation, which share one power of ten: ``(8.45 ± 7.53)·10⁶``."""
    if form is not _decimals or max(value, std) < LARGE:
        return f"{form(value)}{suffix} ± {form(std)}"
    exponent = int(f"{max(value, std):.2e}".partition("e")[2])
    mantissas = f"{value / 10**exponent:.2f} ± {std / 10**exponent:.2f}"
    return f"({mantissas}){power_of_ten(exponent)}"


def three_digits(value: float) -> str:
    """Print three digits, all of those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


#: By kind of measure, how its numbers are printed where it is not by two decimals.
_FORMS: dict[str, Callable[[float], str]] = {
    "share": "{:.1f}".format,
    "tenths": "{:.1f}".format,
    "seconds": "{:.1f}".format,
    "rate": lambda value: f"{value:.{1 if value < 100 else 0}f}",
    "digits": three_digits,
}


def format_entry(entry: Entry, column: Measure) -> str:
    """Print mean ± standard deviation, or why there is no number."""
    if entry.text:
        return entry.text
    if entry.value is None:
        return MISSING if entry.status in ("missing", "absent") else entry.status
    if column.kind == "tokens" and entry.value == 0:
        return "0"
    form = _FORMS.get(column.kind, _decimals)
    scale, suffix = _scale(entry.value, column)
    value = entry.value / scale
    if entry.std is None or (column.kind in COUNTED and entry.std == 0):
        text = form(value) + suffix
    else:
        text = _spread(value, entry.std / scale, form, suffix)
    return text + (AT_CHANCE if entry.at_chance else "")


def format_published(entry: Entry, column: Measure) -> str:
    """Print a published mean; the paper counts parameters in billions throughout."""
    if entry.published is None:
        return MISSING
    if column.kind == "params":
        return f"{entry.published / 1e9:.2f}B"
    scale, suffix = _scale(entry.published, column)
    return _decimals(entry.published / scale) + suffix


def format_difference(entry: Entry, column: Measure) -> str:
    """Print measured minus published with its sign, in the unit of the published number."""
    if entry.difference is None or entry.published is None:
        return MISSING
    scale, suffix = (1e9, "B") if column.kind == "params" else _scale(entry.published, column)
    return signed(entry.difference / scale, 2) + suffix


def format_change(entry: Entry, column: Measure) -> str:
    """Print the mean of the differences with its sign ± their standard deviation."""
    if entry.change is None:
        return MISSING
    scale, suffix = _scale(entry.change.mean, column)
    text = signed(entry.change.mean / scale, 2) + suffix
    if entry.change.std is None or (column.kind == "params" and entry.change.std == 0):
        return text
    return f"{text} ± {_decimals(entry.change.std / scale)}"


def lay_out(
    lines: Iterable[tuple[str, tuple[str, ...], list[Text]]], *, listed: bool = False
) -> list[PanelRow]:
    """Lay lines out, marking where a heading or a block of equal labels begins.

    Args:
        lines: heading, labels as they are printed, and texts of each.
        listed: whether a heading is one block, whatever the labels.
    """
    rows: list[PanelRow] = []
    for heading, labels, texts in lines:
        is_new = not rows or rows[-1].heading != heading
        starts_block = is_new or (rows[-1].labels[:-1] != labels[:-1] and not listed)
        rows.append(PanelRow(heading, labels, texts, is_new and heading != "", starts_block))
    return rows


def _measured(entry: Entry, column: Measure) -> list[Text]:
    return [Text(format_entry(entry, column), entry.rank)]


def _changed(entry: Entry, column: Measure) -> list[Text]:
    return [Text(format_change(entry, column))]


def _compared(entry: Entry, column: Measure) -> list[Text]:
    return [Text(format_published(entry, column)), Text(format_difference(entry, column))]


def _changed_row(row: TableRow) -> TableRow:
    """Return a row labelled as its changes are, which are over the seeds that both methods have."""
    found = max(entry.change.count if entry.change else 0 for entry in row.entries.values())
    return replace(row, title=f"{row.title}, against {row.against}", seeds_found=found)


def _panel(
    title: str,
    grid: Grid,
    rows: Sequence[TableRow],
    texts_of: Callable[[Entry, Measure], list[Text]],
    parts: Sequence[str] = (),
) -> Panel:
    """Return one panel of some rows of a grid."""
    layout = grid.layout
    if layout.transposed:
        return _transposed(title, grid, rows, texts_of, parts)
    lines = []
    for row in rows:
        labels = (f"{row.sparsity}%", row.label) if layout.sparsity else (row.label,)
        texts = [
            text for column in grid.columns for text in texts_of(row.entries[column.key], column)
        ]
        lines.append((row.model, labels, texts))
    headers = [column.header for column in grid.columns]
    return _of_layout(layout, title, headers, lay_out(lines, listed=layout.listed), parts)


def _transposed(
    title: str,
    grid: Grid,
    rows: Sequence[TableRow],
    texts_of: Callable[[Entry, Measure], list[Text]],
    parts: Sequence[str],
) -> Panel:
    """Return a panel whose lines are the columns of the grid."""
    layout = replace(grid.layout, heading="", sparsity="")
    headers = []
    for row in rows:
        place = [row.model] if grid.layout.heading else []
        place += [f"{row.sparsity}%"] if grid.layout.sparsity else []
        headers.append(", ".join([row.label, *place]))
    lines = [
        (
            "",
            (column.header,),
            [t for row in rows for t in texts_of(row.entries[column.key], column)],
        )
        for column in grid.columns
    ]
    return _of_layout(layout, title, headers, lay_out(lines, listed=True), parts)


def _of_layout(
    layout: Layout, title: str, headers: list[str], rows: list[PanelRow], parts: Sequence[str]
) -> Panel:
    labels = (layout.sparsity, layout.row) if layout.sparsity else (layout.row,)
    return Panel(title, headers, rows, list(parts), layout.heading, labels, layout.listed)


def panels_of(grid: Grid, *, with_published: bool = False) -> list[Panel]:
    """Return the measured panel and those that compare.

    One holds the changes of the rows that are set against others, one, where asked, the published
    numbers and the differences to them.
    """
    panels = [_panel("", grid, grid.rows, _measured)]
    changed = [_changed_row(row) for row in grid.rows if row.against]
    if changed:
        title = "Change against another row, seed by seed"
        panels.append(_panel(title, grid, changed, _changed))
    if with_published:
        printed = [
            row
            for row in grid.rows
            if any(entry.published is not None for entry in row.entries.values())
        ]
        title = "Published numbers, and the difference: measured minus published"
        panels.append(_panel(title, grid, printed, _compared, ["publ.", "diff."]))
    return panels
