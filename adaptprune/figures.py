"""How figures look and are saved: one style, readable in grey, the data beside the picture."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from adaptprune.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

#: Lines are told apart by pattern and marker, not by colour alone.
LINES = ({"linestyle": "-", "marker": "o"}, {"linestyle": "--", "marker": "s"})
#: Darker to lighter: still ordered when printed without colour.
COLOURS = ("#1b3a5c", "#c2570c", "#8fa3b8")

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 200,
}
#: Width of one column of a paper, in inches.
_WIDTH = 3.4
#: Without the time of their making, equal pictures are equal files.
_METADATA = {".pdf": {"CreationDate": None}, ".png": {"Software": None}}


@contextlib.contextmanager
def drawing(panels: int, height: float = 1.4) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a figure in this suite's style, and its panels from top to bottom.

    Args:
        panels: how many, one above the other, with one horizontal axis.
        height: of a panel, in inches.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            panels,
            1,
            sharex=True,
            squeeze=False,
            figsize=(_WIDTH, height * panels + 0.4),
            layout="constrained",
        )
        try:
            yield figure, list(axes[:, 0])
        finally:
            plt.close(figure)


def save(figure: Any, data: pd.DataFrame, stem: Path) -> None:
    """Write a figure as ``<stem>.pdf`` and ``<stem>.png``, and what it shows as ``<stem>.csv``."""
    for suffix, metadata in _METADATA.items():
        with atomic_file(stem.with_name(stem.name + suffix)) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=metadata)
    with atomic_file(stem.with_name(f"{stem.name}.csv")) as temporary:
        data.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
