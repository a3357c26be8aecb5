"""Stored matrices: what is written, what is refused, and the matrices that are committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from matrix_examples import rewritten, stored, write_cells, write_dense, write_scored_cell

from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.files.atomic import read_json
from adaptprune.results.matrix import (
    beside,
    cell_of,
    check_versions,
    fingerprints,
    read_matrix,
    store_cells,
)
from adaptprune.results.notrun import list_not_run
from adaptprune.results.rows import CELL, KEYS
from adaptprune.workflow.profiles import load_profile, profile_names

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "config"
COMMITTED = sorted(
    path for path in (ROOT / "results").glob("*.csv") if path.stem in profile_names(CONFIG)
)
SUFFIXES = (
    ".csv",
    ".csv.sha256",
    ".documents.parquet",
    ".provenance.csv",
    ".versions.json",
)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored matrix of the tiny profile's models, sparsities and seeds."""
    folder = tmp_path_factory.mktemp("stored")
    cells = [write_dense(folder / "cells"), *write_cells(folder / "cells")]
    return stored(folder, "tiny", cells)


def absent(results: pd.DataFrame, profile: Any) -> list[str]:
    """Return the cells of a profile that the results have no row of."""
    there = {cell_of(row) for _, row in results.drop_duplicates(CELL).iterrows()}
    return [cell.key for cell in profile.cells() if cell not in there]


def guard(path: Path, profile: Any) -> None:
    """Check all that a stored matrix promises.

    Cells of its profile that are not there must stand in the list beside it, which code has made.
    """
    # Seal, schema, unique keys, equal conditions, documents that give the values.
    matrix = read_matrix(path)
    assert not matrix.results.duplicated(KEYS).any()
    assert not matrix.documents.duplicated([*KEYS, "document"]).any()
    lacking = beside(path, "not-run.csv")
    if lacking.is_file():
        listed = list_not_run(profile.cells(), matrix)
        kept = pd.read_csv(lacking, keep_default_na=False)
        pd.testing.assert_frame_equal(kept, listed, check_dtype=False)
        assert len(listed) == len(absent(matrix.results, profile))
    else:
        assert not absent(matrix.results, profile)
    record = beside(path, "versions.json")
    check_versions(fingerprints(matrix.results), read_json(record), record)
    assert set(map(tuple, matrix.provenance[CELL].to_numpy())) == set(
        map(tuple, matrix.results[CELL].to_numpy())
    )


def asked_numbers(profile: Any) -> dict[tuple[str, str], int]:
    """Return task and metric of every number that a profile asks of a cell, with its documents."""
    suite, evaluation = load_suite(profile.evaluation.suite), profile.evaluation
    sizes = [(task, evaluation.documents_per_task) for task in suite.tasks]
    if suite.perplexity:
        sizes.append((suite.perplexity, evaluation.perplexity_documents))
    return {
        (task.task, task.metric): min(task.documents, size or task.documents)
        for task, size in sizes
    }


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_matrices_are_sound(path: Path) -> None:
    profile = load_profile(CONFIG, path.stem)
    guard(path, profile)
    results = read_matrix(path).results
    asked = asked_numbers(profile)
    for _, rows in results[results["status"] == "ok"].groupby(CELL):
        found = {(row.task, row.metric): row.n for row in rows.itertuples()}
        assert {number: found.get(number) for number in asked} == asked
    assert beside(path, "documents.parquet").stat().st_size < 5e6


def test_every_committed_results_file_belongs_to_a_profile() -> None:
    known = {f"{path.stem}{suffix}" for path in COMMITTED for suffix in SUFFIXES}
    lists = {f"{path.stem}.{kind}.csv" for path in COMMITTED for kind in ("not-run", "speed")}
    found = {path.name for path in (ROOT / "results").glob("*") if path.is_file()}
    assert found - {"README.md", "leaderboard.html"} - lists == known


def test_a_stored_matrix_is_sound(example: Path) -> None:
    profile = load_profile(CONFIG, "tiny", {"methods": "dense,flap,llm-pruner"})
    guard(example, profile)
    assert sorted(path.name for path in example.parent.glob("tiny*")) == [
        f"tiny{suffix}" for suffix in sorted(SUFFIXES)
    ]


def test_storing_again_gives_the_same_results_and_documents(example: Path, tmp_path: Path) -> None:
    folders = [path.parent for path in example.parent.glob("cells/**/evaluation.json")]
    again = stored(tmp_path, "tiny", folders[::-1])
    for suffix in (".csv", ".csv.sha256", ".versions.json", ".documents.parquet"):
        name = f"tiny{suffix}"
        assert (tmp_path / name).read_bytes() == (example.parent / name).read_bytes()
    assert len(read_matrix(again).documents) == 9 * (2 * 40 + 2 * 12)


def test_a_cell_that_is_missing_is_named(example: Path) -> None:
    results = read_matrix(example).results
    profile = load_profile(CONFIG, "tiny", {"methods": "dense,flap,llm-pruner,random"})
    assert absent(results, profile) == [
        f"tiny-llama/random/{sparsity}/none/s{seed}" for sparsity in (20, 40) for seed in (0, 1)
    ]
    assert not absent(results, load_profile(CONFIG, "tiny", {"methods": "flap", "seeds": "0"}))


