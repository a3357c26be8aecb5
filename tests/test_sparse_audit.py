"""Statements about the AST paper follow from its numbers, and turn where these are others."""

from __future__ import annotations

import dataclasses
import heapq
import math
import subprocess
import sys
from pathlib import Path

import pytest

from adaptprune.errors import UserError
from adaptprune.files.declared import read_declared
from adaptprune.papers.sparse_trainer.audit.compression import ceiling_bits, huffman_bits
from adaptprune.papers.sparse_trainer.audit.quoted import Quoted
from adaptprune.papers.sparse_trainer.audit.report import audit, audit_paper
from adaptprune.papers.sparse_trainer.audit.sizes import bytes_bound, sparse_size
from adaptprune.report.statements import Finding, Statement, to_markdown
from adaptprune.results.published import Printed, load_published

TABLES = Path(__file__).parents[1] / "paper_tables" / "sparse_trainer"
NUMBERS = load_published(TABLES / "published.csv")
QUOTED = read_declared(Quoted, TABLES / "quoted" / "claims.yaml")
STATEMENTS = audit(NUMBERS, QUOTED)

VERDICTS = {
    "Table 7's ratios follow from a Huffman": Finding.HOLDS,
    "Table 7's ratios follow from the printed": Finding.REFUTED,
    "Without the ceiling": Finding.HOLDS,
    "Table 10's compression rates": Finding.REFUTED,
    "Table 2's parameters": Finding.REFUTED,
    "SLoRB with k = 16": Finding.HOLDS,
    "Table 6's speed-ups are the ratios": Finding.HOLDS,
    "Table 6's speed-ups lie within": Finding.REFUTED,
    "Every mean of Table 2": Finding.REFUTED,
    "What two tables print": Finding.HOLDS,
    "The 2:4 model is within": Finding.REFUTED,
    "Sparse LLaMA2-7B is ahead": Finding.REFUTED,
    "AST is ahead of every other": Finding.HOLDS,
    "Losses on intermediate outputs": Finding.HOLDS,
    "Eight bits leave": Finding.OPEN,
    "Mean initialisation": Finding.HOLDS,
    "Table 8's tokens": Finding.HOLDS,
    "LLaMA2-7B is trained on less": Finding.HOLDS,
    "Table 11 compares": Finding.HOLDS,
    "α of Table 14": Finding.REFUTED,
    "AST without distillation has one": Finding.REFUTED,
    "The LLaMA-2 code's loss": Finding.HOLDS,
    "The codes raise the decay": Finding.REFUTED,
    "The GPT-2 code's decay": Finding.REFUTED,
    "The paper's first step": Finding.REFUTED,
    "All sources agree on which of T0": Finding.REFUTED,
    "All sources agree on where the decay": Finding.REFUTED,
    "All sources agree on whether the mask": Finding.REFUTED,
    "All sources agree on what masks": Finding.REFUTED,
}


def find(statements: list[Statement], title: str) -> Statement:
    (found,) = (statement for statement in statements if statement.title.startswith(title))
    return found


def changed(table: int, row: str, **values: float) -> list[Printed]:
    """Return the printed numbers with some of a row replaced: ``column`` with ``_`` for blanks."""
    columns = {column.replace("_", " "): value for column, value in values.items()}
    return [
        dataclasses.replace(n, value=columns[n.column], text=f"{columns[n.column]:g}")
        if (n.table, n.row_label) == (table, row) and n.column in columns
        else n
        for n in NUMBERS
    ]


def test_every_statement_has_its_verdict_and_arithmetic() -> None:
    assert {title: find(STATEMENTS, title).finding for title in VERDICTS} == VERDICTS
    assert len(STATEMENTS) == len(VERDICTS)
    for statement in STATEMENTS:
        assert statement.said
        assert statement.arithmetic
        assert statement.conclusion.endswith(".")


@pytest.mark.parametrize("symbols", [2, 3, 6, 70, 12870])
def test_mean_length_is_that_of_a_huffman_tree(symbols: int) -> None:
    # Each merge adds one bit to every symbol below it.
    weights, total = [1] * symbols, 0
    while len(weights) > 1:
        merged = heapq.heappop(weights) + heapq.heappop(weights)
        heapq.heappush(weights, merged)
        total += merged
    assert huffman_bits(symbols) == pytest.approx(total / symbols)
    assert math.log2(symbols) <= huffman_bits(symbols) <= ceiling_bits(symbols)


