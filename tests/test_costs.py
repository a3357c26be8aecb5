"""What pruning costs: seconds per parameter and token, and the paper's claim in the same unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from run_examples import tiny_source, write_provenance, write_results

from adaptprune.errors import UserError
from adaptprune.papers.adapt_pruner.costs import measure_costs, render_costs
from adaptprune.results.rows import PROVENANCE, PROVENANCE_KEYS, Collected, read_provenance
from adaptprune.results.rows import write_results as write_collected

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    found = tiny_source(tmp_path, ("dense", "flap"), sparsities="20", seeds="0,1")
    write_results(found)
    write_provenance(found, score_s=10.0, cut_s=2.0)
    return found


def test_seconds_are_means_over_seeds_of_scores_and_cut(source: Source) -> None:
    costs = measure_costs(source)
    assert len(costs) == 1, "dense is no pruning, and the evaluation no cost of it"
    cost = costs.iloc[0]
    assert (cost["score_s"], cost["cut_s"], cost["total_s"]) == (10.0, 2.5, 12.5)
    assert (cost["cells"], cost["tokens"]) == (2, 8 * 32)
    assert cost["relative"] == pytest.approx(12.5 / 0.2 / 256)


def test_a_method_without_calibration_has_no_rate(source: Source) -> None:
    results = pd.read_csv(source.folder / "results.csv").assign(calibration="")
    results.to_csv(source.folder / "results.csv", index=False)
    render_costs(source, source.runs / "cost")
    (line,) = [
        text
        for text in (source.runs / "cost.md").read_text().splitlines()
        if text.startswith("| tiny-llama")
    ]
    assert line == "| tiny-llama | 20% | FLAP | 10.0 | 2.5 | 12.5 | – | – |"


def test_the_claim_stands_beside_in_the_same_unit(source: Source) -> None:
    render_costs(source, source.runs / "cost")
    text = (source.runs / "cost.md").read_text()
    # 120 s / (8.03 · 32,768) = 0.456 ms and 300 s make 1.14 ms per billion parameters and token.
    assert "| Adapt-Pruner, NVIDIA A40 | 0.456 to 1.14 | 2 to 5 |" in text
    assert "| Adapt-Pruner, Intel Xeon Gold 6346 | 3.42 to 6.84 | 15 to 30 |" in text
    # 12.5 s for 0.2 · 10⁹ parameters and 256 tokens: 244 ms, for 8.03 · 10⁹ and 32,768 17.8 hours.
    assert "| FLAP | 10.0 | 2.5 | 12.5 | 244 | 1071 |" in text


def test_provenance_is_read_as_it_is_written(source: Source, tmp_path: Path) -> None:
    read = read_provenance(source.folder / "provenance.csv")
    assert read.columns.tolist() == [*PROVENANCE_KEYS, *PROVENANCE]
    empty = pd.DataFrame({"profile": ["tiny"]})
    write_collected(Collected(empty, read), tmp_path / "r.csv", tmp_path / "p.csv")
    pd.testing.assert_frame_equal(read_provenance(tmp_path / "p.csv"), read)


def test_provenance_from_before_the_machine_was_recorded_is_read(source: Source) -> None:
    path = source.folder / "provenance.csv"
    new = pd.read_csv(path).assign(host="box")
    added = ["peak_device_mb", "score_peak_device_mb", "cpu", "cores", "memory_mb", "gpu"]
    new.drop(columns=added).to_csv(path, index=False)
    read = read_provenance(path)
    assert read.columns.tolist() == [*PROVENANCE_KEYS, *PROVENANCE]
    assert set(read["host"]) == {"box"}
    assert (read[["cpu", "gpu"]] == "").all(axis=None)
    assert read[["peak_device_mb", "cores", "memory_mb"]].isna().all(axis=None)
    new.drop(columns=[*added, "wall_s"]).to_csv(path, index=False)
    with pytest.raises(UserError, match=r"provenance\.csv: not a provenance file \(without wall_s"):
        read_provenance(path)


def test_an_absent_or_foreign_provenance_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"p\.csv: no such file"):
        read_provenance(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"p\.csv: not a provenance file"):
        read_provenance(tmp_path / "p.csv")
