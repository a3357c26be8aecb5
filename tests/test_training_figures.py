"""Figures 3 and 4: what they show, and that picture and data are the same again."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from table_examples import DECLARATIONS, SUITE
from test_listed_tables import TINY, rows_of

from adaptprune.cells import cell_folder
from adaptprune.declarations import Figure, load_declaration
from adaptprune.errors import UserError
from adaptprune.figures import drawing, save
from adaptprune.results import COLUMNS
from adaptprune.trainingfigures import draw_figure, kept_share, steps_of

if TYPE_CHECKING:
    from pathlib import Path


def log_rows() -> list[dict[str, Any]]:
    """Return the log of two stages: two steps of 100 tokens, then six."""
    rows = []
    for step in range(1, 9):
        stage = 1 if step <= 2 else 2
        rows.append(
            {
                "step": step,
                "stage": stage,
                "tokens": 100 * step,
                "parameters": 1000 - 200 * stage,
                "learning_rate": 0.01,
                "loss": 5.0,
            }
        )
    return rows


def declaration(name: str) -> Figure:
    found = load_declaration(DECLARATIONS / f"{name}.yaml")
    assert isinstance(found, Figure)
    return found


def draw(name: str, folder: Path) -> Path:
    """Draw a declared figure of the tiny profile; returns the stem of the outputs."""
    stem = folder / "generated" / name
    draw_figure(
        declaration(name),
        folder / "results.csv",
        DECLARATIONS / "published.csv",
        stem,
        runs=folder,
        name="tiny",
        profile=TINY,
        suite=SUITE,
    )
    return stem


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A folder with the log of the run of Figure 3 and the results of Figure 4."""
    run = TINY.listed_cells(declaration("fig3").rows["tiny"])[0]
    log = cell_folder(tmp_path, "tiny", run) / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join(json.dumps(row) + "\n" for row in log_rows()))
    rows = []
    for place, cell in enumerate(TINY.listed_cells(declaration("fig4").rows["tiny"])):
        rows += rows_of(cell, (0.4 + 0.01 * place, 0.6), tokens=2048)
    frame = pd.DataFrame([vars(row) for row in rows], columns=COLUMNS)
    for column in ("n", "params", "tokens"):
        frame[column] = frame[column].astype("Int64")
    frame.to_csv(tmp_path / "results.csv", index=False)
    return tmp_path


def test_a_run_is_told_step_by_step_with_the_share_of_its_stage(finished: Path) -> None:
    stem = draw("fig3", finished)
    data = pd.read_csv(stem.with_suffix(".csv"))
    assert data["tokens"].tolist() == [100 * step for step in range(1, 9)]
    assert data["stage_share"].tolist() == [25.0] * 2 + [75.0] * 6
    assert data["parameters"].tolist() == [800] * 2 + [600] * 6


def test_interleaves_stand_beside_the_published_ratios(finished: Path) -> None:
    stem = draw("fig4", finished)
    data = pd.read_csv(stem.with_suffix(".csv")).set_index("interleaves")
    assert data.index.tolist() == [2, 3]
    kept = data["kept_per_pruning"]
    assert kept[2] ** 2 == pytest.approx(kept[3] ** 3)
    assert data["published_ratio"].isna().all(), "the paper has neither 2 nor 3 interleaves"
    assert data.loc[2, "average"] == pytest.approx(50.5)
    assert data.loc[3, "average_seeds"] == 2


def test_published_ratios_are_close_to_those_of_the_arithmetic() -> None:
    """MobileLLM-350M to 125M: (125/345)^(1/N_P), the paper's values to two or three digits."""
    from adaptprune.config import load_profile
    from adaptprune.trainingfigures import published_ratios

    profile = load_profile(DECLARATIONS.parent / "config", "paper-interleaves")
    printed = published_ratios(DECLARATIONS / "published.csv")
    for row in declaration("fig4").rows["paper-interleaves"]:
        count, kept = kept_share(profile.recovery(str(row.recovery)))
        assert kept == pytest.approx(printed[count], abs=0.011)


@pytest.mark.parametrize("name", ["fig3", "fig4"])
def test_a_figure_is_vector_and_bitmap_and_the_same_again(finished: Path, name: str) -> None:
    stem = draw(name, finished)
    first = {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (".pdf", ".png", ".csv")}
    assert first[".pdf"].startswith(b"%PDF")
    assert first[".png"].startswith(b"\x89PNG")
    draw(name, finished)
    assert first == {suffix: stem.with_suffix(suffix).read_bytes() for suffix in first}


def test_lines_stay_apart_without_colour() -> None:
    from adaptprune.figures import COLOURS, LINES

    def luminance(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    levels = sorted(luminance(colour) for colour in COLOURS)
    assert min(b - a for a, b in itertools.pairwise(levels)) > 0.15
    assert len({line["linestyle"] for line in LINES}) == len(LINES)


def test_drawing_leaves_the_style_of_others_alone(tmp_path: Path) -> None:
    import matplotlib

    before = matplotlib.rcParams["font.size"]
    with drawing(1) as (figure, axes):
        axes[0].plot([0, 1])
        save(figure, pd.DataFrame({"x": [0, 1]}), tmp_path / "f")
    assert matplotlib.rcParams["font.size"] == before


def test_an_absent_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"log\.jsonl: no step of a training"):
        steps_of(tmp_path / "log.jsonl")
