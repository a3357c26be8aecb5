"""The pages of the reference list what there is: commands, keys, targets, quirks."""

from __future__ import annotations

import functools
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import typer

from adaptprune.cli import app
from adaptprune.pruning.registry import METHODS
from adaptprune.recovery.registry import RECOVERIES
from adaptprune.tables.declared_tables import DeclaredTables
from adaptprune.workflow.papers import declared_tables
from adaptprune.workflow.presented import CHECKS, Presented
from adaptprune.workflow.profiles import Profile
from adaptprune.workflow.request import Request

ROOT = Path(__file__).parent.parent


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of a page's tables, but for heads and the lines below them."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def coded(text: str) -> list[str]:
    """Return what stands in code type."""
    return re.findall(r"`([^`]+)`", text)


def test_every_command_is_listed() -> None:
    group: Any = typer.main.get_command(app)
    listed = [name for row in rows(page("commands")) for name in coded(row[0])]
    assert sorted(listed) == sorted(
        n for n, command in group.commands.items() if not command.hidden
    )


def test_every_key_of_a_profile_is_explained() -> None:
    keys = page("profiles").split("## Keys")[1]
    listed = [name for row in rows(keys) for name in coded(row[0])]
    assert sorted(listed) == sorted([*Profile.model_fields, "extends"])
    inside = {name for row in rows(keys) for name in coded(row[1])}
    schema = Profile.model_json_schema()["$defs"]
    for model in ("CalibrationConfig", "EvaluationConfig", "SpeedConfig"):
        assert set(schema[model]["properties"]) <= inside, model


@functools.cache
def presented() -> tuple[Request, Presented]:
    """Return what `snakemake` in the profile `mini` is asked for, and what it makes."""
    tables = DeclaredTables(declared_tables(ROOT / "paper_tables"))
    request = Request(ROOT, {}, tables, lambda file: None)
    return request, Presented(request)


TARGETS = {name: row for row in rows(page("targets")) for name in coded(row[0])}


def test_every_target_is_listed() -> None:
    _, made = presented()
    # A part of table4, and made with it.
    assert set(made.targets()) - {"table4_flops"} <= set(TARGETS)
    others = set(TARGETS) - set(made.targets())
    rules = "".join(path.read_text() for path in ROOT.glob("rules/*.smk"))
    assert all(re.search(rf"^rule {name}:", rules, re.M) for name in others)


def test_the_files_of_every_target_are_named() -> None:
    _, made = presented()
    for name in set(made.targets()) - {"table4_flops"}:
        named = coded(TARGETS[name][2])
        for file in made.targets()[name](None):
            folder, _, written = file.partition("/generated/")
            if folder == "paper_tables" and not name.startswith("ast_"):
                stem = written.partition("/")[2].rpartition(".")[0]
                assert f"{stem}.*" in named, file


@pytest.mark.parametrize("name", [n for n, row in TARGETS.items() if row[3].isdigit()])
def test_the_cells_of_a_target_are_counted(name: str) -> None:
    request, _ = presented()
    if name in request.tables.files:
        cells = request.table_cells(CHECKS.get(name, request.profile_of(name)), name)
    elif name == "ablation_amplitude":
        cells = request.table_cells("mini", "table8")
    elif name == "fig4":
        cells = request.table_cells("mini", "ablation_interleave")
    else:
        cells = request.profile("mini").cells()
    assert int(TARGETS[name][3]) == len(cells)


def quirks() -> set[tuple[str, str, str]]:
    """Return method, parameter and default of all that is either official or corrected."""
    return {
        (name, key, field.default)
        for registry in (METHODS, RECOVERIES)
        for name in registry.installed()
        for key, field in registry.find(name).parameters.model_fields.items()
        if set(typing.get_args(field.annotation)) == {"official", "corrected"}
    }


def test_every_quirk_is_listed_with_its_default() -> None:
    table = page("quirks").split("\n## ")[0]
    listed = [
        (name, *coded(parameter), *coded(default))
        for methods, parameter, default, _ in rows(table)
        for name in coded(methods)
    ]
    assert len(set(listed)) == len(listed)
    assert set(listed) == quirks()


def test_a_level_and_a_tolerance_are_those_of_the_code() -> None:
    from adaptprune.comparison.summary import TOLERANCE
    from adaptprune.results.stats import RESAMPLES
    from adaptprune.results.verdict import LEVEL

    text = " ".join(page("statistics").split())
    assert f"corrected p is below {LEVEL}" in text
    assert f"{RESAMPLES:,} seeded resamples" in text
    assert f"differ by at most {TOLERANCE:.0%}".replace("%", " %") in text
