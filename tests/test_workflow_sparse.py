"""The tables and figures of the AST paper through Snakemake; in its own profile planned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest import mock

import pandas as pd
import pytest
from planned_commands import planned_commands, run_here
from test_workflow import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("sparse")]

TABLES = [f"ast_table{number}" for number in range(1, 15)]
FIGURES = ["ast_fig2", "ast_fig4"]
#: Tables of sizes and of settings: what they lack is throughput on a GPU, and is no result.
NOT_SCORED = ("ast_table6", "ast_table8")
#: What is counted, not measured.
COUNTED = ("params", "nonzeros", "tokens", "training_flops")


def planned(folder: Path, profile: str) -> str:
    """Return what a dry run of all artefacts tells."""
    told = run(folder, f"profile={profile}", "--dry-run", "--printshellcmds", target="ast_all")
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def jobs(told: str) -> dict[str, str]:
    """Return the number of jobs of each rule."""
    return dict(line.split() for line in told.splitlines() if len(line.split()) == 2)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all artefacts of the tiny profile, made by the commands of the workflow."""
    folder = tmp_path_factory.mktemp("sparse")
    with mock.patch.dict(os.environ):
        for command in planned_commands(planned(folder, "tiny")):
            os.environ.pop("ADAPTPRUNE_VECTORS", None)  # each command chooses anew
            run_here(command, folder)
    return folder / "paper_tables" / "generated" / "sparse-tiny"


def test_all_artefacts_are_planned_in_the_profile_of_the_paper(tmp_path: Path) -> None:
    counts = jobs(planned(tmp_path, "sparse-paper"))
    assert (counts["table"], counts["figure"], counts["ast_all"]) == ("14", "2", "1")


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_a_measured_number(name: str, generated: Path) -> None:
    numbers = pd.read_csv(generated / f"{name}.csv")
    found = numbers[(numbers["status"] == "ok") & numbers["value"].notna()]
    assert len(found)
    measured = found[~found["metric"].isin(COUNTED)]
    assert len(measured) or name in NOT_SCORED
    assert not (numbers["status"].isin(["failed", "missing"])).any()
    for suffix in (".md", ".tex"):
        assert (generated / f"{name}{suffix}").stat().st_size > 200


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn(name: str, generated: Path) -> None:
    assert len(pd.read_csv(generated / "figures" / f"{name}.csv")) > 1
    for suffix in (".pdf", ".png", ".svg"):
        assert (generated / "figures" / f"{name}{suffix}").stat().st_size > 1000


def test_rounded_weights_are_measured_at_every_number_of_bits(generated: Path) -> None:
    numbers = pd.read_csv(generated / "ast_table10.csv")
    found = numbers[numbers["status"] == "ok"].set_index("title")["value"]
    assert list(found.index) == [
        *("Dense", "AWQ-4bit", "AWQ-2bit"),
        *("AST-Naive-8bit", "AST-Naive-4bit", "AST-Boosted-4bit"),
    ]
    assert found["Dense"] != found["AWQ-4bit"] != found["AWQ-2bit"]
