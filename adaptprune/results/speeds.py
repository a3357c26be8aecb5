"""Measured speed beside a stored matrix: ``NAME.speed.csv``, of models made as the scored ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_file, read_sealed_json
from adaptprune.results.matrix import Matrix, beside
from adaptprune.results.rows import CELL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: What two measurements must share to stand in one column.
CONDITIONS = [
    "batch",
    "prompt",
    "new_tokens",
    "rounds",
    "dtype",
    "device",
    "device_name",
    "threads",
]
_MEASURES = ["unit", "dense", "pruned", "ratio", "ratio_least", "ratio_most"]
#: What a measured checkpoint and a scored one must share to be the same.
_MADE_BY = ["model_hash", "method", "variant", "method_version", "method_parameters"]
_MADE_BY += ["calibration_hash", "pruning_dtype", "sparsity", "seed", "params"]
_PLACE = [*CELL, "measure", "batch"]
COLUMNS = [*CELL, "measure", *_MEASURES, *CONDITIONS]


def store_speeds(records: Iterable[Path], matrix: Matrix, results_csv: Path) -> int:
    """Add measurements of a run to those of a stored matrix; the new replace the old.

    Args:
        records: what ``measure`` wrote.
        matrix: the stored results; a record of a model that it does not score is left out.
        results_csv: its file.

    Returns:
        How many cells and batches were measured.

    Raises:
        UserError: a record was altered, or a stored measurement was made under other conditions.
    """
    found = [row for path in records for row in _rows_of(read_sealed_json(path))]
    cells = matrix.results.drop_duplicates(CELL)[list({*CELL, *_MADE_BY})]
    new = cells.merge(pd.DataFrame(found), on=_MADE_BY) if found else pd.DataFrame()
    if new.empty:
        return 0
    stored = read_speeds(results_csv)
    speeds = (pd.concat([stored, new]) if len(stored) else new)[COLUMNS]
    speeds = speeds.drop_duplicates(_PLACE, keep="last").sort_values(_PLACE)
    _check_alike(speeds, results_csv)
    with atomic_file(beside(results_csv, "speed.csv")) as temporary:
        speeds.to_csv(temporary, index=False, float_format="%.10g", lineterminator="\n")
    return len(new.drop_duplicates([*CELL, "batch"]))


def _rows_of(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a row for each measure of a record, none of one that failed."""
    if record["status"] != "ok":
        return
    made = record["pruning"]
    shared = {
        "model_hash": made["model_hash"],
        "method": record["method"],
        "variant": record["variant"] or "",
        "method_version": made["method_version"],
        "method_parameters": json.dumps(made["parameters"], sort_keys=True),
        "calibration_hash": (made["calibration"] or {}).get("hash", ""),
        "pruning_dtype": made["dtype"],
        "sparsity": record["sparsity"],
        "seed": record["seed"],
        "params": record["params"],
    }
    shared |= {name: (record | record["workload"])[name] for name in CONDITIONS}
    for measure, values in record["measures"].items():
        yield shared | {"measure": measure} | values


def read_speeds(results_csv: Path) -> pd.DataFrame:
    """Return the measurements beside a stored matrix, none where nothing was measured.

    Raises:
        UserError: the file cannot be read, or mixes conditions.
    """
    path = beside(results_csv, "speed.csv")
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS)
    try:
        speeds = pd.read_csv(
            path, keep_default_na=False, na_values={name: [""] for name in _MEASURES}
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
    if list(speeds.columns) != COLUMNS:
        raise UserError(f"{path}: its columns are not those of measured speeds; store them again")
    _check_alike(speeds, path)
    return speeds


def _check_alike(speeds: pd.DataFrame, path: Path) -> None:
    """Refuse measurements of one batch under two conditions."""
    for batch, rows in speeds.groupby("batch"):
        for name in CONDITIONS:
            values = sorted({str(value) for value in rows[name]})
            if len(values) > 1:
                raise UserError(
                    f"{path}: speeds with {batch} sequence(s) at once were measured with different "
                    f"{name} ({', '.join(values)}); measure all of them under one"
                )
