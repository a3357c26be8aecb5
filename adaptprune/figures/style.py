"""What all figures share: one look that reads in grey, and files that are the same bytes again.

No pyplot: a ``matplotlib.figure.Figure`` of its own needs no display and leaves no global state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from adaptprune.figures.labels import GUESSING
from adaptprune.files.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes

#: Width in inches of a figure across one column and across the page.
COLUMN, PAGE = 3.3, 6.9

SUFFIXES = (".pdf", ".png", ".svg", ".csv")

_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 7.5,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "image.cmap": "cividis",  # luminance rises evenly
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 200,
    "svg.hashsalt": "adaptprune",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}

# Colours (after Okabe and Ito) from dark to light, so that neighbours differ in grey; shape and
# dashes tell them apart without any colour.
_SERIES: tuple[tuple[str, Any], ...] = (
    ("#000000", "-"),
    ("#0072b2", (0, (5, 1.5))),
    ("#d55e00", (0, (1, 1))),
    ("#009e73", (0, (4, 1.5, 1, 1.5))),
    ("#cc79a7", (0, (3, 1, 1, 1, 1, 1))),
    ("#56b4e9", (0, (7, 2))),
    ("#e6b800", (0, (2, 2))),
)
#: Of the first round through the colours and of its hollow twin, then of the next two.
_MARKERS = ("os^DvPX", "<>p*dhH")


def styled() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn; also usable as a decorator."""
    return matplotlib.rc_context(_SETTINGS)  # type: ignore[arg-type]


def series_style(place: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the series at a place, as arguments of ``plot``.

    Past the last colour they begin again with hollow markers, then with others; after all markers
    the colours are shifted against them.
    """
    turn, index = divmod(place, len(_SERIES))
    shift, kind = divmod(turn, 2 * len(_MARKERS))
    color, dashes = _SERIES[(index + shift) % len(_SERIES)]
    hollow = {"markerfacecolor": "white"} if kind % 2 else {}
    return {"color": color, "marker": _MARKERS[kind // 2][index], "linestyle": dashes} | hollow


def method_styles(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the style of each method of a profile: the same in every panel and figure.

    Args:
        methods: of the profile; dense has the first style whether it is among them or not.
    """
    order = dict.fromkeys(["dense", *methods])
    return {method: series_style(place) for place, method in enumerate(order)}


def draw_chance(axes: Axes, chance: float | None) -> None:
    """Draw what guessing gives, in percent, where it is known; every panel of accuracies has it."""
    if chance is not None:
        style: dict[str, Any] = {"color": "0.4", "linestyle": ":", "linewidth": 1, "marker": ""}
        axes.axhline(chance, **style, gid=GUESSING, label=f"Guessing ({chance:.1f} %)")


def add_remark(figure: Figure, remark: str) -> None:
    """Write a remark above all panels, small: what the whole figure is made from."""
    with styled():
        figure.suptitle(remark, fontsize=6, x=0.01, horizontalalignment="left")


def new_figure(width: float = COLUMN, height: float = 2.4) -> Figure:
    """Return an empty figure.

    Args:
        width: in inches; ``COLUMN`` or ``PAGE``.
        height: in inches.
    """
    with styled():
        return Figure(figsize=(width, height))


def save_figure(figure: Figure, data: pd.DataFrame, stem: Path) -> None:
    """Write a figure as ``<stem>.pdf``, ``.png`` and ``.svg``, and its data as ``<stem>.csv``.

    Every file appears whole or not at all; the same figure gives the same bytes.

    Args:
        figure: drawn within ``styled()``.
        data: tidy rows that hold every number the figure shows.
        stem: path of the outputs without suffix.
    """
    # Neither date nor version of the software: they would make equal figures differ.
    metadata: dict[str, dict[str, Any]] = {
        ".pdf": {"Creator": "adaptprune", "Producer": None, "CreationDate": None},
        ".png": {"Software": None},
        ".svg": {"Creator": "adaptprune", "Date": None},
    }
    with styled():
        for suffix, fixed in metadata.items():
            with atomic_file(stem.with_name(stem.name + suffix)) as temporary:
                figure.savefig(temporary, format=suffix.removeprefix("."), metadata=fixed)
    with atomic_file(stem.with_name(f"{stem.name}.csv")) as temporary:
        data.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
