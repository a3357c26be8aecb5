"""The figure that sets quality against measured speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from run_examples import guessing_in, tiny_source, write_results
from test_speed import write_record

from adaptprune.errors import UserError
from adaptprune.figures.catalog import draw
from adaptprune.figures.tradeoff import on_front
from adaptprune.workflow.run import TRADEOFF_BATCHES

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    found = tiny_source(tmp_path)
    write_results(found, dense=0.7, flap=0.45, slicegpt=0.4)
    for batch in TRADEOFF_BATCHES:
        for cell in found.profile.cells():
            if cell.method != "dense":
                write_record(found, cell.method, cell.sparsity, batch=batch)
    return found


def test_every_checkpoint_stands_where_it_was_measured(source: Source) -> None:
    data = draw("tradeoff", source).data
    checkpoints = {(cell.method, cell.sparsity) for cell in source.profile.cells()}
    assert set(zip(data["method"], data["sparsity"], strict=True)) == checkpoints
    assert len(data) == len(checkpoints) * 2 * 2 * len(TRADEOFF_BATCHES)  # measures and phases
    dense = data[data["method"] == "dense"]
    assert set(dense["ratio"]) == {1.0}
    flap = data[(data["method"] == "flap") & (data["phase"] == "prefill")]
    assert set(flap["ratio"]) == {1.3}
    # SliceGPT is slower than dense at decoding, and worse.
    slower = data[(data["method"] == "slicegpt") & (data["phase"] == "decode")]
    assert not slower["on_front"].any()
    assert dense["on_front"].all()


def test_accuracies_stand_beside_what_guessing_gives(source: Source) -> None:
    drawing = draw("tradeoff", source)
    accuracies, perplexities = drawing.figure.axes[:4], drawing.figure.axes[4:]
    (chance,) = drawing.data["chance"].dropna().unique()
    assert [guessing_in(axes) for axes in accuracies] == [[chance]] * 4
    assert [guessing_in(axes) for axes in perplexities] == [[]] * 4


def test_the_front_holds_what_nothing_faster_beats() -> None:
    points = pd.DataFrame(
        {"ratio": [1, 1.2, 1.2, 1.5], "value": [70, 60, 65, 66], "better": "higher"}
    )
    assert on_front(points).tolist() == [True, False, False, True]
    lower = points.assign(value=-points["value"], better="lower")
    assert on_front(lower).tolist() == [True, False, False, True]


def test_a_batch_that_was_not_measured_is_told(source: Source) -> None:
    (source.folder / "speed" / "tiny-llama" / "flap" / "20-batch8.json").unlink()
    with pytest.raises(UserError, match=r"flap/20-batch8\.json: no such file"):
        draw("tradeoff", source)
