"""Commands that keep results and compare them: store, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands.options import MethodFileOption, MethodOption, choose_method
from adaptprune.commands.profiles import (
    ConfigFolderOption,
    OverrideOption,
    ProfileOption,
    RunsOption,
    read_profile,
)


def store(
    profile: ProfileOption,
    output: Annotated[
        Path | None, typer.Option(help="results CSV to write (default: results/PROFILE.csv)")
    ] = None,
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Keep a finished profile: results, seal, provenance, documents and versions, side by side."""
    from adaptprune.cells import cell_folder
    from adaptprune.commands.outputs import check_files, matrix_files
    from adaptprune.results.matrix import store_cells

    output = output or Path("results") / f"{profile}.csv"
    check_files(matrix_files(output))
    cells = read_profile(profile, config_folder, override).cells()
    folders = [cell_folder(runs, profile, cell) for cell in cells]
    store_cells(folders, profile, output)


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
