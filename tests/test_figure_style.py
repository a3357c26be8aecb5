"""The look that all figures share, and the files they are written to."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.colors import to_rgb

from adaptprune.figures.style import (
    SUFFIXES,
    method_styles,
    new_figure,
    save_figure,
    series_style,
    styled,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DATA = pd.DataFrame({"step": [1, 2, 3], "loss": [3.0, 1 / 3, 2.0]})


def draw(stem: Path) -> None:
    with styled():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.plot(DATA["step"], DATA["loss"], **series_style(0))
        axes.set_xlabel("Step")
    save_figure(figure, DATA, stem)


def test_a_figure_is_vector_and_pixels_with_its_data_and_nothing_else(tmp_path: Path) -> None:
    draw(tmp_path / "deep" / "fig")
    files = {path.name: path.read_bytes() for path in (tmp_path / "deep").iterdir()}
    assert set(files) == {f"fig{suffix}" for suffix in SUFFIXES}
    assert files["fig.pdf"].startswith(b"%PDF-")
    assert files["fig.png"].startswith(b"\x89PNG")
    assert files["fig.csv"] == b"step,loss\n1,3\n2,0.3333333333\n3,2\n"


def test_the_same_figure_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "one")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # as if on another day
    draw(tmp_path / "two")
    for suffix in SUFFIXES:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_name_with_a_dot_keeps_it(tmp_path: Path) -> None:
    draw(tmp_path / "llama-3.1")
    assert (tmp_path / "llama-3.1.pdf").is_file()


def luminance(color: str) -> float:
    """Return how bright a colour is in grey (Rec. 709)."""
    red, green, blue = to_rgb(color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_series_differ_without_colour() -> None:
    styles = [series_style(place) for place in range(28)]
    looks = {(style["marker"], style.get("markerfacecolor")) for style in styles}
    assert len(looks) == len(styles)
    for one, other in itertools.pairwise(styles[:7]):
        grey = [luminance(style["color"]) for style in (one, other)]
        assert one["linestyle"] != other["linestyle"]
        assert abs(grey[0] - grey[1]) > 0.03


def test_no_two_of_many_methods_look_alike() -> None:
    looks = [series_style(place) for place in range(100)]
    assert all(one != other for one, other in itertools.combinations(looks, 2))


def test_a_method_s_place_in_the_profile_gives_its_style() -> None:
    styles = method_styles(["dense", "flap", "slicegpt"])
    assert [styles[name] for name in ("dense", "flap", "slicegpt")] == [
        series_style(place) for place in range(3)
    ]
    assert method_styles(["flap", "slicegpt"]) == styles, "dense is drawn where it is not run too"


def test_a_style_leaves_no_trace() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    with styled():
        assert matplotlib.rcParams["axes.grid"]
    assert dict(matplotlib.rcParams) == before
