"""docs/columns.md is the dictionary of the columns that are really written: names, order, types."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pandas as pd
import pytest

from adaptprune.results.conditions import CONDITIONS
from adaptprune.results.matrix import DOCUMENTS
from adaptprune.results.rows import (
    CELL,
    COLUMNS,
    KEYS,
    PROVENANCE,
    PROVENANCE_KEYS,
    STATUSES,
    Row,
    read_provenance,
    read_results,
)

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGE = (ROOT / "docs" / "columns.md").read_text()
LINE = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \| (.+) \|$", re.M)
#: A type of the code, and the page's word.
WORDS = {"str": "text", "int": "whole number", "float": "number"}


def dictionary(*titles: str) -> dict[str, tuple[str, set[str], str]]:
    """Return what some sections say of each column: its type, its marks and its meaning."""
    sections = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")}
    listed: dict[str, tuple[str, set[str], str]] = {}
    for title in titles:
        for names, kind, meaning in LINE.findall(sections[title]):
            word, *marks = kind.split(", ")
            for name in re.findall(r"`(\w+)`", names):
                assert name not in listed, f"{name} stands there twice"
                listed[name] = word, set(marks), meaning
    return listed


NUMBERS = dictionary(
    "Which cell, and which number",
    "How large, and how trained",
    "What came of it",
    "Under which conditions",
)


def test_every_column_of_the_results_is_explained() -> None:
    assert set(NUMBERS) == set(COLUMNS), "docs/columns.md and the columns of the results differ"


@pytest.mark.parametrize("field", fields(Row), ids=lambda field: field.name)
def test_a_column_has_the_type_that_is_stated(field: object) -> None:
    name, annotation = field.name, str(field.type)  # type: ignore[attr-defined]
    assert NUMBERS[name][0] == WORDS[annotation.removesuffix(" | None")]


def test_keys_and_conditions_are_marked() -> None:
    marked = {mark: {n for n, (_, marks, _) in NUMBERS.items() if mark in marks} for mark in MARKS}
    assert marked["key"] == set(KEYS)
    # Looked at by itself, since named variants may have another one.
    assert marked["condition"] == {name for name, _ in CONDITIONS} | {"calibration"}


MARKS = ("key", "condition")


def test_the_statuses_are_named() -> None:
    assert set(re.findall(r"`(\w+)`", NUMBERS["status"][2])) == STATUSES


def test_the_stored_matrix_is_as_the_page_says() -> None:
    rows = read_results(RESULTS / "offline.csv")
    assert list(rows) == COLUMNS
    accuracies = rows[rows["metric"].isin(["acc", "acc_norm"])]
    assert accuracies["value"].between(0, 1).all()
    perplexities = rows[rows["metric"].str.contains("perplexity")]
    assert len(perplexities)
    assert perplexities["stderr"].isna().all()
    assert rows["sparsity_reached"].between(0, 1).all()
    assert (rows["nonzeros"] <= rows["params"]).all()


def test_every_column_of_the_provenance_is_explained() -> None:
    listed = dictionary("What it cost")
    assert set(listed) == {*PROVENANCE_KEYS, *PROVENANCE}
    assert {n for n, (_, marks, _) in listed.items() if "key" in marks} == set(PROVENANCE_KEYS)
    stages = read_provenance(RESULTS / "offline.provenance.csv")
    for name in PROVENANCE:
        is_text = not pd.api.types.is_numeric_dtype(stages[name])
        assert (listed[name][0] == "text") == is_text, name
    named = set(re.findall(r"`(\w+)`", listed["stage"][2]))
    assert set(stages["stage"]) <= named


def test_every_column_of_the_documents_is_explained() -> None:
    listed = dictionary("Every document")
    assert list(listed) == DOCUMENTS
    keys = {n for n, (_, marks, _) in listed.items() if "key" in marks}
    assert keys == {*CELL, "task", "document", "metric"}
    documents = pd.read_parquet(RESULTS / "offline.documents.parquet")
    assert list(documents) == DOCUMENTS
    assert not documents.duplicated(sorted(keys)).any()
    parts = set(re.findall(r"`(\w+)`", listed["metric"][2]))
    assert set(documents["metric"]) == parts | {"acc", "acc_norm"}
