"""Names beside the lines that they name, where they fit; else one legend under all panels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.legend import Legend
    from matplotlib.path import Path
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

#: Marks the line of what guessing gives, which runs through a whole panel.
GUESSING = "guessing"
#: Marks a broad grey line behind the others, on which names can be read.
FRONT = "front"
#: Points between the end of a line and its name.
_GAP = 4
#: What names may take of the width of a panel.
_SHARE = 0.4
#: How far a name may move up or down from its line, in its own height.
_SHIFT = 1.0
#: Contrast to white that names have at least (WCAG 2, AA).
_CONTRAST = 4.5


class Named(NamedTuple):
    """A line of a panel and its name."""

    line: Line2D
    name: str


def name_lines(figure: Figure | SubFigure, panels: Iterable[Axes]) -> None:
    """Write the name of every line at its end, or of all in a legend where one does not fit.

    The layout is settled before, so this comes last of all that is drawn.

    Args:
        figure: or the part of one whose panels they are.
        panels: whose lines have names.
    """
    panels = list(panels)
    root: Any = panels[0].get_figure(root=True)
    root.draw_without_rendering()
    limits = [axes.get_xlim() for axes in panels]
    written = [_name_beside(axes) for axes in panels]
    if None not in written:
        return
    _remove(text for texts in written for text in texts or ())
    for axes, limit in zip(panels, limits, strict=True):
        axes.set_xlim(limit)
    legend = _add_legend(figure, panels, but=GUESSING)
    root.draw_without_rendering()
    along = [_name_along(axes, []) for axes in panels]
    if None in along:
        _remove([legend, *(text for texts in along for text in texts or ())])
        _add_legend(figure, panels)


def _remove(artists: Iterable[Artist]) -> None:
    for artist in artists:
        artist.remove()


def _shown(axes: Axes) -> list[tuple[Any, str]]:
    """Return what of a panel has a name, and the names."""
    return list(zip(*axes.get_legend_handles_labels(), strict=True))


def _named(axes: Axes, *, guessing: bool) -> list[Named]:
    """Return the lines of a panel that have names: that of guessing, or all others."""
    named = [
        Named(handle if isinstance(handle, Line2D) else handle[0], label)  # or one with bars
        for handle, label in _shown(axes)
    ]
    return [one for one in named if (one.line.get_gid() == GUESSING) == guessing]


def _add_legend(figure: Figure | SubFigure, panels: Sequence[Axes], but: str = "") -> Legend:
    """Write one legend under all panels; what several of them show stands there once.

    Args:
        figure: or a part of one.
        panels: whose lines it names.
        but: mark of lines that are named otherwise.
    """
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in _shown(axes):
            if not (but and isinstance(handle, Line2D) and handle.get_gid() == but):
                shown.setdefault(label, handle)
    return figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=4)


def _name_beside(axes: Axes) -> list[Text] | None:
    """Return the names written into a panel; None, and none of them, where one does not fit."""
    texts = [_write(axes, one) for one in _named(axes, guessing=False)]
    fits = _make_room(axes, texts) and _spread(axes, texts)
    boxes = [text.get_window_extent() for text in texts]
    drawn = _drawn(axes)
    along = None
    if fits and not any(_is_crossed(box, drawn) for box in boxes):
        along = _name_along(axes, boxes)
    if along is None:
        _remove(texts)
        return None
    return [*texts, *along]


def _name_along(axes: Axes, taken: Sequence[Bbox]) -> list[Text] | None:
    """Return the name of a panel's line of guessing, written on it; None where it has no room."""
    texts = [_write_along(axes, one, taken) for one in _named(axes, guessing=True)]
    if None in texts:
        _remove(text for text in texts if text)
        return None
    return [text for text in texts if text]


def _write(axes: Axes, one: Named) -> Text:
    """Write a name to the right of the end of its line."""
    x, y = (np.asarray(values)[-1] for values in one.line.get_data())
    text = axes.annotate(
        one.name, (x, y), (_GAP, 0), textcoords="offset points", va="center", **_look(one)
    )
    text.set_in_layout(False)
    return text


