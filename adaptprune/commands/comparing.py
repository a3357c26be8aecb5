"""Commands that keep results and compare them: store, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands.options import (
    MethodFileOption,
    MethodOption,
    choose_method,
    print_json,
)
from adaptprune.commands.profiles import (
    ConfigFolderOption,
    OverrideOption,
    ProfileOption,
    RunsOption,
    read_profile,
)
from adaptprune.errors import UserError


def store(
    profile: ProfileOption,
    output: Annotated[
        Path | None, typer.Option(help="results CSV to write (default: results/PROFILE.csv)")
    ] = None,
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
    finished: Annotated[
        bool, typer.Option("--finished", help="the cells that are, and list the others as not run")
    ] = False,
) -> None:
    """Keep a finished profile: results, seal, provenance, documents and versions, side by side."""
    from adaptprune.cells import cell_folder
    from adaptprune.commands.outputs import NOT_RUN, check_files, matrix_files, sibling
    from adaptprune.results.matrix import read_matrix, store_cells
    from adaptprune.results.notrun import write_not_run
    from adaptprune.results.records import read_cell

    output = output or Path("results") / f"{profile}.csv"
    lacking = sibling(output, f"{output.stem}.not-run.csv")
    check_files(matrix_files(output) + [(lacking, NOT_RUN)] * finished)
    cells = read_profile(profile, config_folder, override).cells()
    folders = [cell_folder(runs, profile, cell) for cell in cells]
    if not finished:
        store_cells(folders, profile, output)
        return
    done = [folder for folder in folders if read_cell(folder) is not None]
    if not done and not output.is_file():
        raise UserError(f"profile {profile}: none of {len(folders)} cells is finished")
    matrix = store_cells(done, profile, output) if done else read_matrix(output)
    listed = write_not_run(read_profile(profile, config_folder, None).cells(), matrix, output)
    minutes = round(listed["minutes"].sum(), 1)
    print_json({"stored": len(done), "not_run": len(listed), "minutes": minutes})


def compare(
    baseline: Annotated[Path, typer.Argument(help="results CSV of the baselines")],
    new: Annotated[Path, typer.Argument(help="results CSV to compare with them")],
    method: MethodOption = None,
    method_file: MethodFileOption = None,
    output: Annotated[
        Path | None, typer.Option(help="write OUTPUT.md, .tex, .html and .csv (default: print)")
    ] = None,
) -> None:
    """Compare results over the same documents: one new method with all baselines, or two runs."""
    from adaptprune import api
    from adaptprune.comparison.report import write_comparison

    if output is not None:
        from adaptprune.commands.outputs import check_files, table_files

        check_files(table_files(output, ".html"), [baseline, new, method_file])
    if method is not None or method_file is not None:
        method = choose_method(method, method_file)
    comparison = api.compare(baseline, new, method=method)
    if output is None:
        print(comparison, end="")
    else:
        write_comparison(comparison, output)
