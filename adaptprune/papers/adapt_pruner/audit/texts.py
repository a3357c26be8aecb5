"""Whether the texts of the paper, and its code, say the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.report.statements import Statement, agreement, grid, holds, yes

if TYPE_CHECKING:
    from adaptprune.results.published import Claims, Printed


def audit_texts(numbers: list[Printed], claims: Claims) -> list[Statement]:
    """Check whether the texts of the paper, and its code, say the same."""
    comparisons = (agreement(c.topic, c.words, c.answers) for c in claims.comparisons)
    return [_table_numbers(numbers), *comparisons]


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