def _look(one: Named) -> dict[str, Any]:
    """Return how a name is written: in the colour of its line, on white."""
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    color = readable(one.line.get_color())
    return {"color": color, "fontsize": 7, "bbox": ground, "annotation_clip": False}


def readable(color: Any) -> str:
    """Return a colour darkened until it stands out as text on white."""
    rgb = np.array(to_rgb(color))
    while 1.05 / (_luminance(rgb) + 0.05) < _CONTRAST:
        rgb *= 0.95
    return to_hex(tuple(rgb))


def _luminance(rgb: np.ndarray) -> float:
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def _make_room(axes: Axes, texts: Sequence[Text]) -> bool:
    """Widen the range of a panel so that names end within it; say whether they can."""
    inside = axes.get_window_extent()
    missing = max([text.get_window_extent().x1 - inside.x1 + 2 for text in texts] or [0])
    if missing > _SHARE * inside.width:
        return False
    if missing > 0:
        right = inside.x0 + inside.width * inside.width / (inside.width - missing)
        left, _ = axes.get_xlim()
        axes.set_xlim(left, axes.transData.inverted().transform((right, inside.y0))[0])
    return True


def _spread(axes: Axes, texts: Sequence[Text]) -> bool:
    """Move names apart where they would overlap; say whether all stay beside their lines."""
    boxes = [text.get_window_extent() for text in texts]
    if not boxes:
        return True
    height = max(box.height for box in boxes)
    middles = np.array([(box.y0 + box.y1) / 2 for box in boxes])
    moved = _apart(middles, height) - middles
    pixels = axes.figure.dpi / 72
    for text, shift in zip(texts, moved, strict=True):
        text.xyann = (_GAP, shift / pixels)  # type: ignore[attr-defined]
    places, inside = middles + moved, axes.get_window_extent()
    return bool(
        np.abs(moved).max() <= _SHIFT * height
        and places.min() - height / 2 >= inside.y0
        and places.max() <= inside.y1
    )


def _apart(middles: np.ndarray, height: float) -> np.ndarray:
    """Return places a height apart or more, as near to the wanted ones as they can be.

    What would overlap is stacked around the mean of where it is wanted.
    """
    stacks: list[list[int]] = []
    for number in np.argsort(middles, kind="stable"):
        stacks.append([int(number)])
        while len(stacks) > 1:
            (below, above), counts = stacks[-2:], (len(stacks[-2]), len(stacks[-1]))
            distance = middles[above].mean() - middles[below].mean()
            if distance >= height * sum(counts) / 2:
                break
            stacks[-2:] = [below + above]
    places = middles.copy()
    for stack in stacks:
        steps = np.arange(len(stack)) - (len(stack) - 1) / 2
        places[stack] = middles[stack].mean() + height * steps
    return places


def _drawn(axes: Axes) -> list[Path]:
    """Return all that a name must not lie on: lines but those behind, and bars of errors."""
    paths = [
        line.get_transform().transform_path(line.get_path())
        for line in axes.lines
        if line.get_gid() not in (GUESSING, FRONT) and len(np.asarray(line.get_xdata())) > 1
    ]
    for bars in axes.collections:
        paths += [bars.get_transform().transform_path(path) for path in bars.get_paths()]
    return paths


def _is_crossed(box: Bbox, paths: Iterable[Path]) -> bool:
    return any(path.intersects_bbox(box, filled=False) for path in paths)


def _write_along(axes: Axes, one: Named, taken: Sequence[Bbox]) -> Text | None:
    """Write the name of a line through the whole panel on it, or under it, at either end."""
    value = np.asarray(one.line.get_ydata())[0]
    inside = axes.get_window_extent()
    for x, align in ((1.0, "right"), (0.0, "left")):
        for y, side in ((2, "bottom"), (-2, "top")):
            text = axes.annotate(
                one.name,
                (x, value),
                (-2 if align == "right" else 2, y),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha=align,
                va=side,
                **_look(one),
            )
            text.set_in_layout(False)
            box = text.get_window_extent()
            free = not _is_crossed(box, _drawn(axes)) and not box.count_overlaps(taken)
            if free and inside.y0 <= box.y0 and box.y1 <= inside.y1:
                return text
            text.remove()
    return None
