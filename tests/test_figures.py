"""Every figure, drawn from a made-up run: its data, its files, what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from run_examples import (
    MODEL,
    guessing_in,
    tiny_source,
    write_kept,
    write_results,
    write_sensitivity,
    write_trajectory,
)

from adaptprune.errors import UserError
from adaptprune.figures.catalog import draw, figure_names
from adaptprune.figures.size import center_of, on_front
from adaptprune.figures.style import SUFFIXES, method_styles, save_figure
from adaptprune.files.atomic import read_json, read_sealed_json, write_json, write_sealed_json
from adaptprune.models.catalogue import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from adaptprune.workflow.run import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A run that fig1, fig2 and size can be drawn from."""
    found = tiny_source(tmp_path)
    write_kept(found)
    write_sensitivity(found)
    write_trajectory(found)
    write_results(found, dense=0.7, flap=0.45, slicegpt=0.4)
    return found


def test_figures_are_found_by_their_module() -> None:
    assert {"fig1", "fig2", "size", "speed"} <= set(figure_names())
    assert not {"style", "catalog"} & set(figure_names())


@pytest.mark.parametrize("name", ["fig1", "fig2", "size"])
def test_a_figure_is_drawn_twice_in_the_same_bytes(
    source: Source, tmp_path: Path, name: str
) -> None:
    for place in ("one", "two"):
        drawing = draw(name, source)
        save_figure(drawing.figure, drawing.data, tmp_path / place)
    for suffix in SUFFIXES:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_fig1_shows_the_increase_and_the_size_of_every_layer(source: Source) -> None:
    data = draw("fig1", source).data
    increases = data[data["panel"] == "sensitivity"].pivot(
        index="uniform", columns="layer", values="increase"
    )
    assert increases.index.tolist() == [0, 10, 20]
    assert increases.loc[20].tolist() == [1000, 10, 1, -0.5]
    assert draw("fig1", source).figure.axes[0].get_ylabel().endswith("(linear below 1)")
    sizes = data[data["panel"] == "size"]
    shape = shape_of(MODEL)
    dense = sizes[sizes["method"] == "dense"]["params"]
    assert dense.sum() == shape.decoder_parameters
    assert set(sizes["method"]) == {"dense", "flap", "adapt-pruner"}, "SliceGPT cuts no layer"
    flap = sizes[(sizes["method"] == "flap") & (sizes["sparsity"] == 40)]
    assert flap["intermediate_size"].tolist() == [120, 119, 118, 117]
    assert flap["kv_heads"].tolist() == [3, 2, 1, 1]


def test_fig2_shows_what_the_log_holds(source: Source) -> None:
    data = draw("fig2", source).data
    assert len(data) == 4 * 4
    last = data[(data["step"] == 4) & (data["layer"] == 3)].iloc[0]
    shown = last[["importance", "sparsity", "sparsity_goal"]].tolist()
    assert shown == pytest.approx([-1, 60, 40])


def test_fig2_shows_importances_that_lie_close_together_in_many_greys(source: Source) -> None:
    """One layer at 1, the others around -0.05, as on real models: a tenth of them has a colour."""
    path = source.cell(MODEL, "adapt-pruner", 40) / "pruning.json"
    record = read_sealed_json(path)
    layers = [1.0, *(-0.07 + 0.002 * layer for layer in range(19))]
    for step in record["steps"]:
        step |= {"layer_importance": layers, "layer_importance_raw": layers}
        step |= {"target_sparsity": [0.1] * 20, "kv_heads": [3] * 20, "intermediate_size": [9] * 20}
    write_sealed_json(path, record)
    (image,) = draw("fig2", source).figure.axes[0].images
    shown = np.sort(image.norm(image.get_array())[:, 0])
    assert shown[[0, -1]].tolist() == [0, 1]
    assert np.diff(shown[:-2]).min() > 0.03
    assert shown[-2] > 0.85, "all colours but the last tenth are left to the 19"
    assert image.norm.inverse(image.norm(-0.05)) == pytest.approx(-0.05)