def test_unfinished_cells_are_not_stored(tmp_path: Path) -> None:
    cells = write_cells(tmp_path / "cells", ["flap"], [20], [0])
    (cells[0] / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"1 of 1 cells are not finished \(tiny-llama/flap/20"):
        store_cells(cells, "tiny", tmp_path / "tiny.csv")
    assert not list(tmp_path.glob("tiny*"))


def test_cells_with_damaged_documents_are_not_stored(tmp_path: Path) -> None:
    cells = write_cells(tmp_path / "cells", ["flap"], [20], [0])
    documents = cells[0] / "documents.parquet"
    documents.write_bytes(documents.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"documents\.parquet: not the scores of documents"):
        store_cells(cells, "tiny", tmp_path / "tiny.csv")


def test_cells_without_documents_are_not_stored(tmp_path: Path) -> None:
    cells = write_cells(tmp_path / "cells", ["flap"], [20], [0])
    (cells[0] / "documents.parquet").unlink()
    with pytest.raises(UserError, match=r"flap/20/none/s0/documents\.parquet: no such file"):
        store_cells(cells, "tiny", tmp_path / "tiny.csv")


def test_a_failed_cell_is_stored_with_its_reason(tmp_path: Path) -> None:
    cell = write_scored_cell(
        tmp_path / "cells", pruning={"status": "failed", "reason": "loss is nan", "counts": None}
    )
    other = write_scored_cell(tmp_path / "cells", seed=1)
    matrix = read_matrix(stored(tmp_path, "tiny", [cell, other]))
    assert set(matrix.results["status"]) == {"ok", "failed"}
    assert set(matrix.documents["seed"]) == {1}


def test_a_matrix_grows_by_the_cells_of_a_run(tmp_path: Path) -> None:
    dense, *cells = [
        write_dense(tmp_path / "cells"),
        *write_cells(tmp_path / "cells", ["flap", "random"]),
    ]
    at_once = stored(tmp_path / "at-once", "tiny", [dense, *cells])
    path = stored(tmp_path, "tiny", cells[2:])
    stored(tmp_path, "tiny", [dense, *cells[:2]])
    for suffix in SUFFIXES:
        assert beside(path, suffix[1:]).read_bytes() == beside(at_once, suffix[1:]).read_bytes()
    guard(path, load_profile(CONFIG, "tiny", {"methods": "dense,flap,random"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method_version": 2},
            r"method_version of method flap is 1 in tiny-llama/flap/20/none/s0 of tiny\.csv but 2 "
            r"in tiny-llama/flap/40/none/s0 of this run; .* or delete .*tiny\.\* to begin anew",
        ),
        ({"parameters": {"layers": "4-25"}}, "method_parameters of model tiny-llama, method flap"),
    ],
)
def test_a_matrix_does_not_grow_by_cells_of_another_method(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = stored(tmp_path, "tiny", write_cells(tmp_path / "one", ["flap"]))
    before = {suffix: beside(path, suffix[1:]).read_bytes() for suffix in SUFFIXES}
    with pytest.raises(UserError, match=message):
        stored(tmp_path, "tiny", write_cells(tmp_path / "two", ["flap"], [40], pruning=changes))
    assert before == {suffix: beside(path, suffix[1:]).read_bytes() for suffix in SUFFIXES}


def test_a_matrix_that_was_cut_short_is_stored_again_with_all_its_cells(tmp_path: Path) -> None:
    cells = write_cells(tmp_path / "cells")
    path = stored(tmp_path, "tiny", cells)
    whole = path.read_bytes()
    beside(path, "csv.sha256").write_text(f"{'0' * 64}  tiny.csv\n")
    with pytest.raises(UserError, match=r"tiny\.csv: altered since it was collected"):
        stored(tmp_path, "tiny", cells[:4])
    stored(tmp_path, "tiny", cells)
    assert path.read_bytes() == whole
    read_matrix(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skill": 0.6}, r"numbers of tiny-llama/flap/20/none/s0 changed.* has version 1; raise"),
        (
            {"evaluation": {"conditions__max_length": 99}},
            "max_length of model tiny-llama is 1024 in .* but 99 in",
        ),
    ],
)
def test_numbers_do_not_change_while_the_method_stays(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = stored(tmp_path, "tiny", write_cells(tmp_path / "one"))
    before = path.read_bytes()
    with pytest.raises(UserError, match=message):
        stored(tmp_path, "tiny", write_cells(tmp_path / "two", **changes))
    assert path.read_bytes() == before


def test_numbers_change_with_the_method_s_version(tmp_path: Path) -> None:
    path = stored(tmp_path, "tiny", write_cells(tmp_path / "one", ["flap"]))
    newer = {"method_version": 2}
    cells = write_cells(tmp_path / "two", ["flap"], skill=0.6, pruning=newer)
    stored(tmp_path, "tiny", cells)
    recorded = read_json(beside(path, "versions.json"))
    assert set(recorded["flap"]) == {"1", "2"}
    old = write_cells(tmp_path / "three", ["flap"], skill=0.7)
    with pytest.raises(UserError, match="flap still has version 1"):
        stored(tmp_path, "tiny", old)


def test_a_number_changed_by_hand_is_noticed(example: Path, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"tiny{suffix}").write_bytes((example.parent / f"tiny{suffix}").read_bytes())
    path = tmp_path / "tiny.csv"
    path.write_text(path.read_text().replace(",20,none,", ",21,none,", 1))
    with pytest.raises(UserError, match="altered since it was collected"):
        read_matrix(path)
    matrix = read_matrix(example)
    row = matrix.results.index[matrix.results["metric"] == "acc"][0]
    matrix.results.loc[row, "value"] += 0.001
    rewritten(matrix, path)
    with pytest.raises(UserError, match=r"the documents of tiny-llama/dense.* give .* store both"):
        read_matrix(path)
    record = beside(path, "versions.json")
    with pytest.raises(UserError, match="the numbers of tiny-llama/dense/0/none/s0 changed"):
        check_versions(fingerprints(matrix.results), read_json(record), record)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (".csv", r"tiny\.csv: no such file"),
        (".documents.parquet", r"tiny\.documents\.parquet: no such file; .* `adaptprune store`"),
        (".provenance.csv", r"tiny\.provenance\.csv: no such file"),
    ],
)
def test_an_incomplete_matrix_is_refused(
    example: Path, tmp_path: Path, suffix: str, message: str
) -> None:
    for other in SUFFIXES:
        if other != suffix:
            (tmp_path / f"tiny{other}").write_bytes((example.parent / f"tiny{other}").read_bytes())
    with pytest.raises(UserError, match=message):
        read_matrix(tmp_path / "tiny.csv")


