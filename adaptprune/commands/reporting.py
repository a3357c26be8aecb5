"""Commands from a checkpoint to a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptprune.commands.options import (
    DeviceOption,
    DtypeOption,
    LocalDataOption,
    ModelOption,
    OutputOption,
    RemoteOption,
    ThreadsOption,
    check_folder,
    print_json,
)
from adaptprune.errors import UserError, unknown

if TYPE_CHECKING:
    from adaptprune.config import Profile

ProfileOption = Annotated[str, typer.Option("--profile", help="name of a profile")]
ConfigFolderOption = Annotated[Path, typer.Option(help="where the profiles lie")]
RunsOption = Annotated[Path, typer.Option(help="where the cells lie")]
OverrideOption = Annotated[
    list[str] | None, typer.Option("--override", metavar="KEY=VALUE", help="of a profile key")
]


def _window_lengths(text: str | None, max_length: int) -> tuple[int, ...]:
    """Read window lengths; those beyond the model's own window are refused once it is known."""
    from adaptprune.evaluate.perplexity import check_lengths

    try:
        lengths = tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UserError(
            f"--token-perplexity {text}: must be whole numbers of tokens, as in 128,2048"
        ) from None
    check_lengths(lengths, max_length)
    return lengths


def evaluate(
    model: ModelOption,
    output: OutputOption,
    suite: Annotated[str | None, typer.Option(help="name of a suite")] = None,
    tasks: Annotated[str | None, typer.Option(help="lm-eval task names, comma-separated")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="first N documents of a task")] = None,
    documents_per_task: Annotated[
        int | None, typer.Option(min=1, help="seeded subset of each task of a suite")
    ] = None,
    perplexity_documents: Annotated[
        int | None, typer.Option(min=1, help="seeded subset of the perplexity text")
    ] = None,
    token_perplexity: Annotated[
        str | None, typer.Option(help="window lengths, comma-separated: 128,2048")
    ] = None,
    documents: Annotated[Path | None, typer.Option(help="per-document scores, parquet")] = None,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=16, help="window in tokens; default: that of the model, up to --window-limit"
        ),
    ] = None,
    window_limit: Annotated[
        int, typer.Option(min=16, help="tokens at most where no --max-length is given")
    ] = 2048,
    batch: Annotated[str, typer.Option(help="tokens per pass, or auto")] = "auto",
    scorer_precision: Annotated[
        str, typer.Option(help="of the softmax: float32, or stock for the model's dtype")
    ] = "float32",
    local_data: LocalDataOption = None,
    dtype: DtypeOption = "float32",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Evaluate a checkpoint with lm-eval tasks and write one JSON file."""
    from adaptprune.evaluate.stage import Selection, evaluate_stage, kept_tasks
    from adaptprune.outputs import (
        DOCUMENTS,
        check_files,
        check_kept_tasks,
        json_with,
        model_inputs,
        sibling,
    )
    from adaptprune.stages import Runtime

    if (suite is None) == (tasks is None):
        raise UserError("give --suite NAME or --tasks a,b (one of the two)")
    if batch != "auto" and not (batch.isdigit() and int(batch) > 0):
        raise UserError(f"--batch {batch}: must be auto or a number of tokens")
    if scorer_precision not in ("float32", "stock"):
        raise unknown("--scorer-precision", scorer_precision, ["float32", "stock"])
    check_folder(local_data)
    documents = documents or sibling(output, f"{output.stem}.parquet")
    written = [(output, json_with("schema", "suite")), (documents, DOCUMENTS)]
    check_files(written, [*model_inputs(model), local_data])
    check_kept_tasks(kept_tasks(output))
    selection = Selection(
        suite=suite,
        tasks=tasks.split(",") if tasks else [],
        limit=limit,
        documents_per_task=documents_per_task,
        perplexity_documents=perplexity_documents,
        token_lengths=_window_lengths(token_perplexity, max_length or window_limit),
    )
    runtime = Runtime(dtype, device, threads, trust_remote_code)
    evaluate_stage(
        model,
        selection,
        runtime,
        output,
        documents,
        max_length=max_length,
        window_limit=window_limit,
        precision="stock" if scorer_precision == "stock" else "float32",
        batch_tokens=None if batch == "auto" else int(batch),
        local_data=local_data,
    )


def read_profile(name: str, folder: Path, overrides: list[str] | None) -> Profile:
    """Load a profile with the overrides of the command line."""
    from adaptprune.config import load_profile

    pairs = (pair.partition("=") for pair in overrides or [])
    return load_profile(folder, name, {key: value for key, _, value in pairs})


def gate(
    suite: Annotated[str, typer.Option(help="name of the suite that was evaluated")],
    model: ModelOption,
    evaluation: Annotated[Path, typer.Option(help="evaluation of the dense model")],
    output: OutputOption,
    accept: Annotated[bool, typer.Option("--accept", help="whatever the scores are")] = False,
) -> None:
    """Compare the dense model with its known scores; stop where it misses them."""
    from adaptprune.cellfiles import Evaluation, read_record
    from adaptprune.evaluate.dense import check_dense
    from adaptprune.evaluate.suites import load_suite
    from adaptprune.files import write_json
    from adaptprune.outputs import check_files, json_with

    check_files([(output, json_with("model", "suite", "checks"))], [evaluation])
    known = load_suite(suite)
    found = read_record(evaluation, Evaluation)
    checks = []
    if not accept:
        checks = check_dense(known, model, found.status, found.results)
    write_json(output, {"model": model, "suite": suite, "checks": checks})


def collect(
    profile: ProfileOption,
    results: Annotated[Path, typer.Option(help="results CSV to write")],
    provenance: Annotated[Path, typer.Option(help="provenance CSV to write")],
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
    declaration: Annotated[
        Path | None, typer.Option(help="table whose cells to take; default: the matrix")
    ] = None,
) -> None:
    """Collect the cells of a profile into one results file."""
    from adaptprune.cells import cell_folder
    from adaptprune.declarations import load_declaration
    from adaptprune.outputs import PROVENANCE, check_files, results_files
    from adaptprune.results import collect as collect_cells
    from adaptprune.results import write_results
    from adaptprune.tablecells import cells_of

    check_files([*results_files(results), (provenance, PROVENANCE)], [declaration])
    chosen = read_profile(profile, config_folder, override)
    cells = chosen.cells()
    if declaration is not None:
        cells = cells_of(load_declaration(declaration), chosen, profile)
    collected = collect_cells([cell_folder(runs, profile, cell) for cell in cells], profile)
    write_results(collected, results, provenance)


def made_from(
    files: Annotated[list[Path], typer.Argument(help="generated files, just written")],
    digest: Annotated[str, typer.Option(help="of what they were asked to show")],
    output: OutputOption,
) -> None:
    """Note what generated files were made from; the workflow makes them again for anything else."""
    from adaptprune.madefrom import write_made_from
    from adaptprune.outputs import check_files, json_with

    check_files([(output, json_with("made_from", "files"))], files)
    write_made_from(output, digest, files)


def status(
    profile: ProfileOption = "mini",
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Say which cells of a profile are done, which remain and for how long, as JSON."""
    from adaptprune.cells import cell_folder
    from adaptprune.progress import Progress

    cells = read_profile(profile, config_folder, override).cells()
    folders = {cell_folder(runs, profile, cell): cell.key for cell in cells}
    progress = Progress(list(folders))
    remaining = progress.remaining()
    print_json(
        {
            "profile": profile,
            "cells": len(cells),
            "done": len(cells) - len(remaining),
            "job_seconds_left": progress.seconds_left(),
            "remaining": [folders[folder] for folder in remaining],
        }
    )


