"""The command that checks the paper's statements by arithmetic; it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def audit(
    output: Annotated[Path, typer.Option(help="Markdown file to write")],
    tables: Annotated[
        Path, typer.Option(help="folder with published.csv and quoted/claims.yaml")
    ] = Path("paper_tables"),
) -> None:
    """Set what the paper prints against what follows from architecture and arithmetic alone."""
    from adaptprune.audit.report import write_audit
    from adaptprune.outputs import beginning, check_files

    check_files([(output, beginning("# What follows from architecture and arithmetic alone"))])
    write_audit(tables, output)
