"""Result rows: one number per row, collected from the cells and checked to be comparable.

The results CSV depends on what was measured alone and is reproducible byte for byte; times, memory,
host and commit are kept apart in the provenance CSV.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from adaptprune.cells import join_variant
from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_file, is_as_sealed, sealed_file, sha256_json
from adaptprune.results.conditions import check_comparable, describe_cell
from adaptprune.results.records import (
    Calibration,
    CellFiles,
    Counts,
    Evaluation,
    Pruning,
    Training,
    cell_name,
    read_cell,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number (or one cell without numbers) and all that makes it comparable.

    The fields are the columns of the results CSV, in order. A cell that failed or was skipped has
    one row, with empty ``task``, ``metric`` and ``value``. Absent text is empty. ``nonzeros`` are
    the parameters that no mask set to zero, all of them where there is no mask; ``pattern`` is
    what a mask follows.
    """

    profile: str
    model: str
    model_revision: str
    method: str
    method_version: int
    variant: str
    sparsity: int
    recovery: str
    seed: int
    task: str = ""
    metric: str = ""
    value: float | None = None
    stderr: float | None = None
    n: int | None = None
    params_dense: int | None = None
    params: int | None = None
    nonzeros: int | None = None
    decoder_params_dense: int | None = None
    decoder_params: int | None = None
    sparsity_reached: float | None = None
    tokens: int | None = None
    teacher_tokens: int | None = None
    training_flops: float | None = None
    status: str = "ok"
    reason: str = ""
    suite: str = ""
    model_hash: str = ""
    method_parameters: str = ""
    pattern: str = ""
    calibration: str = ""
    calibration_hash: str = ""
    pruning_dtype: str = ""
    training_data: str = ""
    training_data_hash: str = ""
    preset_hash: str = ""
    task_version: str = ""
    task_hash: str = ""
    num_fewshot: str = ""
    documents_hash: str = ""
    dtype: str = ""
    device: str = ""
    max_length: str = ""
    scorer: str = ""
    lm_eval: str = ""
    transformers: str = ""
    torch: str = ""


COLUMNS = [field.name for field in fields(Row)]
CELL = ["profile", "model", "method", "variant", "sparsity", "recovery", "seed"]
KEYS = [*CELL, "task", "metric"]
STATUSES = {"ok", "skipped", "failed"}

_PANDAS_TYPES = {"str": "str", "int": "Int64", "int | None": "Int64", "float | None": "float64"}
_DTYPES = {field.name: _PANDAS_TYPES[str(field.type)] for field in fields(Row)}

COSTS = [
    "wall_s",
    "cpu_s",
    "peak_rss_mb",
    "peak_device_mb",
    "score_wall_s",
    "score_peak_rss_mb",
    "score_peak_device_mb",
    "train_s",
    "preparing_s",
]
MACHINE = ["host", "cpu", "cores", "memory_mb", "gpu"]
PROVENANCE = [*COSTS, *MACHINE, "date", "commit"]
PROVENANCE_KEYS = [*CELL, "stage"]
#: Columns of results that files from before there were masks lack.
_OF_MASKS = ("nonzeros", "pattern")
#: Columns that files from before they were recorded lack: they are read as empty.
_ADDED = {"peak_device_mb", "score_peak_device_mb", "cpu", "cores", "memory_mb", "gpu"}
_PROVENANCE_TEXT = ["stage", "host", "cpu", "gpu", "date", "commit"]
_PROVENANCE_NUMBERS = [*COSTS, "cores", "memory_mb"]


class Collected(NamedTuple):
    """What a set of cells measured, and where, when and how fast."""

    results: pd.DataFrame
    provenance: pd.DataFrame


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _precision(of_scorer: str) -> str:
    """Return what a scorer's name says of its softmax; of float32 nothing."""
    return "" if of_scorer == "float32" else f", {of_scorer} precision"


def _calibration_fields(calibration: Calibration | None) -> dict[str, str]:
    if calibration is None:
        return {}
    size = f"{calibration.sequences}x{calibration.length}"
    return {
        "calibration": f"{calibration.dataset} {size}",
        "calibration_hash": calibration.hash,
    }


def _pruning_fields(pruning: Pruning) -> dict[str, Any]:
    """Return what all rows of a pruned cell share."""
    return {
        "model": pruning.model,
        "model_revision": _text(pruning.model_revision),
        "method": pruning.method,
        "method_version": pruning.method_version,
        "variant": _text(pruning.variant),
        "seed": pruning.seed,
        "model_hash": _text(pruning.model_hash),
        "method_parameters": json.dumps(pruning.parameters, sort_keys=True),
        # Nothing is computed to leave the dense model as it is.
        "pruning_dtype": _text(pruning.dtype) if pruning.sparsity else "",
        **_calibration_fields(pruning.calibration),
        **(_counts_fields(pruning.counts) if pruning.counts else {}),
    }


