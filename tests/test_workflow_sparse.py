"""The tables and figures of the AST paper through Snakemake; in its own profile planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from test_workflow import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("sparse")]


def test_all_artefacts_are_planned_in_the_profile_of_the_paper(tmp_path: Path) -> None:
    planned = run(tmp_path, "profile=sparse-paper", "--dry-run", target="ast_all")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    counts = dict(line.split() for line in planned.stdout.splitlines() if len(line.split()) == 2)
    assert (counts["table"], counts["figure"], counts["ast_all"]) == ("14", "2", "1")
