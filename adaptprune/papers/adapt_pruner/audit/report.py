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
from adaptprune.workflow.papers import claims_file, published_file

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


def audit_paper(folder: Path) -> list[Statement]:
    """Check every statement of the paper.

    Args:
        folder: with ``published.csv`` and ``quoted/claims.yaml``.

    Raises:
        UserError: one of the two files cannot be used.
    """
    return audit(load_published(published_file(folder)), load_claims(claims_file(folder)))


def write_audit(folder: Path, output: Path) -> None:
    """Check the paper's statements and write them as Markdown.

    Args:
        folder: with ``published.csv`` and ``quoted/claims.yaml``.
        output: the Markdown file.

    Raises:
        UserError: one of the two files cannot be used.
    """
    text = to_markdown(audit_paper(folder), load_claims(claims_file(folder)))
    with atomic_file(output) as temporary:
        temporary.write_text(text, encoding="utf-8")