def table(
    declaration: Annotated[Path, typer.Option(help="YAML file of the table")],
    results: Annotated[Path, typer.Option(help="results CSV")],
    provenance: Annotated[Path, typer.Option(help="provenance CSV")],
    profile: ProfileOption,
    output: OutputOption,
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Render a declared table to LaTeX, CSV and Markdown; OUTPUT is the path without suffix."""
    from adaptprune.declarations import ListedTable, load_declaration
    from adaptprune.evaluate.suites import load_suite
    from adaptprune.listedtable import render_listed_table
    from adaptprune.outputs import check_files, table_files
    from adaptprune.tables import render_table

    check_files(table_files(output), [declaration, results, provenance])
    chosen = read_profile(profile, config_folder, override)
    suite = load_suite(chosen.evaluation.suite)
    declared = load_declaration(declaration)
    if isinstance(declared, ListedTable):
        published = declaration.parent / "published.csv"
        render_listed_table(
            declared,
            published,
            results,
            provenance,
            output,
            name=profile,
            profile=chosen,
            suite=suite,
        )
        return
    render_table(
        declaration,
        results,
        output,
        profile=profile,
        notes=[f"Profile {chosen.title}.", *([chosen.note] if chosen.note else [])],
        models=chosen.models,
        sparsities=chosen.sparsities,
        seeds=chosen.seeds,
        suite=suite,
    )


def figure(
    name: Annotated[str, typer.Option(help="of the figure")],
    profile: ProfileOption,
    output: OutputOption,
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Draw a figure as PDF, PNG and CSV; OUTPUT is the path without suffix."""
    from adaptprune.figures.catalog import Source, draw
    from adaptprune.figures.style import save_figure
    from adaptprune.outputs import check_files, figure_files

    check_files(figure_files(output))
    chosen = read_profile(profile, config_folder, override)
    drawing = draw(name, Source(profile, chosen, runs))
    save_figure(drawing.figure, drawing.data, output)


def report(
    profile: ProfileOption,
    output: OutputOption,
    generated: Annotated[Path, typer.Option(help="the profile's tables and figures")],
    runs: RunsOption = Path("results/runs"),
    declarations: Annotated[Path, typer.Option(help="declared tables")] = Path("paper_tables"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Write one HTML page: what was run, the verdict on each claim, tables and figures."""
    from adaptprune.figures.catalog import Source
    from adaptprune.files import write_texts
    from adaptprune.outputs import check_files, holding
    from adaptprune.report.evidence import Evidence
    from adaptprune.report.page import render_report

    check_files([(output, holding("<title>Report of profile "))])

    def load(name: str) -> Profile:
        return read_profile(name, config_folder, override)

    source = Source(profile, load(profile), runs)
    page = render_report(Evidence(source, declarations, generated, load))
    write_texts(output.with_suffix(""), {output.suffix: page})


def benchmarks(
    output: OutputOption,
    suite: Annotated[str, typer.Option(help="name of a suite")] = "all-paper",
) -> None:
    """Render what a suite runs (the paper's Table 6); OUTPUT is the path without suffix."""
    from adaptprune.evaluate.overview import render_overview
    from adaptprune.evaluate.suites import load_suite
    from adaptprune.outputs import check_files, table_files

    check_files(table_files(output))
    render_overview(load_suite(suite), output)
