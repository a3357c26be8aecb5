"""Names beside lines: where they fit they stand there, else all are in a legend."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from adaptprune.figures.labels import GUESSING, name_lines, readable
from adaptprune.figures.style import PAGE, draw_chance, new_figure, series_style, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawn(*ends: float, chance: float | None = None) -> tuple[Figure, Axes]:
    """Draw lines that begin at 0 and end at given heights, named 0, 1 and so on."""
    with styled():
        figure = new_figure(PAGE, 2.6)
        axes = figure.subplots()
        for place, end in enumerate(ends):
            axes.plot([0, 1, 2], [0, end / 2, end], label=f"Line {place}", **series_style(place))
        draw_chance(axes, chance)
        name_lines(figure, [axes])
    return figure, axes


def names(axes: Axes) -> dict[str, tuple[float, float, float, float]]:
    """Return the names that are written into a panel, with their left, low, right, high ends."""
    return {text.get_text(): text.get_window_extent().extents for text in axes.texts}


def test_names_stand_at_the_ends_of_their_lines() -> None:
    figure, axes = drawn(1, 5, 9, 9.2)
    assert figure.legends == []
    found = names(axes)
    assert found.keys() == {"Line 0", "Line 1", "Line 2", "Line 3"}
    inside = axes.get_window_extent()
    for number, end in enumerate((1, 5, 9, 9.2)):
        left, low, right, high = found[f"Line {number}"]
        x, y = axes.transData.transform((2, end))
        assert x < left < x + 12
        assert right <= inside.x1
        assert abs((low + high) / 2 - y) <= high - low, "beside its line"
    spans = sorted((low, high) for _, low, _, high in found.values())
    assert all(one[1] <= other[0] + 0.5 for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("ends", [(9,) * 4, (1, 5, 9)])
def test_a_name_that_has_no_room_puts_all_into_a_legend(ends: tuple[float, ...]) -> None:
    with styled():
        figure = new_figure(PAGE, 2.6)
        left, right = figure.subplots(1, 2)
        for place, end in enumerate(ends):
            name = f"Line {place}" + (" of a very long name" * 3 if end == 5 else "")
            left.plot([0, 2], [0, end], label=name, **series_style(place))
            right.plot([0, 2], [0, 10 * place], label=name, **series_style(place))
        limits = left.get_xlim()
        name_lines(figure, [left, right])
    assert (names(left), names(right)) == ({}, {})
    assert left.get_xlim() == limits
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(ends), "each name once"


def test_guessing_is_named_on_its_line_beside_a_legend_too() -> None:
    for ends, legends in (((40, 60), 0), ((60,) * 4, 1)):
        figure, axes = drawn(*ends, chance=25.0)
        assert len(figure.legends) == legends
        _, low, _, high = names(axes)["Guessing (25.0 %)"]
        y = axes.transData.transform((0, 25.0))[1]
        assert min(abs(low - y), abs(high - y)) < 6
        (line,) = [line for line in axes.lines if line.get_gid() == GUESSING]
        assert list(line.get_ydata()) == [25.0, 25.0]


def test_without_a_known_chance_no_line_is_drawn() -> None:
    _, axes = drawn(1, 5)
    assert [line.get_gid() for line in axes.lines] == [None, None]


def test_names_in_any_colour_can_be_read() -> None:
    for place in range(7):
        rgb = np.array(to_rgb(readable(series_style(place)["color"])))
        linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ (0.2126, 0.7152, 0.0722) + 0.05) >= 4.49
