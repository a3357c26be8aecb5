"""Calibration sets: drawn reproducibly, read strictly."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptprune.data.calibration import CalibrationSet, draw, read_tokens
from adaptprune.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


class WordTokenizer:
    """One token per word: its number."""

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [int(word) for word in text.split()]}


def documents(count: int, length: int) -> list[str]:
    """Documents whose tokens tell where they come from: document * 1000 + position."""
    return [" ".join(str(d * 1000 + p) for p in range(length)) for d in range(count)]


def drawn(texts: list[str], sequences: int, length: int, seed: int = 0, name: str = "prose") -> Any:
    return draw(texts, WordTokenizer(), name, sequences, length, seed)


def test_same_seed_draws_the_same_tokens() -> None:
    assert drawn(documents(20, 30), 5, 8) == drawn(documents(20, 30), 5, 8)


def test_draw_leaves_the_global_generator_alone() -> None:
    random.seed(1)
    expected = random.random()
    random.seed(1)
    drawn(documents(20, 30), 5, 8)
    assert random.random() == expected


@pytest.mark.parametrize("change", [{"seed": 1}, {"name": "other"}])
def test_other_seed_or_data_set_draws_other_tokens(change: dict[str, Any]) -> None:
    first = drawn(documents(20, 30), 5, 8)
    assert first.tokens != drawn(documents(20, 30), 5, 8, **change).tokens


@given(
    count=st.integers(1, 12),
    document_length=st.integers(2, 20),
    sequences=st.integers(1, 12),
    length=st.integers(2, 20),
    seed=st.integers(0, 100),
)
def test_sequences_are_windows_of_different_documents(
    count: int, document_length: int, sequences: int, length: int, seed: int
) -> None:
    texts = documents(count, document_length)
    if sequences > count or length > document_length:
        with pytest.raises(UserError, match=f"{sequences} sequences were asked for"):
            drawn(texts, sequences, length, seed)
        return
    rows = drawn(texts, sequences, length, seed).tokens
    assert len({row[0] // 1000 for row in rows}) == len(rows) == sequences
    assert all(row == list(range(row[0], row[0] + length)) for row in rows)


def test_documents_that_are_too_short_are_passed_over() -> None:
    texts = ["1 2", *documents(2, 9), "3 4 5"]
    assert all(len(row) == 8 for row in drawn(texts, 2, 8).tokens)


def test_description_counts_and_hashes_the_content() -> None:
    first = CalibrationSet([[1, 2, 3], [4, 5, 6]], "prose", 7).describe()
    assert {key: first[key] for key in ("dataset", "sequences", "length", "seed")} == {
        "dataset": "prose",
        "sequences": 2,
        "length": 3,
        "seed": 7,
    }
    changed = CalibrationSet([[1, 2, 3], [4, 5, 7]], "prose", 7).describe()
    assert first["hash"] != changed["hash"]


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "tokens.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("content", [[[0, 1], [2, 9]], {"tokens": [[0, 1], [2, 9]]}])
def test_good_file_is_read(content: Any, tmp_path: Path) -> None:
    assert read_tokens(write(tmp_path, content), 10) == [[0, 1], [2, 9]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([[1, 2, 3], [1, 2]], "sequence 1 has 2 tokens, the first has 3"),
        ([], "non-empty JSON list of lists"),
        ([[]], "sequences of 0 tokens"),
        ([[1]], "sequences of 1 tokens; at least 2 needed"),
        ([[], []], "sequences of 0 tokens"),
        ([1, 2], "list of lists"),
        ("[1, 2", "not a readable JSON file"),
        ("", "not a readable JSON file"),
        ("3", "list of lists"),
        ("null", "list of lists"),
        ({"ids": [[1, 2]]}, "list of lists"),
        ([[1, 10]], r"sequence 0 holds 10; token ids must be integers in 0\.\.9"),
        ([[1, 2], [-1, 2]], "sequence 1 holds -1"),
        ([[1, 2.0]], r"holds 2\.0"),
        ([[1, "2"]], "holds '2'"),
        ([[1, True]], "holds True"),
        ([[1, None]], "holds None"),
        ([[1, [2]]], r"holds \[2\]"),
        ("[[1, NaN]]", "holds nan"),
    ],
)
def test_bad_file_is_refused_by_name_in_one_line(
    content: Any, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        read_tokens(write(tmp_path, content), 10)
    assert "tokens.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        read_tokens(tmp_path / "none.json", 10)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a readable JSON file"):
        read_tokens(path, 10)
