"""The command that checks the papers' statements by arithmetic; it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def audit(
    output: Annotated[Path, typer.Option(help="Markdown file to write")],
    tables: Annotated[
        Path, typer.Option(help="folder with a folder of each paper's numbers and words")
    ] = Path("paper_tables"),
    paper: Annotated[
        str | None, typer.Option(help="which paper's (default: every installed one's)")
    ] = None,
) -> None:
    """Set what the papers print against what follows from architecture and arithmetic alone."""
    from adaptprune.commands.outputs import beginning, check_files
    from adaptprune.report.statements import write_audit
    from adaptprune.workflow.papers import PAPERS, papers

    check_files([(output, beginning("# What follows from architecture and arithmetic alone"))])
    chosen = papers() if paper is None else [PAPERS.find(paper)]
    write_audit(
        [one.part("audit.report").audit_paper(one.folder(tables)) for one in chosen], output
    )
