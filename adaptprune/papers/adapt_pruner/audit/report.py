"""All statements about the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.files.declared import read_declared
from adaptprune.papers.adapt_pruner.audit.amplitude import audit_amplitude
from adaptprune.papers.adapt_pruner.audit.counts import audit_counts
from adaptprune.papers.adapt_pruner.audit.results import audit_results
from adaptprune.papers.adapt_pruner.audit.texts import audit_texts
from adaptprune.papers.adapt_pruner.audit.training import audit_training
from adaptprune.report.statements import Audit
from adaptprune.results.published import Claims, Printed, load_published
from adaptprune.workflow.papers import claims_file, published_file

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.report.statements import Statement

SCOPE = (
    "Statements of the Adapt-Pruner paper (arXiv 2502.03460) that can be checked without "
    "weights, data or a GPU. Tables are numbered as on arXiv. A count in billions agrees where "
    "it rounds to the printed two decimals."
)


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


def audit_paper(folder: Path) -> Audit:
    """Check every statement of the paper.

    Args:
        folder: with ``published.csv`` and ``quoted/claims.yaml``.

    Raises:
        UserError: one of the two files cannot be used.
    """
    claims = read_declared(Claims, claims_file(folder))
    return Audit(SCOPE, audit(load_published(published_file(folder)), claims), claims.sources)
