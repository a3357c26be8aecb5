"""What of a comparison can be refused before any work: the plan of a run against stored rows."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from matrix_examples import stored, write_cells

from adaptprune.comparison.conditions import check_plan
from adaptprune.errors import UserError
from adaptprune.results.rows import read_results
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    import pandas as pd

CONFIG = Path(__file__).parent.parent / "config"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Stored rows as the tiny profile makes them."""
    folder = tmp_path_factory.mktemp("planned")
    versions = {
        f"conditions__versions__{key}": importlib.metadata.version(package)
        for key, package in (("lm_eval", "lm-eval"), ("transformers", "transformers"))
    }
    cells = write_cells(
        folder / "cells",
        evaluation={"conditions__device": "cpu", "conditions__max_length": 512} | versions,
        pruning={"calibration__dataset": "tiny-prose", "calibration__length": 32},
    )
    results = read_results(stored(folder, "tiny", cells))
    return results.assign(n=results["n"].where(results["n"] != 40, 12))


def test_a_plan_that_fits_is_taken(planned: pd.DataFrame) -> None:
    check_plan(load_profile(CONFIG, "tiny", {"methods": "random"}), "random", planned, "a.csv")


@pytest.mark.parametrize(
    ("overrides", "rows", "told"),
    [
        ({"sparsities": "30"}, {}, r"a\.csv: holds no baselines of sparsity 30 \(allowed: 20, 40"),
        ({"seeds": "0,7"}, {}, "no baselines of seed 7"),
        ({"models": "smollm2-135m"}, {}, "no baselines of model smollm2-135m"),
        ({}, {"suite": "other"}, "suite is other in a.csv but commonsense-tiny in this run"),
        ({}, {"dtype": "bfloat16"}, "dtype is bfloat16 in a.csv but float32"),
        ({}, {"device": "cuda"}, "device is cuda"),
        ({}, {"lm_eval": "0.3.1"}, "lm_eval is 0.3 in"),
        ({}, {"n": 40}, "number of documents of tiny_local_place is 40 in a.csv but 12 in"),
        ({}, {"calibration": "tiny-prose 8x64"}, "calibration is tiny-prose 8x64 .* but .* 8x32"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_before_any_work(
    planned: pd.DataFrame, overrides: dict[str, str], rows: dict[str, Any], told: str
) -> None:
    profile = load_profile(CONFIG, "tiny", {"methods": "flap"} | overrides)
    with pytest.raises(UserError, match=told):
        check_plan(profile, "flap", planned.assign(**rows), "a.csv")


def test_dense_is_no_method_to_compare(planned: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="dense is no method to compare"):
        check_plan(load_profile(CONFIG, "tiny"), "dense", planned, "a.csv")
