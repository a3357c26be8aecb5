"""The transcription of the paper's tables is complete and agrees with itself."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from adaptprune.evaluation.suites import load_suite
from adaptprune.files.declared import read_declared
from adaptprune.results.published import Claims

PUBLISHED = Path(__file__).parents[1] / "paper_tables" / "adapt_pruner" / "published.csv"
TASKS_1_AND_7 = ["ARC-e", "ARC-c", "HellaSwag", "OBQA", "PIQA", "SIQA", "Winogrande"]
TASKS_8 = ["ARC-e", "ARC-c", "BoolQ", "HellaSwag", "OBQA", "PIQA", "Winogrande"]
METHODS = ["LLM-Pruner", "FLAP", "SliceGPT", "Adapt-Pruner"]
MODELS = ["LLaMA-3.1-8B", "LLaMA-3.2-3B", "LLaMA-3.2-1B"]
ROW = ["model", "sparsity", "row_label"]


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED, dtype={"row_label": "str"})


def grid(published: pd.DataFrame, table: int, measure: str = "value") -> pd.DataFrame:
    """Return one table as printed: rows by model, sparsity and label, printed columns."""
    rows = published[published["table_arxiv"] == table]
    return rows.pivot(index=ROW, columns="column", values=measure)


@pytest.mark.parametrize(
    ("table", "models", "sparsities", "labels", "columns"),
    [
        (1, MODELS[:1], [20, 40, 60], METHODS, [*TASKS_1_AND_7, "Average", "WikiText2 ppl."]),
        (
            7,
            MODELS,
            [20, 40, 60],
            METHODS,
            ["#Param.", *TASKS_1_AND_7, "Average", "WikiText2 ppl."],
        ),
        (
            8,
            MODELS[:1],
            [50],
            [f"A = {amplitude}" for amplitude in ("0", "0.005", "0.01", "0.02", "0.04")],
            ["Para. Num.", *TASKS_8, "Average", "WikiText2 ppl."],
        ),
    ],
)
def test_every_row_and_column_is_present(
    published: pd.DataFrame,
    table: int,
    models: list[str],
    sparsities: list[int],
    labels: list[str],
    columns: list[str],
) -> None:
    values = grid(published, table)
    expected = pd.MultiIndex.from_product([models, sparsities, labels])
    assert set(values.index) == set(expected)
    assert set(values.columns) == set(columns)
    assert values.notna().all(axis=None)


def test_nothing_else_is_in_the_file(published: pd.DataFrame) -> None:
    counts = {0: 12, 1: 108, 2: 10, 3: 30, 4: 9, 5: 25, 6: 13, 7: 360, 8: 50}
    assert published["table_arxiv"].value_counts().to_dict() == counts
    assert set(published["text"]) == {"both", "arxiv", "acl"}
    assert set(published["unit"]) == {"%", "ppl", "M", "B", "T", "shots", "x", "h", "share"}


def listed(published: pd.DataFrame, table: int) -> pd.DataFrame:
    """Return a table of trained models as printed: rows by label, columns by key."""
    rows = published[published["table_arxiv"] == table]
    return rows.pivot(index="row_label", columns="key", values="value")


@pytest.mark.parametrize(("table", "rows", "columns"), [(3, 6, 5), (4, 3, 3), (5, 5, 5)])
def test_tables_of_trained_models_are_complete(
    published: pd.DataFrame, table: int, rows: int, columns: int
) -> None:
    values = listed(published, table)
    assert values.shape == (rows, columns)
    assert values.notna().all(axis=None)


def test_what_two_tables_print_twice_agrees(published: pd.DataFrame) -> None:
    recovered, rivals, strong = (listed(published, table) for table in (3, 4, 5))
    ours = recovered.loc["MobileLLM-350M → 125M", rivals.columns]
    pd.testing.assert_series_equal(ours, rivals.loc["Adapt-Accel"], check_names=False)
    same = (recovered.loc["MobileLLM-350M"], strong.loc["MobileLLM-350M"])
    pd.testing.assert_series_equal(*same)


def test_benchmarks_of_table_6_are_those_of_the_suite(published: pd.DataFrame) -> None:
    rows = published[published["table_arxiv"] == 6].set_index("key")
    for benchmark in load_suite("all-paper").benchmarks:
        printed = rows.loc[benchmark.task]
        assert benchmark.paper is not None
        assert (printed["metric"], printed["value"]) == (
            benchmark.paper.metric,
            benchmark.paper.shots,
        )


def test_tokens_of_table_2_are_those_the_audit_adds_up(published: pd.DataFrame) -> None:
    data = read_declared(Claims, PUBLISHED.parent / "quoted" / "claims.yaml").training_data
    rows = published[published["table_arxiv"] == 2].set_index("key")
    printed = {key: (row["value"], row["unit"]) for key, row in rows.iterrows()}
    quoted = {**data.tokens, "total": data.total}
    assert printed == {key: (float(text[:-1]), text[-1]) for key, text in quoted.items()}


@pytest.mark.parametrize(("table", "tasks"), [(1, TASKS_1_AND_7), (7, TASKS_1_AND_7), (8, TASKS_8)])
def test_printed_averages_are_means_of_the_tasks(
    published: pd.DataFrame, table: int, tasks: list[str]
) -> None:
    values = grid(published, table)
    assert (values[tasks].mean(axis=1) - values["Average"]).abs().max() < 0.01


def test_table_1_repeats_the_8b_rows_of_table_7(published: pd.DataFrame) -> None:
    small = grid(published, 1)
    large = grid(published, 7).loc[["LLaMA-3.1-8B"], small.columns]
    pd.testing.assert_frame_equal(small.sort_index(), large.sort_index())


def test_only_table_7_prints_a_spread(published: pd.DataFrame) -> None:
    assert grid(published, 7, "std").notna().all(axis=None)
    assert published.loc[published["table_arxiv"] != 7, "std"].isna().all()


@pytest.mark.parametrize(
    ("model", "sparsity", "label", "column", "value", "std"),
    [
        ("LLaMA-3.1-8B", 20, "LLM-Pruner", "ARC-e", 63.92, 0.76),
        ("LLaMA-3.1-8B", 40, "LLM-Pruner", "WikiText2 ppl.", 162.81, 33.99),
        ("LLaMA-3.1-8B", 60, "FLAP", "WikiText2 ppl.", 141572.73, 70694.04),
        ("LLaMA-3.2-3B", 60, "Adapt-Pruner", "#Param.", 1.54, 0.03),
        ("LLaMA-3.2-1B", 60, "Adapt-Pruner", "WikiText2 ppl.", 295.87, 31.63),
    ],
)
def test_glued_values_and_deviations_were_split_where_printed(
    published: pd.DataFrame,
    model: str,
    sparsity: int,
    label: str,
    column: str,
    value: float,
    std: float,
) -> None:
    row = (model, sparsity, label)
    assert grid(published, 7).loc[row, column] == value
    assert grid(published, 7, "std").loc[row, column] == std


def test_table_8_varies_the_amplitude_of_one_method(published: pd.DataFrame) -> None:
    rows = published[published["table_arxiv"] == 8]
    assert set(rows["method"]) == {"adapt-pruner"}
    assert sorted(set(rows["amplitude"])) == [0, 0.005, 0.01, 0.02, 0.04]
