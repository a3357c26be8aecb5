"""Accuracy against size as an SVG picture whose points can be pointed at and stepped through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.leaderboard.entries import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.leaderboard.entries import Board, Entry

WIDTH, HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 46
#: By family a colour (after Okabe and Ito, dark enough on white); the shapes differ in grey too.
COLOURS = dict(
    zip(FAMILIES, ("#000000", "#005a9c", "#7a3e9d", "#b34700", "#00664b", "#555555"), strict=True)
)
_SHAPES = {
    "dense": "M-6,-6H6V6H-6Z",
    "units": "M-5.5,0a5.5,5.5 0 1,0 11,0a5.5,5.5 0 1,0 -11,0Z",
    "layers": "M-6.5,5.5L0,-6.5L6.5,5.5Z",
    "single weights": "M0,-7L7,0L0,7L-7,0Z",
    "trained": "M-6.5,-5.5L0,6.5L6.5,-5.5Z",
    "other": "M-6,-6L6,6M6,-6L-6,6",
}


@dataclass(frozen=True)
class Point:
    """An entry in the picture: its place, the ends of its interval, and what it looks like.

    ``leads`` says that no average is higher at its model and sparsity: the picture names it.
    """

    number: int
    entry: Entry
    x: float
    y: float
    low: float
    high: float
    colour: str
    shape: str
    leads: bool


@dataclass(frozen=True)
class Tick:
    """A number on an axis, and where it stands."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """All that the picture shows, in its own coordinates."""

    points: list[Point]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    chance: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def plot_of(board: Board) -> Plot | None:
    """Return the picture of a board; None where nothing has both an average and a size."""
    shown = [
        (number, entry)
        for number, entry in enumerate(board.entries)
        if entry.average is not None and entry.nonzeros
    ]
    if not shown:
        return None
    sizes = [entry.nonzeros / 1e6 for _, entry in shown if entry.nonzeros]
    scores = [
        end for _, one in shown for end in (one.average, one.low, one.high) if end is not None
    ]
    scores += [] if board.chance is None else [board.chance]
    x_steps, y_steps = _steps(sizes), _steps(scores)

    def x_of(size: float) -> float:
        share = (size - x_steps[0]) / (x_steps[-1] - x_steps[0])
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y_of(score: float) -> float:
        share = (score - y_steps[0]) / (y_steps[-1] - y_steps[0])
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    best: dict[tuple[str, int], float] = {}
    for _, entry in shown:
        place = (entry.model, entry.sparsity)
        best[place] = max(best.get(place, 0.0), entry.average or 0.0)
    points = []
    for (number, entry), size in zip(shown, sizes, strict=True):
        average = entry.average or 0.0
        low, high = (average if end is None else end for end in (entry.low, entry.high))
        look = (COLOURS[entry.family], _SHAPES[entry.family])
        leads = average == best[entry.model, entry.sparsity]
        ends = (y_of(average), y_of(low), y_of(high))
        points.append(Point(number, entry, x_of(size), *ends, *look, leads))
    return Plot(
        points,
        [Tick(x_of(step), f"{step:g}") for step in x_steps],
        [Tick(y_of(step), f"{step:g}") for step in y_steps],
        None if board.chance is None else y_of(board.chance),
    )


def _steps(values: Sequence[float]) -> list[float]:
    """Return round numbers, evenly apart, from below the least value to above the greatest."""
    low, high = min(values), max(values)
    rough = (high - low or 1.0) / 5
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first = math.floor(low / step) - (1 if low == math.floor(low / step) * step else 0)
    last = math.ceil(high / step) + (1 if high == math.ceil(high / step) * step else 0)
    return [number * step for number in range(first, last + 1)]
