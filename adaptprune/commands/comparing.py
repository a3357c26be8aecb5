"""Commands that keep results, list and compare them: store, leaderboard, compare."""

from __future__ import annotations

import shlex
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
    """Keep a finished profile: results, seal, provenance, documents, versions, and speeds."""
    from adaptprune.cells import cell_folder
    from adaptprune.commands.outputs import NOT_RUN, check_files, matrix_files, sibling
    from adaptprune.results.matrix import read_matrix, store_cells
    from adaptprune.results.notrun import write_not_run
    from adaptprune.results.records import read_cell
    from adaptprune.results.speeds import store_speeds

    output = output or Path("results") / f"{profile}.csv"
    lacking = sibling(output, f"{output.stem}.not-run.csv")
    check_files(matrix_files(output) + [(lacking, NOT_RUN)] * finished)
    cells = read_profile(profile, config_folder, override).cells()
    folders = [cell_folder(runs, profile, cell) for cell in cells]
    measured = sorted((runs / profile / "speed").glob("*/*/*.json"))
    if not finished:
        store_speeds(measured, store_cells(folders, profile, output), output)
        return
    done = [folder for folder in folders if read_cell(folder) is not None]
    if not done and not output.is_file():
        raise UserError(f"profile {profile}: none of {len(folders)} cells is finished")
    matrix = store_cells(done, profile, output) if done else read_matrix(output)
    listed = write_not_run(read_profile(profile, config_folder, None).cells(), matrix, output)
    told = {"stored": len(done), "not_run": len(listed)}
    told["minutes"] = round(listed["minutes"].sum(), 1)
    if measured:
        told["speeds"] = store_speeds(measured, matrix, output)
    print_json(told)


def leaderboard(
    results: Annotated[list[Path], typer.Argument(help="stored results CSV; one or several")],
    output: Annotated[Path, typer.Option(help="page to write")] = Path("results/leaderboard.html"),
) -> None:
    """Show stored results as one page, sortable and offline; nothing is computed."""
    from adaptprune.commands.outputs import check_files, holding
    from adaptprune.files.atomic import write_texts
    from adaptprune.leaderboard.entries import read_board
    from adaptprune.leaderboard.page import render_leaderboard

    check_files([(output, holding("<title>Leaderboard"))], results)
    named = " ".join(shlex.quote(str(path)) for path in results)
    command = f"adaptprune leaderboard {named} --output {shlex.quote(str(output))}"
    page = render_leaderboard([read_board(path) for path in results], command, output.parent)
    write_texts(output.with_suffix(""), {output.suffix: page})


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
