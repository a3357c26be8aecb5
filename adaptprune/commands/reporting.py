"""Commands from a checkpoint to a report."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptprune.commands.bundles import ProfileOptions, RuntimeOptions, with_options_of_bundles
from adaptprune.commands.options import (
    LocalDataOption,
    ModelOption,
    OutputOption,
    check_folder,
    print_json,
)
from adaptprune.commands.profiles import (
    ConfigFolderOption,
    OverrideOption,
    ProfileOption,
    ResultsOption,
    RunsOption,
    read_profile,
)
from adaptprune.errors import UserError, unknown

if TYPE_CHECKING:
    from adaptprune.evaluation.outcome import Numbers
    from adaptprune.evaluation.stage import Scoring, Selection
    from adaptprune.models.runtime import Runtime
    from adaptprune.workflow.profiles import Profile


def _window_lengths(text: str | None) -> list[int] | None:
    """Read window lengths, None where none are given."""
    try:
        return [int(part) for part in text.split(",")] if text else None
    except ValueError:
        raise UserError(
            f"--token-perplexity {text}: must be whole numbers of tokens, as in 128,2048"
        ) from None


@with_options_of_bundles
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
        int | None, typer.Option(min=16, help="tokens at most where no --max-length is given")
    ] = None,
    batch: Annotated[str | None, typer.Option(help="tokens per pass, or auto")] = None,
    scorer_precision: Annotated[
        str | None, typer.Option(help="of the softmax: float32, or stock for the model's dtype")
    ] = None,
    rounded: Annotated[
        str | None,
        typer.Option(help="bits, comma-separated: the perplexity with weights rounded by AWQ"),
    ] = None,
    rounding_group: Annotated[
        int | None, typer.Option(min=1, help="inputs of a group; default: 128, 64 or 32")
    ] = None,
    rounding_calibration: Annotated[
        Path | None, typer.Option(help="tokens that AWQ searches on, of `calibrate`")
    ] = None,
    local_data: LocalDataOption = None,
    *,
    runtime: RuntimeOptions,
    profile: ProfileOptions,
) -> None:
    """Evaluate a checkpoint with lm-eval tasks and write one JSON file."""
    from adaptprune.commands.outputs import (
        DOCUMENTS,
        check_files,
        check_kept_tasks,
        json_with,
        model_inputs,
        sibling,
    )
    from adaptprune.evaluation.perplexity import check_lengths
    from adaptprune.evaluation.stage import Scoring, Selection, evaluate_stage, kept_tasks
    from adaptprune.models.runtime import Runtime

    documents = documents or sibling(output, f"{output.stem}.parquet")
    written = [(output, json_with("schema", "suite")), (documents, DOCUMENTS)]
    check_files(written, [*model_inputs(model), local_data])
    check_kept_tasks(kept_tasks(output))
    taken = profile.read()
    chosen = taken.evaluation(
        suite=suite,
        tasks=tasks,
        limit=limit,
        documents_per_task=documents_per_task,
        perplexity_documents=perplexity_documents,
        token_perplexity=_window_lengths(token_perplexity),
        max_length=max_length,
        window_limit=window_limit,
        batch=batch,
        scorer_precision=scorer_precision,
    )
    if chosen.batch != "auto" and not (chosen.batch.isdigit() and int(chosen.batch) > 0):
        raise UserError(f"--batch {chosen.batch}: must be auto or a number of tokens")
    if chosen.scorer_precision not in ("float32", "stock"):
        raise unknown("--scorer-precision", chosen.scorer_precision, ["float32", "stock"])
    check_lengths(chosen.token_perplexity, max_length or chosen.window_limit)
    local_data = taken.local_data(local_data)
    check_folder(local_data)
    selection = Selection(
        suite=chosen.suite,
        tasks=tasks.split(",") if tasks else [],
        limit=limit,
        documents_per_task=chosen.documents_per_task,
        perplexity_documents=chosen.perplexity_documents,
        token_lengths=tuple(chosen.token_perplexity),
        # Lengths of a profile, or up to a limit, are for models of several windows.
        longer_lengths="refuse" if token_perplexity and window_limit is None else "leave out",
    )
    scoring = Scoring(
        max_length=max_length,
        window_limit=chosen.window_limit,
        batch_tokens=None if chosen.batch == "auto" else int(chosen.batch),
        precision="stock" if chosen.scorer_precision == "stock" else "float32",
        local_data=local_data,
    )
    how = Runtime(*taken.runtime(*runtime.given()), begin=taken.say)
    bits = _bits(rounded, rounding_calibration)
    further = None
    if rounding_calibration is not None:
        further = partial(
            _rounded, bits, rounding_group, rounding_calibration, selection, scoring, how
        )
        selection.texts()  # refused here, before a model is loaded
    evaluate_stage(model, selection, scoring, how, output, documents, further)


def _bits(text: str | None, calibration: Path | None) -> tuple[int, ...]:
    """Read numbers of bits, none where none are given."""
    if (text is None) != (calibration is None):
        raise UserError("--rounded and --rounding-calibration: give both or none")
    if calibration is not None and not calibration.is_file():
        raise UserError(f"--rounding-calibration {calibration}: no such file")
    parts = text.split(",") if text else []
    if not all(part.isdigit() and 1 <= int(part) <= 16 for part in parts):
        raise UserError(f"--rounded {text}: must be numbers of bits in 1..16, as in 8,4")
    return tuple(map(int, parts))


def _rounded(
    bits: tuple[int, ...],
    group: int | None,
    calibration: Path,
    selection: Selection,
    scoring: Scoring,
    runtime: Runtime,
    folder: Path,
    tokenizer: Any,
) -> tuple[dict[str, Numbers], dict[str, Any]]:
    """Return the perplexities of a model with rounded weights, and under which conditions."""
    from adaptprune.data.calibration import read_calibration
    from adaptprune.measure.rounded import Rounding, rounded_perplexities
    from adaptprune.models.catalogue import read_config

    tokens = read_calibration(calibration, read_config(folder)["vocab_size"])
    rounding = Rounding(bits, group, tokens)
    found = rounded_perplexities(rounding, folder, tokenizer, selection, scoring, runtime)
    return found, {"rounding": rounding.describe()}


def gate(
    suite: Annotated[str, typer.Option(help="name of the suite that was evaluated")],
    model: ModelOption,
    evaluation: Annotated[Path, typer.Option(help="evaluation of the dense model")],
    output: OutputOption,
    accept: Annotated[bool, typer.Option("--accept", help="whatever the scores are")] = False,
) -> None:
    """Compare the dense model with its known scores; stop where it misses them."""
    from adaptprune.commands.outputs import check_files, json_with
    from adaptprune.evaluation.dense import check_dense
    from adaptprune.evaluation.suites import load_suite
    from adaptprune.files.atomic import write_json
    from adaptprune.results.records import Evaluation, read_record

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
    from adaptprune.commands.outputs import PROVENANCE, check_files, results_files
    from adaptprune.results.rows import collect as collect_cells
    from adaptprune.results.rows import write_results
    from adaptprune.tables.declared import load_declaration
    from adaptprune.tables.select import cells_of

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
    from adaptprune.commands.outputs import check_files, json_with
    from adaptprune.workflow.made_from import write_made_from

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
    from adaptprune.workflow.progress import Progress

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
    from adaptprune.commands.outputs import check_files, table_files
    from adaptprune.evaluation.suites import load_suite
    from adaptprune.tables.render import render_table

    check_files(table_files(output), [declaration, results, provenance])
    chosen = read_profile(profile, config_folder, override)
    suite = load_suite(chosen.evaluation.suite)
    render_table(
        declaration, results, provenance, output, name=profile, profile=chosen, suite=suite
    )


def figure(
    name: Annotated[str, typer.Option(help="of the figure")],
    profile: ProfileOption,
    output: OutputOption,
    results: ResultsOption = None,
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Draw a figure as PDF, PNG, SVG and CSV; OUTPUT is the path without suffix."""
    from adaptprune.commands.outputs import check_files, figure_files
    from adaptprune.figures.catalog import draw
    from adaptprune.figures.style import add_remark, save_figure
    from adaptprune.workflow.run import Source

    check_files(figure_files(output))
    chosen = read_profile(profile, config_folder, override)
    drawing = draw(name, Source(profile, chosen, runs, results))
    if results is not None:
        add_remark(drawing.figure, f"Scores from the stored {results.parent.name}/{results.name}")
    save_figure(drawing.figure, drawing.data, output)


