"""The transcription of the AST paper's tables is complete and agrees with itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean

import pytest

from adaptprune.results.published import Printed, load_published

PUBLISHED = Path(__file__).parents[1] / "paper_tables" / "sparse_trainer" / "published.csv"
NUMBERS = load_published(PUBLISHED)

#: Rows by columns, less the places that the paper leaves empty.
COUNTS = {
    1: 7 * 7,
    2: 7 * 9,
    3: 4 * 4,
    4: 6 * 4,
    5: 6 * 4,
    6: 8 * 3,
    7: 2 * 7 - 1,  # no compression ratio of the unstructured model
    8: 6 * 8,
    9: 3 * 4,
    10: 6 * 8,
    11: 2 * 3,
    12: 1 * 4,
    13: 3 * 2,
    14: 2 * 5,
}
UNITS = {"ppl", "%", "x", "B", "k", "tokens/s", "TFLOP", "power of h", ""}


def table(number: int) -> dict[tuple[str, str], Printed]:
    """Return one printed table by row and column."""
    return {(n.row_label, n.column): n for n in NUMBERS if n.table == number}


def test_every_printed_number_is_present_once() -> None:
    assert Counter(n.table for n in NUMBERS) == COUNTS
    assert len({(n.table, n.row_label, n.column) for n in NUMBERS}) == len(NUMBERS) == 347
    assert {n.unit for n in NUMBERS} == UNITS
    assert all(n.std is None for n in NUMBERS)


@pytest.mark.parametrize("number", sorted(COUNTS))
def test_each_table_is_a_full_grid(number: int) -> None:
    places = table(number)
    rows = {row for row, _ in places}
    columns = {column for _, column in places}
    missing = {(row, column) for row in rows for column in columns} - places.keys()
    expected = {("Actual Compression Ratio", "Unstructured 50%")} if number == 7 else set()
    assert missing == expected


def test_means_of_table_2_are_recomputed() -> None:
    scores = defaultdict(list)
    for (row, column), number in table(2).items():
        if column not in ("Parameters", "Mean"):
            scores[row].append(number.value)
    assert all(len(values) == 7 for values in scores.values())
    gaps = {row: fmean(values) - table(2)[row, "Mean"].value for row, values in scores.items()}
    # Three means are those of their columns; three are off by about a hundredth, one is another.
    exact = ["Sheared-LLaMA-2.7B (Dense)", "INCITE-Base-3B (Dense)", "LLaMA-7B (Sparse)"]
    assert [row for row, gap in gaps.items() if abs(gap) <= 0.005] == exact
    assert gaps.pop("Open-LLaMA-3B-v2 (Dense)") == pytest.approx(52.2786 - 52.13, abs=1e-4)
    assert max(map(abs, gaps.values())) < 0.015


def test_speedups_of_table_6_are_the_ratios_of_its_throughputs() -> None:
    places = table(6)
    for row in {row for row, _ in places}:
        ratio = places[row, "Sparse"].value / places[row, "Dense"].value
        assert ratio == pytest.approx(places[row, "Speedup"].value, abs=0.0051)


@pytest.mark.parametrize(
    ("one", "row", "other", "other_row"),
    [
        (1, "Dense", 4, "Dense"),
        (1, "Dense", 5, "Dense"),
        (1, "Dense", 10, "Dense"),
        (1, "AST-Naive(Ours)", 4, "AST-Naive(Ours)"),
        (1, "AST-Naive(Ours)", 5, "KL Loss(Ours)"),
    ],
)
def test_what_two_tables_print_twice_agrees(one: int, row: str, other: int, other_row: str) -> None:
    first, second = table(one), table(other)
    shared = {c for r, c in first if r == row} & {c for r, c in second if r == other_row}
    assert len(shared) >= 4
    for column in shared:
        assert first[row, column].value == second[other_row, column].value


def test_numbers_of_gpt2_124m_are_the_same_wherever_they_stand() -> None:
    naive, boosted = 32.23, 31.13
    assert table(1)["AST-Naive(Ours)", "GPT2 124M"].value == naive
    assert table(12)["GPT2", "w/o"].value == naive
    assert table(13)["Magnitude", "PPL"].value == naive
    assert table(14)["GPT2", "α = 1/3"].value == naive
    assert table(1)["AST-Boosted(Ours)", "GPT2 124M"].value == boosted
    assert table(7)["Perplexity", "2:4"].value == boosted
    assert table(9)["Mean", "5B"].value == boosted
    assert table(12)["GPT2", "SLoRB"].value == boosted


@pytest.mark.parametrize(
    ("number", "row", "column", "value", "text"),
    [
        (1, "Wanda", "GPT2 124M", 115.64, "115.64"),
        (2, "LLaMA2-7B (Sparse+SLoRB)", "Parameters", 4.2, "4.2"),
        (3, "GMS8K (LoRA Finetuned)", "AST-Boosted", 36.2, "36.2"),
        (8, "Kl loss parameter", "LLAMA2 7B", 1 / 3, "1/3"),
        (8, "Learning Rate", "OPT 1.3B", 2e-5, "2e-5"),
        (10, "AWQ-2bit", "LLAMA2 7B", 220_000, "2.2e5"),
        (10, "AST-Boosted-4bit(Ours)", "Theoretical Compression Rate", 0.078, "0.078"),
        (11, "LLaMA2 w/o Distil", "Total(TFLOPs)", 3e8, "3e8"),
        (14, "GPT2", "α = 1", 40.34, "40.34"),
    ],
)
def test_numbers_are_read_and_printed_as_they_stand(
    number: int, row: str, column: str, value: float, text: str
) -> None:
    printed = table(number)[row, column]
    assert (printed.value, printed.text) == (value, text)


def test_counted_values_carry_their_powers_of_ten() -> None:
    assert table(8)["Training Steps", "LLAMA2 7B"].counted == 15_000
    assert table(8)["Tokens Trained", "LLAMA2 7B"].counted == 7.5e9
    assert table(11)["LLaMA2 w/ Distil", "Total(TFLOPs)"].counted == 3e20
