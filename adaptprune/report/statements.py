"""A statement of a paper with its arithmetic and finding, and many of them as Markdown."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from adaptprune.files.atomic import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

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


def agreement(topic: str, words: Mapping[str, str], answers: Sequence[str]) -> Statement:
    """Return whether several sources answer one question alike.

    Args:
        topic: the question, as ``All sources agree on TOPIC``.
        words: of each source.
        answers: in the order of the sources.
    """
    rows = [
        (source, said, answer)
        for (source, said), answer in zip(words.items(), answers, strict=True)
    ]
    different = list(dict.fromkeys(answers))
    return Statement(
        f"All sources agree on {topic}",
        "; ".join(f"{source}: {answer}" for source, _, answer in rows) + ".",
        (grid(["source", "words", "answer"], rows),),
        holds(len(different) == 1),
        f"The answers are {' and '.join(different)}.",
    )


@dataclass(frozen=True)
class Audit:
    """The checked statements of one paper.

    Args:
        scope: what is checked, in a sentence or a few.
        statements: in the order of the page.
        sources: what the names of sources in the statements stand for.
    """

    scope: str
    statements: Sequence[Statement]
    sources: Mapping[str, str]


def to_markdown(audits: Sequence[Audit]) -> str:
    """Return all statements: findings first, paper by paper, then one section each."""
    parts, sections = ["# What follows from architecture and arithmetic alone"], []
    numbers = itertools.count(1)
    for audit in audits:
        counts = "; ".join(f"{finding}: {_count(audit, finding)}" for finding in Finding)
        summary = []
        for statement in audit.statements:
            number = next(numbers)
            place = f"[{number}](#{number})"
            summary.append((place, statement.title, statement.finding, statement.conclusion))
            sections += _section(number, statement)
        parts += [
            audit.scope,
            f"{len(audit.statements)} statements. {counts}.",
            grid(["#", "statement", "verdict", "why"], summary),
            "Sources: "
            + "; ".join(f"{name}: {text}" for name, text in audit.sources.items())
            + ".",
        ]
    return "\n\n".join([*parts, *sections]) + "\n"


def write_audit(audits: Sequence[Audit], output: Path) -> None:
    """Write all statements as Markdown."""
    with atomic_file(output) as temporary:
        temporary.write_text(to_markdown(audits), encoding="utf-8")


def _section(number: int, statement: Statement) -> list[str]:
    return [
        f'## <a id="{number}"></a>{number}. {statement.title}',
        f"*Printed:* {statement.said}",
        *statement.arithmetic,
        f"*Verdict:* **{statement.finding}**. {statement.conclusion}",
    ]


def _count(audit: Audit, finding: Finding) -> int:
    return sum(statement.finding == finding for statement in audit.statements)