def report(
    profile: ProfileOption,
    output: OutputOption,
    generated: Annotated[Path, typer.Option(help="the profile's tables and figures")],
    results: ResultsOption = None,
    runs: RunsOption = Path("results/runs"),
    declarations: Annotated[Path, typer.Option(help="declared tables")] = Path("paper_tables"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Write one HTML page: what was run, the verdict on each claim, tables and figures."""
    from adaptprune.commands.outputs import check_files, holding
    from adaptprune.files.atomic import write_texts
    from adaptprune.report.evidence import Evidence
    from adaptprune.report.page import render_report
    from adaptprune.results.matrix import said_of_stored
    from adaptprune.workflow.run import Source

    check_files([(output, holding("<title>Report of profile "))])

    def load(name: str) -> Profile:
        return read_profile(name, config_folder, override)

    shown = load(profile)
    if results is not None:
        note = f"{said_of_stored(results)} {shown.note}".strip()
        shown = shown.model_copy(update={"note": note})
    source = Source(profile, shown, runs, results)
    page = render_report(Evidence(source, declarations, generated, load))
    write_texts(output.with_suffix(""), {output.suffix: page})


def benchmarks(
    output: OutputOption,
    suite: Annotated[str, typer.Option(help="name of a suite")] = "all-paper",
) -> None:
    """Render what a suite runs (the paper's Table 6); OUTPUT is the path without suffix."""
    from adaptprune.commands.outputs import check_files, table_files
    from adaptprune.evaluation.suites import load_suite
    from adaptprune.tables.benchmarks import render_overview

    check_files(table_files(output))
    render_overview(load_suite(suite), output)