def test_fig2_shows_importances_that_are_all_equal(source: Source) -> None:
    path = source.cell(MODEL, "adapt-pruner", 40) / "pruning.json"
    record = read_sealed_json(path)
    for step in record["steps"]:
        step["layer_importance"] = [0.0] * 4
    write_sealed_json(path, record)
    drawing = draw("fig2", source)
    assert set(drawing.data["importance"]) == {0.0}
    drawing.figure.draw_without_rendering()


def test_fig2_counts_layers_from_the_first_that_is_pruned(source: Source) -> None:
    write_trajectory(source, first=2)
    data = draw("fig2", source).data
    assert sorted(set(data["layer"])) == [2, 3]
    assert data[data["layer"] == 2]["importance"].tolist() == [1] * 4


def test_fig2_refuses_a_run_without_steps(source: Source) -> None:
    path = source.cell(MODEL, "adapt-pruner", 40) / "pruning.json"
    write_sealed_json(path, {"model": MODEL, "status": "failed", "reason": "NaN", "steps": []})
    with pytest.raises(UserError, match=r"pruning\.json: holds no steps \(NaN\)"):
        draw("fig2", source)


def test_size_shows_means_over_seeds_and_who_is_on_the_front(source: Source) -> None:
    data = draw("size", source).data
    found = data.set_index(["measure", "method", "sparsity"])
    point = found.loc[("average", "adapt-pruner", 20)]
    assert point["value"] == pytest.approx(40.5)
    assert point["n_seeds"] == 2
    assert (point["low"], point["high"]) == pytest.approx((40.5 - 0.5**0.5, 40.5 + 0.5**0.5))
    front = data[data["on_front"]]
    assert set(front["method"]) == {"dense", "adapt-pruner"}
    assert set(front["measure"]) == {"average", "tiny_local_prose"}


def test_accuracies_stand_beside_what_guessing_gives(source: Source) -> None:
    drawing = draw("size", source)
    accuracy, perplexity = drawing.figure.axes
    assert guessing_in(accuracy) == drawing.data["chance"].dropna().unique().tolist()
    assert guessing_in(accuracy) != []
    assert guessing_in(perplexity) == []


def test_points_of_fewer_seeds_are_off_the_front(source: Source) -> None:
    path = source.folder / "results.csv"
    results = pd.read_csv(path)
    is_gone = (results["method"] == "flap") & (results["sparsity"] == 40) & (results["seed"] == 1)
    results[~is_gone].to_csv(path, index=False)
    drawing = draw("size", source)
    found = drawing.data.set_index(["measure", "method", "sparsity"])["seeds"]
    assert (found["average", "flap", 40], found["average", "flap", 20]) == ("0", "0 1")
    data = drawing.data
    assert set(data.loc[~data["all_seeds"], "method"]) == {"flap"}
    assert not data.loc[~data["all_seeds"], "on_front"].any()
    assert set(data.loc[data["on_front"], "method"]) == {"dense", "adapt-pruner"}
    assert drawing.figure.axes[0].get_title() == f"{MODEL}: points of fewer seeds off the front"


def test_perplexities_are_geometric_means_and_their_bars_stay_above_zero(source: Source) -> None:
    center = center_of([1e2, 1e4, 1e6], "perplexity")
    assert center == ("geometric mean", *map(pytest.approx, (1e4, 1e2, 1e6)))
    assert center_of([1.0, 2.0, 6.0], "accuracy").statistic == "mean"
    alone = center_of([7.0], "perplexity")
    assert alone.value == pytest.approx(7)
    assert pd.isna([alone.low, alone.high]).all(), "one seed has no spread"
    data = draw("size", source).data.set_index(["measure", "method", "sparsity"])
    point = data.loc[("tiny_local_prose", "adapt-pruner", 20)]
    seeds = (10 / 0.4, 10 / 0.41)
    assert point["statistic"] == "geometric mean"
    assert point["value"] == pytest.approx((seeds[0] * seeds[1]) ** 0.5)
    assert point["low"] * point["high"] == pytest.approx(point["value"] ** 2)


