"""What must be equal before two results may stand in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.cells import join_variant
from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

#: A column of the results, and the columns that say among which rows it must be equal.
CONDITIONS: list[tuple[str, list[str]]] = [
    ("model_revision", ["model"]),
    ("model_hash", ["model"]),
    ("method_version", ["method"]),
    ("pattern", ["model", "method", "variant", "recovery"]),
    ("method_parameters", ["model", "method", "variant"]),
    ("calibration_hash", ["model", "seed", "calibration"]),
    ("pruning_dtype", ["model"]),
    ("training_data_hash", ["training_data"]),
    ("preset_hash", ["model", "method", "recovery"]),
    ("task_version", ["task"]),
    ("task_hash", ["task"]),
    ("num_fewshot", ["task"]),
    ("documents_hash", ["task"]),
    ("dtype", []),
    ("device", []),
    ("max_length", ["model"]),
    ("scorer", ["model"]),
    ("lm_eval", []),
    ("transformers", []),
]

#: What two results files may differ in: how a method changed is what they are compared for.
OF_METHOD = ("method_version", "method_parameters", "pattern")

#: A column that rows of several results files have besides: which file they come from.
SOURCE = "source"


def describe_cell(row: pd.Series) -> str:
    """Return ``model/method/sparsity/recovery/seed`` of a result row, and its file where known."""
    method = join_variant(row["method"], row["variant"])
    cell = f"{row['model']}/{method}/{row['sparsity']}/{row['recovery']}/s{row['seed']}"
    return f"{cell} of {row[SOURCE]}" if SOURCE in row.index else cell


def minor_version(version: str) -> str:
    """Return the part of a version that must agree: ``5.23.1`` -> ``5.23``."""
    return ".".join(version.split(".")[:2])


def _check_equal(rows: pd.DataFrame, condition: str, scope: list[str]) -> None:
    """Refuse rows that agree in ``scope`` and differ in ``condition``; empty means unknown."""
    known = rows[rows[condition].astype("str") != ""]
    for _, group in known.groupby(scope) if scope else [("", known)]:
        other = group[group[condition] != group[condition].iloc[0]] if len(group) else group
        if len(other):
            one, two = group.iloc[0], other.iloc[0]
            where = ", ".join(f"{name} {one[name]}" for name in scope if one[name] != "")
            raise UserError(
                f"mixed conditions: {condition}{f' of {where}' if where else ''} is "
                f"{one[condition]} in {describe_cell(one)} but {two[condition]} in "
                f"{describe_cell(two)}; run both under the same conditions"
            )


def check_comparable(results: pd.DataFrame, apart_from: Collection[str] = ()) -> None:
    """Refuse results that were not measured under equal conditions.

    Args:
        results: rows of one file, or of several with the column ``SOURCE``.
        apart_from: conditions that may differ.

    Raises:
        UserError: naming the condition and two cells that differ in it.
    """
    # Named variants may change the calibration settings: that is what they are for.
    _check_equal(results[results["variant"] == ""], "calibration", ["model"])
    minor_versions = {
        name: results[name].map(minor_version) for name in ("lm_eval", "transformers")
    }
    results = results.assign(**minor_versions)
    for condition, scope in CONDITIONS:
        if condition not in apart_from:
            _check_equal(results, condition, scope)