def _counts_fields(counts: Counts) -> dict[str, Any]:
    nonzeros = counts.params if counts.nonzeros is None else counts.nonzeros
    return counts.model_dump() | {"nonzeros": nonzeros}


def _training_fields(training: Training) -> dict[str, Any]:
    """Return what all rows of a trained cell share, what the training took among it."""
    conditions = training.conditions
    return {
        "model": conditions.model,
        "model_revision": "",
        "method": str(conditions.preset["method"]),
        "method_version": conditions.method_version,
        "variant": "",
        "seed": conditions.seed,
        "model_hash": conditions.model_hash,
        **_calibration_fields(conditions.calibration),
        "training_data": conditions.data.name,
        "training_data_hash": conditions.data.sha256,
        "preset_hash": sha256_json(conditions.preset)[:12],
        **_trained_counts(training),
        "tokens": training.tokens,
        "teacher_tokens": training.teacher_tokens,
        "training_flops": training.flops,
    }


def _trained_counts(training: Training) -> dict[str, Any]:
    """Return the counts of a trained model, those of an adapter beside it among them."""
    counts = training.counts
    if counts is None:
        return {"params": training.params, "nonzeros": training.params}
    nonzeros = counts.nonzeros + counts.adapter_parameters
    return {"params": training.params, "nonzeros": nonzeros, "pattern": counts.pattern}


def _cell_fields(cell: CellFiles, profile: str) -> dict[str, Any]:
    """Return what all rows of a cell share."""
    made = cell.made
    fields = _pruning_fields(made) if isinstance(made, Pruning) else _training_fields(made)
    return {"profile": profile, "sparsity": cell.sparsity, "recovery": cell.recovery, **fields}


def _evaluation_fields(evaluation: Evaluation) -> dict[str, str]:
    """Return the conditions that all rows of an evaluation share."""
    conditions = evaluation.conditions
    if conditions is None:
        return {"suite": evaluation.suite}
    return {
        "suite": evaluation.suite,
        "dtype": conditions.dtype,
        "device": conditions.device.split(":")[0],
        "max_length": _text(conditions.max_length),
        "scorer": conditions.scorer + _precision(conditions.scorer_precision),
        **{
            name: conditions.versions.get(name, "") for name in ("lm_eval", "transformers", "torch")
        },
    }