def test_a_bar_shows_what_the_data_say(source: Source) -> None:
    drawing = draw("size", source)
    axes = drawing.figure.axes[1]
    assert axes.get_yscale() == "log"
    shown = {
        tuple(sorted(segment[:, 1]))
        for container in axes.containers
        for segment in container[2][0].get_segments()
    }
    points = drawing.data[drawing.data["measure"] == "tiny_local_prose"].dropna(subset=["low"])
    expected = {tuple(ends) for ends in points[["low", "high"]].to_numpy()}
    assert {tuple(f"{end:.6g}" for end in ends) for ends in expected} <= {
        tuple(f"{end:.6g}" for end in ends) for ends in shown
    }


def colours(axes: Axes) -> dict[str, str]:
    """Return the colour of every labelled series of a panel."""
    handles, labels = axes.get_legend_handles_labels()
    lines = [getattr(handle, "lines", [handle])[0] for handle in handles]
    return {label: line.get_color() for label, line in zip(labels, lines, strict=True)}


@pytest.mark.parametrize("name", ["size", "fig1"])
def test_a_method_that_a_panel_lacks_changes_no_other_s_style(source: Source, name: str) -> None:
    # FLAP has no perplexity and no sizes at 20 %: those after it keep their looks.
    results = pd.read_csv(source.folder / "results.csv")
    lacking = (results["method"] == "flap") & (results["metric"] == "word_perplexity")
    results[~lacking].to_csv(source.folder / "results.csv", index=False)
    write_sealed_json(source.cell(MODEL, "flap", 20) / "kept.json", {"layers": []})
    figure = draw(name, source).figure
    panels = [axes for axes in figure.axes if "Adapt-Pruner" in colours(axes)]
    styles = method_styles(source.profile.methods)
    assert len(panels) == 2
    for axes in panels:
        assert colours(axes)["Adapt-Pruner"] == styles["adapt-pruner"]["color"]
    assert sum("FLAP" in colours(axes) for axes in panels) == 1
    named = [[text.get_text() for text in axes.texts] for axes in panels]
    assert sum("FLAP" in names for names in named) == 1
    assert all(names.count("Adapt-Pruner") == 1 for names in named)


def test_the_front_holds_what_nothing_smaller_beats() -> None:
    points = pd.DataFrame(
        {"nonzeros": [10, 8, 8, 6, 5], "value": [70, 60, 65, 66, 30], "better": "higher"}
    )
    assert on_front(points).tolist() == [True, False, False, True, True]
    lower = points.assign(value=-points["value"], better="lower")
    assert on_front(lower).tolist() == [True, False, False, True, True]


def test_an_unknown_figure_and_an_absent_run_are_told_in_one_line(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    run = ("--profile", "tiny", "--runs", tmp_path, "--output", tmp_path / "x")
    status, _, errors = command("figure", "--name", "fig11", *run)
    assert (status, errors.count("\n")) == (2, 1)
    assert "did you mean 'fig1'" in errors
    status, _, errors = command("figure", "--name", "size", *run)
    assert (status, errors.count("\n")) == (2, 1)
    assert "results.csv: no such file" in errors
    assert not list(tmp_path.glob("x*"))


def test_a_figure_without_points_is_refused(source: Source) -> None:
    results = pd.read_csv(source.folder / "results.csv")
    results.assign(model="other").to_csv(source.folder / "results.csv", index=False)
    with pytest.raises(UserError, match="profile 'tiny' holds nothing that it shows"):
        draw("size", source)


def test_an_altered_record_is_refused(source: Source) -> None:
    sensitivity = source.folder / "sensitivity" / MODEL / "u10.json"
    kept = source.cell(MODEL, "flap", 20) / "kept.json"
    for path, change in ((kept, {"layers": []}), (sensitivity, {"perplexity": 1.0})):
        before = path.read_text()
        write_json(path, read_json(path) | change)
        with pytest.raises(UserError, match=rf"{path.name}: altered"):
            draw("fig1", source)
        path.write_text(before)