def test_sizes_of_llama_2_are_those_counted_by_hand() -> None:
    size = sparse_size("meta-llama/Llama-2-7b-hf", 16)
    linear = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    assert size.linear == linear == 6_476_005_376
    assert size.nonzeros == 6_738_415_616 - linear // 2 == 3_500_412_928
    assert size.left == linear // 16
    assert size.right == 32 * (6 * 4096**2 + 11008**2) // 16
    dense, sparse = bytes_bound(size)
    assert dense == 2 * (linear + 32000 * 4096)
    assert dense / sparse == pytest.approx(1.75076, abs=1e-5)


@pytest.mark.parametrize(
    ("title", "numbers"),
    [
        (
            "Table 10's compression rates",
            [
                n if n.text != "0.0675" else dataclasses.replace(n, value=0.0625, text="0.0625")
                for n in NUMBERS
            ],
        ),
        ("α of Table 14", changed(14, "GPT2", **{"α = 1/3": 32.18, "α = 2/3": 32.23})),
        ("AST without distillation has one", changed(14, "GPT2", **{"α = 1": 39.29})),
        ("Sparse LLaMA2-7B is ahead", changed(2, "LLaMA2-7B (Sparse)", OBQA=28.81)),
        ("Eight bits leave", changed(10, "AST-Naive-8bit(Ours)", LLAMA2_7B=5.83)),
    ],
)
def test_other_numbers_would_hold(title: str, numbers: list[Printed]) -> None:
    assert find(STATEMENTS, title).finding != Finding.HOLDS
    assert find(audit(numbers, QUOTED), title).finding == Finding.HOLDS


@pytest.mark.parametrize(
    ("title", "numbers"),
    [
        (
            "Table 7's ratios follow from a Huffman",
            changed(7, "Actual Compression Ratio", **{"4:8": 8.7}),
        ),
        ("Table 6's speed-ups are the ratios", changed(6, "L20 128, 128", Speedup=1.84)),
        ("What two tables print", changed(4, "Dense", GPT2_124M=29.94)),
        ("AST is ahead of every other", changed(1, "Wanda", OPT_125M=30.0)),
        ("Losses on intermediate outputs", changed(5, "TinyBERT", OPT_125M=30.0)),
        ("Mean initialisation", changed(9, "Xavier Uniform", **{"5B": 31.1})),
        ("Table 8's tokens", changed(8, "Training Steps", LLAMA2_7B=30)),
        ("LLaMA2-7B is trained on less", changed(8, "Tokens Trained", LLAMA2_7B=8.1)),
        ("Table 11 compares", changed(11, "LLaMA2 w/o Distil", Tokens=15)),
        ("The LLaMA-2 code's loss", changed(8, "Kl loss parameter", LLAMA2_7B=0.5)),
    ],
)
def test_other_numbers_would_not_hold(title: str, numbers: list[Printed]) -> None:
    assert find(STATEMENTS, title).finding == Finding.HOLDS
    assert find(audit(numbers, QUOTED), title).finding == Finding.REFUTED


def test_one_page_holds_both_papers_with_numbers_of_their_own() -> None:
    one = audit_paper(TABLES)
    text = to_markdown([one, one])
    assert text.count('<a id="') == 2 * len(VERDICTS)
    assert f'<a id="{2 * len(VERDICTS)}">' in text
    assert text.count("Adaptive Sparse Trainer") >= 2


def test_misspelt_quotation_is_refused(tmp_path: Path) -> None:
    content = (TABLES / "quoted" / "claims.yaml").read_text().replace("percent: 0.4", "per_cent: 1")
    (tmp_path / "claims.yaml").write_text(content)
    with pytest.raises(UserError, match=r"claims\.yaml: tokens"):
        read_declared(Quoted, tmp_path / "claims.yaml")
    assert isinstance(QUOTED, Quoted)


def test_audit_needs_no_torch() -> None:
    module = "adaptprune.papers.sparse_trainer.audit.report"
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
