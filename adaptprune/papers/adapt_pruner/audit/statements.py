"""A statement with its arithmetic and finding, and many of them as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adaptprune.results.published import Claims

#: Half of the last digit of a count printed in billions with two decimals, in parameters.
HALF_DIGIT = 5e6


class Finding(StrEnum):
    """What the arithmetic says about a statement."""

    HOLDS = "holds"
    REFUTED = "does not hold as described"
    OPEN = "cannot be derived"


@dataclass(frozen=True)
class Statement:
    """One statement of the paper, checked.

    Args:
        title: the statement in one line.
        said: the paper's words or numbers, and where they stand.
        arithmetic: Markdown paragraphs and tables that lead to the finding.
        finding: what they lead to.
        conclusion: the finding's reason in one line.
    """

    title: str
    said: str
    arithmetic: tuple[str, ...]
    finding: Finding
    conclusion: str


def holds(fact: bool) -> Finding:
    """Return the finding on a fact that is either so or not."""
    return Finding.HOLDS if fact else Finding.REFUTED


def lies_within(printed: float, minimum: float, maximum: float) -> bool:
    """Say whether a printed count (billions, two decimals) can stand for one of the range."""
    return minimum - HALF_DIGIT - 1 <= printed * 1e9 <= maximum + HALF_DIGIT + 1


def billions(count: float) -> str:
    """Print a parameter count in billions with four decimals."""
    return f"{count / 1e9:.4f}B"


def yes(fact: bool) -> str:
    """Print a fact of a table."""
    return "yes" if fact else "**no**"


def grid(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; a bar within a cell is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def to_markdown(statements: Sequence[Statement], claims: Claims) -> str:
    """Return all statements: findings first, then one section each."""
    counts = "; ".join(f"{finding}: {_count(statements, finding)}" for finding in Finding)
    summary = [
        (f"[{number}](#{number})", statement.title, statement.finding, statement.conclusion)
        for number, statement in enumerate(statements, start=1)
    ]
    parts = [
        "# What follows from architecture and arithmetic alone",
        "Statements of the Adapt-Pruner paper (arXiv 2502.03460) that can be checked without "
        "weights, data or a GPU. Tables are numbered as on arXiv. A count in billions agrees where "
        "it rounds to the printed two decimals.",
        f"{len(statements)} statements. {counts}.",
        grid(["#", "statement", "verdict", "why"], summary),
        "Sources: " + "; ".join(f"{name}: {text}" for name, text in claims.sources.items()) + ".",
    ]
    for number, statement in enumerate(statements, start=1):
        parts += [
            f'## <a id="{number}"></a>{number}. {statement.title}',
            f"*Printed:* {statement.said}",
            *statement.arithmetic,
            f"*Verdict:* **{statement.finding}**. {statement.conclusion}",
        ]
    return "\n\n".join(parts) + "\n"


def _count(statements: Sequence[Statement], finding: Finding) -> int:
    return sum(statement.finding == finding for statement in statements)
