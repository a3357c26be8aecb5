"""Whether the texts of the paper, and its code, say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.papers.adapt_pruner.audit.statements import Statement, grid, holds, yes

if TYPE_CHECKING:
    from adaptprune.results.published import Claims, Comparison, Printed


def audit_texts(numbers: list[Printed], claims: Claims) -> list[Statement]:
    """Check whether the texts of the paper, and its code, say the same."""
    return [_table_numbers(numbers), *map(_comparison, claims.comparisons)]


def _table_numbers(numbers: list[Printed]) -> Statement:
    pairs = sorted({(n.table, n.table_acl) for n in numbers if n.table})  # 0 is the running text
    rows = [(arxiv, acl, yes(arxiv == acl)) for arxiv, acl in pairs]
    fact = all(arxiv == acl for arxiv, acl in pairs)
    return Statement(
        "Both texts number the transcribed tables alike",
        "Numbers of the tables in the arXiv text and in the ACL submission.",
        (grid(["arXiv", "ACL", "alike"], rows),),
        holds(fact),
        f"{sum(a == b for a, b in pairs)} of {len(pairs)} tables have the same number.",
    )


def _comparison(comparison: Comparison) -> Statement:
    rows = [
        (source, words, answer)
        for (source, words), answer in zip(
            comparison.words.items(), comparison.answers, strict=True
        )
    ]
    answers = list(dict.fromkeys(comparison.answers))
    return Statement(
        f"All sources agree on {comparison.topic}",
        "; ".join(f"{source}: {answer}" for source, _, answer in rows) + ".",
        (grid(["source", "words", "answer"], rows),),
        holds(len(answers) == 1),
        f"The answers are {' and '.join(answers)}.",
    )
