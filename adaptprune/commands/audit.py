"""The command that checks the paper's statements by arithmetic; it imports no torch."""

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
        str | None, typer.Option(help="which paper's (default: the first installed)")
    ] = None,
) -> None:
    """Set what the paper prints against what follows from architecture and arithmetic alone."""
    from adaptprune.commands.outputs import beginning, check_files
    from adaptprune.errors import unknown
    from adaptprune.workflow.papers import PAPERS, papers

    check_files([(output, beginning("# What follows from architecture and arithmetic alone"))])
    audited = [other.name for other in papers() if other.audited]
    chosen = PAPERS.find(audited[0] if paper is None else paper)
    if not chosen.audited:
        raise unknown("audited paper", chosen.name, audited)
    chosen.part("audit.report").write_audit(chosen.folder(tables), output)
