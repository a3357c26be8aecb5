"""All statements about the paper, and the file they are written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.files.atomic import atomic_file
from adaptprune.papers.adapt_pruner.audit.amplitude import audit_amplitude
from adaptprune.papers.adapt_pruner.audit.counts import audit_counts
from adaptprune.papers.adapt_pruner.audit.results import audit_results
from adaptprune.papers.adapt_pruner.audit.statements import Statement, to_markdown
from adaptprune.papers.adapt_pruner.audit.texts import audit_texts
from adaptprune.papers.adapt_pruner.audit.training import audit_training
from adaptprune.results.published import Claims, Printed, load_claims, load_published

if TYPE_CHECKING:
    from pathlib import Path


def audit(numbers: list[Printed], claims: Claims) -> list[Statement]:
    """Check every statement.

    Args:
        numbers: the printed numbers of Tables 1, 7 and 8.
        claims: what the paper says elsewhere.
    """
    return [
        *audit_counts(numbers),
        *audit_amplitude(numbers, claims),
        *audit_results(numbers, claims),
        *audit_training(claims),
        *audit_texts(numbers, claims),
    ]


def write_audit(tables: Path, output: Path) -> None:
    """Check the paper's statements and write them as Markdown.

    Args:
        tables: folder with ``published.csv`` and ``quoted/claims.yaml``.
        output: the Markdown file.

    Raises:
        UserError: one of the two files cannot be used.
    """
    numbers = load_published(tables / "published.csv")
    claims = load_claims(tables / "quoted" / "claims.yaml")
    with atomic_file(output) as temporary:
        temporary.write_text(to_markdown(audit(numbers, claims), claims), encoding="utf-8")
