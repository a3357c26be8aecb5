"""Collecting cells into result rows."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cell_examples import (
    EVALUATION,
    PRUNING,
    TRAINING,
    changed,
    sealed,
    write_cell,
    write_evaluation,
    write_trained_cell,
)

from adaptprune.errors import UserError
from adaptprune.results.records import read_cell
from adaptprune.results.rows import (
    COLUMNS,
    Row,
    cell_rows,
    collect,
    missing_cells,
    read_provenance,
    read_results,
    write_results,
)
from adaptprune.results.stats import macro_average_stderr, summarize

if TYPE_CHECKING:
    from pathlib import Path


def rows_in(folder: Path) -> list[Row]:
    """Return the rows of the finished cell in a folder."""
    cell = read_cell(folder)
    assert cell is not None
    return cell_rows(cell, "mini")


def second_seed(**changes: Any) -> dict[str, Any]:
    return changed(PRUNING, seed=1, calibration__hash="c1", **changes)


@pytest.mark.parametrize("model", [".", "~/small", "/elsewhere/small/"])
def test_cell_of_a_model_folder_is_read_by_the_folder_s_name(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path / "small")
    written = write_cell(tmp_path / "made", changed(PRUNING, model="small"), EVALUATION)
    made = changed(PRUNING, model=model)
    (written / "pruning.json").write_text(sealed(made))
    write_evaluation(written, made, EVALUATION)
    assert {row.model for row in rows_in(written)} == {model}


def test_a_finished_cell_gives_one_row_per_number(tmp_path: Path) -> None:
    rows = rows_in(write_cell(tmp_path, evaluation=EVALUATION))
    assert [(row.task, row.metric) for row in rows] == [
        ("winowhy", "acc"),
        ("prose", "word_perplexity"),
        ("prose", "byte_perplexity"),
        ("prose", "bits_per_byte"),
    ]
    row = rows[0]
    assert (row.model, row.value, row.stderr, row.n) == ("org/small", 0.5, 0.08, 40)
    assert (row.params, row.sparsity_reached, row.calibration) == (800, 0.2, "prose 8x64")
    assert (row.device, row.task_version, row.task_hash) == ("cuda", "1.0", "t1")


def test_what_masks_leave_stands_beside_the_parameters(tmp_path: Path) -> None:
    plain = rows_in(write_cell(tmp_path, evaluation=EVALUATION))[0]
    assert (plain.params, plain.nonzeros, plain.pattern) == (800, 800, "")
    masked = changed(PRUNING, counts__params=1000, counts__nonzeros=600, counts__pattern="2:4")
    row = rows_in(write_cell(tmp_path / "masked", masked, EVALUATION))[0]
    assert (row.params, row.nonzeros, row.pattern) == (1000, 600, "2:4")


def test_results_from_before_there_were_masks_have_no_zeros(tmp_path: Path) -> None:
    collected = collect([write_cell(tmp_path, evaluation=EVALUATION)], "mini")
    before = collected.results.drop(columns=["nonzeros", "pattern"])
    before.to_csv(tmp_path / "before.csv", index=False)
    read = read_results(tmp_path / "before.csv")
    assert list(read.columns) == COLUMNS
    assert read.dtypes.equals(collected.results.dtypes)
    assert list(read["nonzeros"]) == list(read["params"]) == [800] * len(read)
    assert set(read["pattern"]) == {""}


def test_one_method_has_one_pattern(tmp_path: Path) -> None:
    cells = [
        write_cell(tmp_path, change(counts__nonzeros=600, counts__pattern=pattern), EVALUATION)
        for change, pattern in ((lambda **to: changed(PRUNING, **to), "2:4"), (second_seed, "4:8"))
    ]
    with pytest.raises(UserError, match=r"mixed conditions: pattern of .*2:4 in .*4:8"):
        collect(cells, "mini")


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_cell_that_was_not_pruned_is_one_row_with_its_reason(tmp_path: Path, status: str) -> None:
    pruning = changed(PRUNING, status=status, reason="loss is nan", counts=None)
    (row,) = rows_in(write_cell(tmp_path, pruning))
    assert (row.status, row.reason, row.value, row.task) == (status, "loss is nan", None, "")


def test_a_failed_evaluation_keeps_the_parameter_counts(tmp_path: Path) -> None:
    evaluation = changed(EVALUATION, status="failed", reason="logits are nan", results={})
    (row,) = rows_in(write_cell(tmp_path, evaluation=evaluation))
    assert (row.status, row.reason, row.params) == ("failed", "logits are nan", 800)


def test_a_number_that_is_not_finite_fails_the_cell(tmp_path: Path) -> None:
    evaluation = changed(EVALUATION, results__prose__word_perplexity=math.inf)
    (row,) = rows_in(write_cell(tmp_path, evaluation=evaluation))
    assert (row.status, row.reason) == ("failed", "word_perplexity of prose is inf")


def test_unfinished_cells_are_named_and_left_out(tmp_path: Path) -> None:
    done = write_cell(tmp_path, evaluation=EVALUATION)
    pruned_only = write_cell(tmp_path, second_seed())
    absent = done.parent / "s2"
    cells = [absent, pruned_only, done]
    assert missing_cells(cells) == [
        "org__small/flap/20/none/s1",
        "org__small/flap/20/none/s2",
    ]
    assert set(collect(cells, "mini").results["seed"]) == {0}


def test_collecting_is_sorted_and_byte_identical(tmp_path: Path) -> None:
    first = write_cell(tmp_path / "a", evaluation=EVALUATION)
    second = write_cell(tmp_path / "a", second_seed(), EVALUATION)
    slower = changed(EVALUATION, provenance__wall_s=99.0, provenance__host="other")
    again = write_cell(tmp_path / "b", evaluation=slower)
    write_results(
        collect([first, second], "mini"), tmp_path / "results.csv", tmp_path / "provenance.csv"
    )
    write_results(collect([second, again], "mini"), tmp_path / "again.csv", tmp_path / "slower.csv")
    results = (tmp_path / "results.csv").read_bytes()
    assert results == (tmp_path / "again.csv").read_bytes()
    assert b"33.33333333," in results
    assert b"\r" not in results
    assert (tmp_path / "provenance.csv").read_bytes() != (tmp_path / "slower.csv").read_bytes()
    assert not any(word in results.decode() for word in ("box", "2026-01-01", "abc", "wall_s"))


def test_results_survive_the_way_to_disk(tmp_path: Path) -> None:
    failed = second_seed(status="failed", reason='a, b and "c"', counts=None)
    cells = [write_cell(tmp_path, evaluation=EVALUATION), write_cell(tmp_path, failed)]
    collected = collect(cells, "mini")
    write_results(collected, tmp_path / "results.csv", tmp_path / "provenance.csv")
    read = read_results(tmp_path / "results.csv")
    assert list(read.columns) == COLUMNS
    write_results(
        collected._replace(results=read), tmp_path / "second.csv", tmp_path / "provenance.csv"
    )
    assert (tmp_path / "results.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    assert read.iloc[-1]["reason"] == 'a, b and "c"'


def test_provenance_tells_the_machine_and_the_peak_on_its_gpu(tmp_path: Path) -> None:
    machine = {"cpu": "Some CPU", "cores": 64, "memory_mb": 262144, "gpu": "Card"}
    told = {"provenance": PRUNING["provenance"] | machine | {"score_peak_device_mb": 900.5}}
    collected = collect([write_cell(tmp_path, PRUNING | told, EVALUATION)], "mini")
    write_results(collected, tmp_path / "r.csv", tmp_path / "p.csv")
    evaluated, pruned = read_provenance(tmp_path / "p.csv").to_dict("records")
    assert {name: pruned[name] for name in machine} == machine
    assert pruned["score_peak_device_mb"] == 900.5
    assert evaluated["cpu"] == "", "a record from before the machine was recorded"


def test_provenance_has_a_row_per_stage(tmp_path: Path) -> None:
    provenance = collect([write_cell(tmp_path, evaluation=EVALUATION)], "mini").provenance
    assert provenance[["stage", "wall_s"]].to_numpy().tolist() == [
        ["evaluate", 20.0],
        ["prune", 1.5],
    ]


def test_no_cells_give_empty_frames_with_the_right_columns() -> None:
    collected = collect([], "mini")
    assert collected.results.empty
    assert list(collected.results.columns) == COLUMNS


def test_duplicate_cells_are_refused(tmp_path: Path) -> None:
    cell = write_cell(tmp_path, evaluation=EVALUATION)
    with pytest.raises(UserError, match="duplicate result: org/small/flap/20/none/s0"):
        collect([cell, cell], "mini")


@pytest.mark.parametrize(
    ("pruning", "evaluation", "condition"),
    [
        ({"model_hash": "m2"}, {}, "model_hash of model org/small is m1"),
        ({"model_revision": "r2"}, {}, "model_revision"),
        ({"method_version": 2}, {}, "method_version of method flap is 1"),
        (
            {"parameters": {"layers": "4-25"}},
            {},
            "method_parameters of model org/small, method flap is {}",
        ),
        ({"dtype": "bfloat16"}, {}, "pruning_dtype"),
        ({"calibration__length": 128}, {}, "calibration of model org/small"),
        ({}, {"conditions__dtype": "bfloat16"}, "dtype is float32"),
        ({}, {"conditions__device": "cpu"}, "device is cuda"),
        ({}, {"conditions__max_length": 512}, "max_length"),
        ({}, {"conditions__scorer": "fast"}, "scorer"),
        ({}, {"conditions__scorer_precision": "stock"}, "stock, stock precision"),
        ({}, {"conditions__versions__lm_eval": "0.5.0"}, "lm_eval is 0.4"),
        ({}, {"conditions__versions__transformers": "5.24.0"}, "transformers is 5.23"),
        ({}, {"conditions__tasks__winowhy__hash": "x"}, "task_hash of task winowhy is t1"),
        ({}, {"conditions__tasks__winowhy__version": 2.0}, "task_version of task winowhy"),
        ({}, {"conditions__tasks__winowhy__num_fewshot": 5}, "num_fewshot of task winowhy"),
        ({}, {"conditions__tasks__winowhy__documents_hash": "x"}, "documents_hash"),
    ],
)
def test_mixed_conditions_are_refused(
    tmp_path: Path, pruning: dict[str, Any], evaluation: dict[str, Any], condition: str
) -> None:
    cells = [
        write_cell(tmp_path, evaluation=EVALUATION),
        write_cell(tmp_path, second_seed(**pruning), changed(EVALUATION, **evaluation)),
    ]
    with pytest.raises(UserError, match=condition) as error:
        collect(cells, "mini")
    assert "org/small/flap/20/none/s0 but" in str(error.value)
    assert "in org/small/flap/20/none/s1" in str(error.value)


def test_methods_at_one_seed_share_the_calibration_set(tmp_path: Path) -> None:
    other = changed(PRUNING, method="llm-pruner", calibration__hash="c9")
    cells = [
        write_cell(tmp_path, evaluation=EVALUATION),
        write_cell(tmp_path, other, EVALUATION),
    ]
    with pytest.raises(UserError, match="calibration_hash of model org/small, seed 0"):
        collect(cells, "mini")


def test_a_variant_may_have_its_own_calibration(tmp_path: Path) -> None:
    variant = changed(PRUNING, variant="long", calibration__length=512, calibration__hash="c9")
    cells = [
        write_cell(tmp_path, evaluation=EVALUATION),
        write_cell(tmp_path, variant, EVALUATION),
    ]
    assert set(collect(cells, "mini").results["variant"]) == {"", "long"}


def test_patch_versions_and_device_numbers_may_differ(tmp_path: Path) -> None:
    other = changed(
        EVALUATION, conditions__versions__transformers="5.23.7", conditions__device="cuda:3"
    )
    cells = [
        write_cell(tmp_path, evaluation=EVALUATION),
        write_cell(tmp_path, second_seed(), other),
    ]
    assert len(collect(cells, "mini").results) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "sta', "not a readable JSON file"),
        ("", "not a readable JSON file"),
        ("[]", "has schema None, not 1"),
        ('{"schema": 2}', "has schema 2, not 1"),
        (sealed({"schema": 1}), "status: Field required"),
        (sealed(changed(EVALUATION, results={})), "no results"),
        (sealed(changed(EVALUATION, conditions__tasks={})), "without their conditions"),
        (sealed(changed(EVALUATION, status="fine")), "status: Input should be 'ok'"),
        (sealed(EVALUATION).replace("0.5,", "0.6,", 1), "altered since it was written"),
        (sealed({**EVALUATION, "made": "m2"}), "of another model than pruning.json describes"),
    ],
)
def test_files_that_cannot_be_trusted_are_refused(tmp_path: Path, text: str, message: str) -> None:
    cell = write_cell(tmp_path, evaluation=EVALUATION)
    (cell / "evaluation.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        collect([cell], "mini")
    assert str(cell / "evaluation.json") in str(error.value)
    assert str(error.value).endswith("delete that file and run again")
    assert "\n" not in str(error.value)


def test_an_evaluation_of_the_model_that_was_there_before_is_refused(tmp_path: Path) -> None:
    cell = write_cell(tmp_path, evaluation=EVALUATION)
    elsewhere = changed(PRUNING, provenance__wall_s=9.0)
    (cell / "pruning.json").write_text(sealed(elsewhere))
    assert len(collect([cell], "mini").results) == 4, "made again alike"
    (cell / "pruning.json").write_text(sealed(changed(PRUNING, method_version=2)))
    with pytest.raises(UserError, match=r"evaluation\.json: of another model than pruning\.json"):
        collect([cell], "mini")


def test_a_cell_in_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    cell = write_cell(tmp_path, evaluation=EVALUATION)
    moved = cell.rename(cell.parent / "s7")
    with pytest.raises(UserError, match="describes the cell org/small/flap/20/none/s0"):
        collect([moved], "mini")


def test_a_local_model_folder_goes_by_its_name(tmp_path: Path) -> None:
    cell = write_cell(tmp_path, evaluation=EVALUATION)
    pruning = changed(PRUNING, model="/data/models/org__small")
    (cell / "pruning.json").write_text(sealed(pruning))
    write_evaluation(cell, pruning, EVALUATION)
    assert rows_in(cell)[0].model == "/data/models/org__small"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("profile,", "profil,", 1), "profil, profile"),
        (lambda text: text.replace(",800,", ",many,", 1), "not a results file"),
        (lambda text: text.replace(",ok,", ",fine,", 1), "status other than"),
        (lambda text: text + text.splitlines()[1] + "\n", "duplicate result"),
        (lambda text: "", "not a results file"),
    ],
)
def test_a_results_file_is_checked_when_read(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "results.csv"
    collected = collect([write_cell(tmp_path, evaluation=EVALUATION)], "mini")
    write_results(collected, path, tmp_path / "provenance.csv")
    path.write_text(change(path.read_text()))
    path.with_name("results.csv.sha256").unlink()
    with pytest.raises(UserError, match=message):
        read_results(path)


def test_an_absent_results_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.csv: no such file"):
        read_results(tmp_path / "nothing.csv")


def test_statistics() -> None:
    summary = summarize([1.0, 2.0, 4.0])
    assert summary.mean == pytest.approx(7 / 3)
    assert summary.std == pytest.approx(1.527525)
    assert summary.count == 3
    assert summarize([2.5]).std is None
    assert macro_average_stderr([0.03, 0.04]) == pytest.approx(0.025)


def test_results_and_tables_import_without_torch() -> None:
    code = (
        "import sys, adaptprune.results.rows, adaptprune.tables.render; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_altered_number_in_a_results_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    collected = collect([write_cell(tmp_path, evaluation=EVALUATION)], "mini")
    write_results(collected, path, tmp_path / "provenance.csv")
    path.write_text(path.read_text().replace("0.5,", "0.6,", 1))
    with pytest.raises(UserError, match=r"results\.csv: altered since it was collected"):
        read_results(path)


def test_a_trained_cell_says_what_it_was_trained_on_and_what_it_took(tmp_path: Path) -> None:
    row, *_ = rows_in(write_trained_cell(tmp_path, evaluation=EVALUATION))
    assert (row.method, row.method_version, row.sparsity) == ("adapt-accel", 2, 40)
    assert (row.recovery, row.seed, row.params) == ("accel", 0, 600)
    assert (row.tokens, row.teacher_tokens, row.training_flops) == (4096, 512, 20_000_000)
    assert (row.training_data, row.training_data_hash) == ("prose", "d0")
    assert (row.calibration, row.calibration_hash) == ("prose 8x64", "c0")
    assert len(row.preset_hash) == 12


@pytest.mark.parametrize(("adapter", "nonzeros"), [({}, 350), ({"adapter_parameters": 40}, 390)])
def test_a_cell_trained_under_masks_says_how_many_weights_are_left(
    tmp_path: Path, adapter: dict[str, int], nonzeros: int
) -> None:
    training = TRAINING | {"counts": {"nonzeros": 350, "pattern": "2:4"} | adapter}
    row, *_ = rows_in(write_trained_cell(tmp_path, training, evaluation=EVALUATION))
    assert (row.params, row.nonzeros, row.pattern) == (600, nonzeros, "2:4")
    dense, *_ = rows_in(write_trained_cell(tmp_path / "other", evaluation=EVALUATION))
    assert (dense.nonzeros, dense.pattern) == (600, "")


def test_a_pruned_cell_has_nothing_of_a_training(tmp_path: Path) -> None:
    row, *_ = rows_in(write_cell(tmp_path, evaluation=EVALUATION))
    assert (row.tokens, row.training_flops, row.preset_hash) == (None, None, "")


def test_a_training_that_failed_is_one_row_with_its_reason(tmp_path: Path) -> None:
    training = changed(TRAINING, status="failed", reason="step 3: loss nan")
    for key in ("params", "tokens", "teacher_tokens", "flops"):
        del training[key]
    (row,) = rows_in(write_trained_cell(tmp_path, training))
    assert (row.status, row.reason, row.recovery) == ("failed", "step 3: loss nan", "accel")
    assert (row.params, row.tokens, row.value) == (None, None, None)


def test_a_trained_cell_without_its_evaluation_is_missing(tmp_path: Path) -> None:
    folder = write_trained_cell(tmp_path)
    assert missing_cells([folder]) == ["org__small/adapt-accel/40/accel/s0"]


@pytest.mark.parametrize(
    "changes",
    [
        {"conditions__preset__method": "minitron"},
        {"conditions__seed": 1},
        {"conditions__model": "org/other"},
    ],
)
def test_a_trained_cell_in_a_wrong_folder_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = write_trained_cell(tmp_path, evaluation=EVALUATION)
    (folder / "recovery.json").write_text(sealed(changed(TRAINING, **changes)))
    with pytest.raises(UserError, match=r"recovery\.json: describes the cell"):
        rows_in(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"conditions__data__sha256": "d1"}, "training_data_hash of training_data prose"),
        ({"conditions__preset__tokens": 9}, "preset_hash of model org/small"),
        ({"conditions__model_hash": "m2"}, "model_hash of model org/small"),
        ({"conditions__method_version": 3}, "method_version of method adapt-accel"),
    ],
)
def test_trainings_under_other_conditions_are_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    again = changed(TRAINING, conditions__seed=1, conditions__calibration__hash="c1", **changes)
    cells = [
        write_trained_cell(tmp_path, evaluation=EVALUATION),
        write_trained_cell(tmp_path, again, EVALUATION),
    ]
    with pytest.raises(UserError, match=f"mixed conditions: {told}"):
        collect(cells, "mini")


def test_times_of_a_training_are_kept_apart(tmp_path: Path) -> None:
    collected = collect([write_trained_cell(tmp_path, evaluation=EVALUATION)], "mini")
    stages = collected.provenance.set_index("stage")["wall_s"].to_dict()
    assert stages == {"evaluate": 20.0, "recover": 7.0}
    assert "wall_s" not in collected.results.columns