def test_documents_that_are_none_are_refused(example: Path, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"tiny{suffix}").write_bytes((example.parent / f"tiny{suffix}").read_bytes())
    (tmp_path / "tiny.documents.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match="not the scores of documents"):
        read_matrix(tmp_path / "tiny.csv")
    lacking = read_matrix(example).documents.query("method != 'flap'")
    lacking.to_parquet(tmp_path / "tiny.documents.parquet")
    with pytest.raises(UserError, match="no documents of tiny-llama/flap/20/none/s0"):
        read_matrix(tmp_path / "tiny.csv")


def test_the_results_of_a_run_are_read_with_its_cells(tmp_path: Path) -> None:
    from adaptprune.results.rows import collect, write_results

    cells = write_cells(tmp_path / "cells", ["flap"], [20])
    collected = collect(cells, "tiny")
    write_results(collected, tmp_path / "results.csv", tmp_path / "provenance.csv")
    matrix = read_matrix(tmp_path / "results.csv")
    assert set(matrix.documents["seed"]) == {0, 1}
    assert isinstance(matrix.provenance, pd.DataFrame)
    assert {cell_of(row).key for _, row in matrix.results.iterrows()} == {
        f"tiny-llama/flap/20/none/s{seed}" for seed in (0, 1)
    }


def test_the_command_stores_a_profile(tmp_path: Path, command: Callable[..., Any]) -> None:
    write_cells(tmp_path / "runs" / "tiny" / "cells", ["flap"])
    arguments = [
        *("store", "--profile", "tiny", "--runs", tmp_path / "runs", "--config-folder", CONFIG),
        *("--override", "methods=flap", "--output", tmp_path / "kept.csv"),
    ]
    status, _, errors = command(*arguments)
    assert status == 0, errors
    assert json.loads((tmp_path / "kept.versions.json").read_text())["flap"]["1"]
    status, _, errors = command(*arguments[:-4], "--override", "methods=flap,random")
    assert status == 2
    assert errors.startswith("error: profile tiny: 4 of 8 cells are not finished")


def test_finished_cells_are_added_and_the_others_listed(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    kept, cells = tmp_path / "kept.csv", tmp_path / "runs" / "tiny" / "cells"
    arguments = [
        *("store", "--finished", "--profile", "tiny", "--runs", tmp_path / "runs"),
        *("--config-folder", CONFIG, "--output", kept),
    ]
    assert command(*arguments)[::2] == (2, "error: profile tiny: none of 17 cells is finished\n")
    listed = []
    for more in (["flap"], ["llm-pruner"]):
        write_cells(cells, more)
        status, printed, errors = command(*arguments)
        assert status == 0, errors
        listed.append(pd.read_csv(tmp_path / "kept.not-run.csv", keep_default_na=False))
        assert json.loads(printed)["not_run"] == len(listed[-1])
    assert set(read_matrix(kept).results["method"]) == {"flap", "llm-pruner"}
    assert [len(rows) for rows in listed] == [13, 9]
    assert set(listed[1]["status"]) == {"not run"}
    assert set(listed[1]["minutes"]) == {0.4}  # 1.5 s of pruning, 20 s of evaluation
