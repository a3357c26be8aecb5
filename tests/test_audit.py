"""Every statement about the paper follows from its numbers, and would turn if they were others."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adaptprune.errors import UserError
from adaptprune.files.declared import read_declared
from adaptprune.models.catalogue import shape_of
from adaptprune.models.shapes import layer_target
from adaptprune.papers.adapt_pruner.audit.amplitude import accumulated, printed_bounds
from adaptprune.papers.adapt_pruner.audit.budgets import budget_of, counts_of
from adaptprune.papers.adapt_pruner.audit.flap import floor, readings
from adaptprune.papers.adapt_pruner.audit.report import audit, audit_paper
from adaptprune.papers.adapt_pruner.method import printed_sparsities
from adaptprune.report.statements import Finding, Statement, lies_within, write_audit
from adaptprune.results.published import Claims, Printed, load_published

if TYPE_CHECKING:
    from collections.abc import Callable

TABLES = Path(__file__).parents[1] / "paper_tables" / "adapt_pruner"
LLAMA_8B = "meta-llama/Llama-3.1-8B"

VERDICTS = {
    "LLM-Pruner's counts follow": Finding.HOLDS,
    "SliceGPT's counts follow": Finding.HOLDS,
    "A model sliced by SliceGPT is smaller": Finding.REFUTED,
    "FLAP's counts of models with 128": Finding.OPEN,
    "FLAP's counts of LLaMA-3.2-1B": Finding.REFUTED,
    "Adapt-Pruner's counts in Table 7": Finding.OPEN,
    "At amplitude 0": Finding.HOLDS,
    "Table 8's counts lie within": Finding.OPEN,
    "Table 8's counts can come from Eq. 6": Finding.REFUTED,
    "The averaged sparsity": Finding.REFUTED,
    "Every printed average": Finding.HOLDS,
    "Table 1 repeats": Finding.HOLDS,
    "Adapt-Pruner is ahead": Finding.HOLDS,
    "A = 0.02 is the best": Finding.HOLDS,
    "The rows of Table 2": Finding.REFUTED,
    "20 interleaves lead": Finding.REFUTED,
    "One pair of model sizes": Finding.REFUTED,
    "Each cut of Adapt-Accel": Finding.REFUTED,
    "Eq. 11": Finding.REFUTED,
    "Both texts number": Finding.REFUTED,
    "All sources agree on the number of the table against": Finding.REFUTED,
    "All sources agree on the number of the table of recovered": Finding.REFUTED,
    "All sources agree on the model": Finding.REFUTED,
    "All sources agree on the lowest learning rate": Finding.REFUTED,
}


@pytest.fixture(scope="module")
def numbers() -> list[Printed]:
    return load_published(TABLES / "published.csv")


@pytest.fixture(scope="module")
def claims() -> Claims:
    return read_declared(Claims, TABLES / "quoted" / "claims.yaml")


@pytest.fixture(scope="module")
def statements(numbers: list[Printed], claims: Claims) -> list[Statement]:
    return audit(numbers, claims)


def find(statements: list[Statement], title: str) -> Statement:
    (found,) = (statement for statement in statements if statement.title.startswith(title))
    return found


def claims_with(claims: Claims, part: str, **changes: object) -> Claims:
    """Return the claims with some fields of one part altered."""
    altered = getattr(claims, part).model_copy(update=changes)
    return claims.model_copy(update={part: altered})


def test_every_statement_has_its_verdict_and_arithmetic(statements: list[Statement]) -> None:
    assert {title: find(statements, title).finding for title in VERDICTS} == VERDICTS
    assert len(statements) == len(VERDICTS)
    for statement in statements:
        assert statement.said
        assert any(character.isdigit() for text in statement.arithmetic for character in text)
        assert statement.conclusion.endswith(".")


@pytest.mark.parametrize("method", ["llm-pruner", "slicegpt"])
def test_eighteen_counts_are_exact(numbers: list[Printed], method: str) -> None:
    counts = counts_of(numbers, 7, method)
    assert len(counts) == 9
    for number in counts:
        budget = budget_of(number)
        assert budget.minimum == budget.maximum
        assert f"{budget.minimum / 1e9:.2f}" == f"{number.value:.2f}"


def test_written_arithmetic_ends_at_the_budget(
    numbers: list[Printed], statements: list[Statement]
) -> None:
    for method, title in (("llm-pruner", "LLM-Pruner's counts"), ("slicegpt", "SliceGPT's counts")):
        budget = budget_of(counts_of(numbers, 7, method)[0])
        assert f"{budget.minimum:,}." in "".join(find(statements, title).arithmetic)


def test_flap_ranges_hold_where_the_official_head_size_does(numbers: list[Printed]) -> None:
    inside = {
        (number.model, number.sparsity): lies_within(
            number.value, budget_of(number).minimum, budget_of(number).maximum
        )
        for number in counts_of(numbers, 7, "flap")
    }
    assert [place for place, fact in inside.items() if not fact] == [
        ("LLaMA-3.2-1B", 20),
        ("LLaMA-3.2-1B", 40),
    ]


def test_no_reading_of_a_flap_head_reaches_the_smallest_count() -> None:
    shape = shape_of("meta-llama/Llama-3.2-1B")
    lowest = [min(floor(shape, s, r) for r in readings(shape)) / 1e9 for s in (20, 40, 60)]
    assert lowest == pytest.approx([0.9589, 0.6982, 0.4304], abs=5e-5)


def test_floor_is_below_the_range_of_the_method(numbers: list[Printed]) -> None:
    for number in counts_of(numbers, 7, "flap"):
        shape = shape_of(number.model_id)
        bound = floor(shape, number.sparsity, readings(shape)[0])
        assert bound <= budget_of(number).minimum


@pytest.mark.parametrize("amplitude", [0.005, 0.01, 0.02, 0.04])
def test_printed_rule_never_leaves_its_bounds(amplitude: float) -> None:
    shape = shape_of(LLAMA_8B)
    dense, layers = shape.blocks[0], len(shape.blocks)
    bounds = printed_bounds(shape, 0.5, 50, amplitude)
    one_high = [1.0] + [-1 / (layers - 1)] * (layers - 1)
    halves = [1.0, -1.0] * (layers // 2)
    line = [1 - 2 * index / (layers - 1) for index in range(layers)]
    counts = []
    for start in (one_high, halves, line, [-value for value in one_high]):
        for turn in (1, -1):
            blocks = list(shape.blocks)
            for step in range(1, 51):
                importance = [value * turn**step for value in start]
                reached = printed_sparsities(importance, 0.01 * step, amplitude)
                blocks = [
                    layer_target(shape, dense, block, sparsity)
                    for block, sparsity in zip(blocks, reached, strict=True)
                ]
            counts.append(shape.with_blocks(blocks).parameters)
    assert bounds.minimum <= min(counts) <= max(counts) <= bounds.maximum
    # Halves that turn round at each step reach the bound but for whole heads and truncation.
    assert min(counts) - bounds.minimum < 0.01e9


def test_printed_rule_excludes_two_published_counts() -> None:
    bounds = printed_bounds(shape_of(LLAMA_8B), 0.5, 50, 0.04)
    assert bounds.minimum / 1e9 == pytest.approx(4.3429, abs=5e-5)
    assert not lies_within(4.04, *bounds)
    assert not lies_within(4.43, *printed_bounds(shape_of(LLAMA_8B), 0.5, 50, 0.02))


def test_accumulating_rule_goes_below_the_printed_one() -> None:
    shape = shape_of(LLAMA_8B)
    layers = len(shape.blocks)
    outstanding = [1.0] * 2 + [-2 / (layers - 2)] * (layers - 2)
    count = accumulated(shape, 0.5, 50, 0.04, outstanding)
    assert count < printed_bounds(shape, 0.5, 50, 0.04).minimum
    assert accumulated(shape, 0.5, 50, 0, [0.0] * layers) / 1e9 == pytest.approx(4.54, abs=5e-3)


def test_conclusions_name_the_numbers(statements: list[Statement]) -> None:
    for title, text in (
        ("Every printed average", "53 of 53 averages agree"),
        ("The rows of Table 2", "add up to 3.91B, printed is 3.87B"),
        ("20 interleaves", "With 300M it is 95.7 %, with the 350M of the model's name 95.0 %"),
        ("A model sliced", "LLaMA-3.2-3B at 20 %, LLaMA-3.2-1B at 20 %"),
        ("Table 8's counts can come", "4.04B at A = 0.04"),
        ("One pair", "No way of counting agrees with more than 4 of 6; 6 of 6"),
        ("FLAP's counts of LLaMA-3.2-1B", "0.94B at 20 % is below every one"),
        ("Adapt-Pruner is ahead", "1.40, 7.04, 1.95"),
    ):
        assert text in find(statements, title).conclusion


@pytest.mark.parametrize(
    ("title", "table", "method", "sparsity", "key", "value", "verdict"),
    [
        ("LLM-Pruner's counts", 7, "llm-pruner", 20, "params", 6.74, Finding.REFUTED),
        ("SliceGPT's counts", 7, "slicegpt", 40, "params", 5.43, Finding.REFUTED),
        ("FLAP's counts of models", 7, "flap", 20, "params", 6.90, Finding.REFUTED),
        ("Adapt-Pruner's counts", 7, "adapt-pruner", 20, "params", 8.10, Finding.REFUTED),
        ("At amplitude 0", 8, "adapt-pruner", 50, "params", 4.55, Finding.REFUTED),
        ("Table 8's counts lie", 8, "adapt-pruner", 50, "params", 1.00, Finding.REFUTED),
        ("Table 8's counts can", 8, "adapt-pruner", 50, "params", 4.54, Finding.HOLDS),
        ("The averaged sparsity", 8, "adapt-pruner", 50, "params", 4.54, Finding.HOLDS),
        ("Every printed average", 7, "flap", 20, "average", 53.35, Finding.REFUTED),
        ("Table 1 repeats", 1, "flap", 20, "average", 53.34, Finding.REFUTED),
        ("Adapt-Pruner is ahead", 1, "flap", 20, "average", 60.0, Finding.REFUTED),
        ("A = 0.02 is the best", 8, "adapt-pruner", 50, "average", 40.0, Finding.REFUTED),
    ],
)
def test_another_printed_number_turns_the_verdict(
    numbers: list[Printed],
    claims: Claims,
    title: str,
    table: int,
    method: str,
    sparsity: int,
    key: str,
    value: float,
    verdict: Finding,
) -> None:
    place = (table, LLAMA_8B, method, sparsity, key)
    altered = [
        dataclasses.replace(number, value=value)
        if (number.table, number.model_id, number.method, number.sparsity, number.key) == place
        else number
        for number in numbers
    ]
    assert find(audit(altered, claims), title).finding == verdict


@pytest.mark.parametrize(
    ("title", "part", "changes"),
    [
        ("The rows of Table 2", "training_data", {"total": "3.91B"}),
        ("20 interleaves", "pruning_ratio", {"large": 350, "percent": 95.0}),
        ("One pair", "interleaves", {"ratios": ["0.38", "0.90"], "counts": [1, 9]}),
        ("Each cut", "targets", {"interleaves": 1}),
    ],
)
def test_another_claim_would_hold(
    numbers: list[Printed], claims: Claims, title: str, part: str, changes: dict[str, object]
) -> None:
    altered = claims_with(claims, part, **changes)
    assert find(audit(numbers, altered), title).finding == Finding.HOLDS


def test_equal_answers_agree(numbers: list[Printed], claims: Claims) -> None:
    same = claims.comparisons[0].model_copy(update={"answers": ["Table 3", "Table 3"]})
    altered = claims.model_copy(update={"comparisons": [same]})
    assert find(audit(numbers, altered), "All sources agree").finding == Finding.HOLDS


def test_command_writes_the_same_bytes_each_time(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, output, error = command(
        "audit",
        "--paper",
        "adapt_pruner",
        "--tables",
        TABLES.parent,
        "--output",
        tmp_path / "a.md",
    )
    assert (status, output, error) == (0, "", f"wrote {tmp_path / 'a.md'}\n")
    write_audit([audit_paper(TABLES)], tmp_path / "b.md")
    text = (tmp_path / "a.md").read_text()
    assert text == (tmp_path / "b.md").read_text()
    assert text.count("\n## ") == len(VERDICTS)
    assert text.count("\n| [") == len(VERDICTS)


def test_audit_needs_no_torch() -> None:
    import subprocess

    code = (
        "import sys, adaptprune.papers.adapt_pruner.audit.report; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("published.csv", None, "published.csv: No such file"),
        ("published.csv", "table_arxiv\n1\n", "line 2"),
        ("quoted/claims.yaml", None, "claims.yaml: No such file"),
        ("quoted/claims.yaml", "a: [", "not valid YAML"),
        ("quoted/claims.yaml", "a: 1", "sources: Field required"),
    ],
)
def test_unusable_sources_are_told_in_one_line(
    tmp_path: Path, file: str, text: str | None, message: str
) -> None:
    path = tmp_path / Path(file).name
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_published(path) if path.suffix == ".csv" else read_declared(Claims, path)
    assert "\n" not in str(error.value)