def _numbers(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return task, metric, value, stderr and n of each number that was measured."""
    numbers = []
    for task, measured in evaluation.results.items():
        n = measured.get("n")
        for metric, value in measured.items():
            if metric == "n" or metric.endswith("_stderr"):
                continue
            # Stock tasks without a length-normalised score leave acc_norm empty.
            if metric == "acc_norm" and value is None:
                continue
            stderr = measured.get(f"{metric}_stderr")
            numbers.append(
                {"task": task, "metric": metric, "value": value, "stderr": stderr}
                | {"n": None if n is None else int(n)}
            )
    return numbers


def cell_rows(cell: CellFiles, profile: str) -> list[Row]:
    """Return the result rows of one cell: one per number, or one that says why there is none.

    Args:
        cell: its files.
        profile: name of the profile that the cell belongs to.
    """
    shared = _cell_fields(cell, profile)
    evaluation = cell.evaluation
    if evaluation is None:
        return [Row(**shared, status=cell.made.status, reason=_text(cell.made.reason))]
    shared |= _evaluation_fields(evaluation)
    if evaluation.status != "ok" or evaluation.conditions is None:
        return [Row(**shared, status=evaluation.status, reason=_text(evaluation.reason))]

    numbers = _numbers(evaluation)
    for number in numbers:
        if number["value"] is None or not math.isfinite(number["value"]):
            reason = f"{number['metric']} of {number['task']} is {number['value']}"
            return [Row(**shared, status="failed", reason=reason)]
    rows = []
    for number in numbers:
        task = evaluation.conditions.tasks[number["task"]]
        rows.append(
            Row(
                **shared,
                **number,
                task_version=_text(task.version),
                task_hash=task.hash,
                num_fewshot=_text(task.num_fewshot),
                documents_hash=task.documents_hash,
            )
        )
    return rows


def missing_cells(cell_dirs: Iterable[Path]) -> list[str]:
    """Return the names of the cells that are not finished, sorted."""
    return sorted(cell_name(cell_dir) for cell_dir in cell_dirs if read_cell(cell_dir) is None)


def _provenance(cell: CellFiles, profile: str) -> list[dict[str, Any]]:
    key = {name: value for name, value in _cell_fields(cell, profile).items() if name in CELL}
    first = "prune" if isinstance(cell.made, Pruning) else "recover"
    stages = {first: cell.made, "evaluate": cell.evaluation}
    return [
        {**key, "stage": stage, **record.provenance.model_dump()}
        for stage, record in stages.items()
        if record is not None
    ]


def _check_duplicates(results: pd.DataFrame) -> None:
    repeated = results[results.duplicated(KEYS)]
    if len(repeated):
        row = repeated.iloc[0]
        number = f" {row['task']} {row['metric']}" if row["task"] else ""
        raise UserError(f"duplicate result: {describe_cell(row)}{number} is given twice")


def collect(cell_dirs: Iterable[Path], profile: str) -> Collected:
    """Gather the rows of all finished cells, sorted by key.

    Cells that are not finished are left out; ``missing_cells`` names them.

    Raises:
        UserError: a file cannot be trusted, a key appears twice, or conditions are mixed.
    """
    cells = [cell for cell_dir in cell_dirs if (cell := read_cell(cell_dir)) is not None]
    rows = [asdict(row) for cell in cells for row in cell_rows(cell, profile)]
    results = pd.DataFrame(rows, columns=COLUMNS).astype(_DTYPES)
    results = results.sort_values(KEYS, kind="stable", ignore_index=True)
    _check_duplicates(results)
    check_comparable(results)
    stages = [stage for cell in cells for stage in _provenance(cell, profile)]
    provenance = pd.DataFrame(stages, columns=[*PROVENANCE_KEYS, *PROVENANCE])
    provenance = provenance.astype(dict.fromkeys(_PROVENANCE_NUMBERS, "float64"))
    return Collected(results, provenance.sort_values(PROVENANCE_KEYS, ignore_index=True))


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")


def write_results(collected: Collected, results_csv: Path, provenance_csv: Path) -> None:
    """Write both frames as CSV, atomically; equal results give equal bytes.

    Beside the results lies their sha256 (``results.csv.sha256``, as ``sha256sum`` writes it).
    """
    with atomic_file(provenance_csv) as temporary:
        _write_csv(collected.provenance, temporary)
    with sealed_file(results_csv) as temporary:
        _write_csv(collected.results, temporary)


def label_of(row: pd.Series) -> str:
    """Return a row's method, with its variant where it has one."""
    return join_variant(row["method"], row["variant"])


def labels_of(results: pd.DataFrame) -> pd.Series:
    """Return the method of every row, with its variant where it has one."""
    suffix = results["variant"].where(results["variant"] == "", "@" + results["variant"])
    return results["method"] + suffix


def read_provenance(path: Path) -> pd.DataFrame:
    """Read a provenance CSV.

    Raises:
        UserError: the file is absent or has other columns.
    """
    types = (
        {name: _DTYPES[name] for name in CELL}
        | dict.fromkeys(_PROVENANCE_TEXT, "str")
        | dict.fromkeys(_PROVENANCE_NUMBERS, "float64")
    )
    try:
        stages = pd.read_csv(
            path,
            dtype=types,
            keep_default_na=False,
            na_values={name: [""] for name in _PROVENANCE_NUMBERS},
        )
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; it says what the cells cost") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a provenance file ({error})") from None
    columns = [*PROVENANCE_KEYS, *PROVENANCE]
    if lacking := set(columns) - set(stages) - _ADDED:
        raise UserError(f"{path}: not a provenance file (without {', '.join(sorted(lacking))})")
    empty = dict.fromkeys(_PROVENANCE_TEXT, "")
    return stages.reindex(columns=columns).astype(types).fillna(empty)


def read_results(path: Path) -> pd.DataFrame:
    """Read a results CSV and check it against the schema.

    Raises:
        UserError: the file is absent, has other columns, a value of the wrong type, an unknown
            status, or a key twice.
    """
    if not is_as_sealed(path):
        raise UserError(f"{path}: altered since it was collected; delete it and run again")
    numeric = {name: [""] for name, dtype in _DTYPES.items() if dtype != "str"}
    try:
        header = pd.read_csv(path, nrows=0).columns.tolist()
        before = [name for name in COLUMNS if name not in _OF_MASKS]
        if header not in (COLUMNS, before):
            differ = sorted(set(header) ^ set(COLUMNS)) or ["their order"]
            raise UserError(f"{path}: other columns than expected ({', '.join(differ)})")
        results = pd.read_csv(path, dtype=_DTYPES, keep_default_na=False, na_values=numeric)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a results file ({error})") from None
    if header == before:
        results = results.assign(nonzeros=pd.NA, pattern="")[COLUMNS].astype(_DTYPES)
    results["nonzeros"] = results["nonzeros"].fillna(results["params"])
    if not set(results["status"]) <= STATUSES:
        raise UserError(f"{path}: status other than {', '.join(sorted(STATUSES))}")
    _check_duplicates(results)
    return results


def profile_results(results_csv: Path, profile: str) -> pd.DataFrame:
    """Return a profile's rows of a results file.

    Raises:
        UserError: there are none, or the file cannot be trusted.
    """
    results = read_results(results_csv)
    results = results[results["profile"] == profile]
    if results.empty:
        raise UserError(f"{results_csv}: no results of profile {profile!r}")
    return results
