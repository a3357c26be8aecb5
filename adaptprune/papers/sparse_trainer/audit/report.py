"""All statements about the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.files.declared import read_declared
from adaptprune.papers.sparse_trainer.audit.compression import audit_compression
from adaptprune.papers.sparse_trainer.audit.printed import Tables
from adaptprune.papers.sparse_trainer.audit.quoted import Quoted
from adaptprune.papers.sparse_trainer.audit.sizes import audit_sizes
from adaptprune.papers.sparse_trainer.audit.tables import audit_tables
from adaptprune.papers.sparse_trainer.audit.training import audit_training
from adaptprune.report.statements import Audit
from adaptprune.results.published import Printed, load_published
from adaptprune.workflow.papers import claims_file, published_file

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.report.statements import Statement

SCOPE = (
    "Statements of the Adaptive Sparse Trainer paper (arXiv 2407.20584) that can be checked "
    "without weights, data or a GPU."
)


def audit(numbers: list[Printed], quoted: Quoted) -> list[Statement]:
    """Check every statement.

    Args:
        numbers: the printed numbers of Tables 1 to 14.
        quoted: what the paper and its codes say elsewhere.
    """
    tables = Tables(numbers)
    return [
        *audit_compression(tables, quoted),
        *audit_sizes(tables, quoted),
        *audit_tables(tables, quoted),
        *audit_training(tables, quoted),
    ]


def audit_paper(folder: Path) -> Audit:
    """Check every statement of the paper.

    Args:
        folder: with ``published.csv`` and ``quoted/claims.yaml``.

    Raises:
        UserError: one of the two files cannot be used.
    """
    quoted = read_declared(Quoted, claims_file(folder))
    return Audit(SCOPE, audit(load_published(published_file(folder)), quoted), quoted.sources)
