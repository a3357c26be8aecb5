"""Commands that measure for figures, and tables of it: sensitivity, measure, speed, cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands.bundles import (
    CalibrationOptions,
    ProfileOptions,
    RuntimeOptions,
    with_options_of_bundles,
)
from adaptprune.commands.options import (
    ModelOption,
    OutputOption,
    SeedOption,
    check_folder,
)
from adaptprune.commands.profiles import (
    ConfigFolderOption,
    OverrideOption,
    ProfileOption,
    ResultsOption,
    RunsOption,
    read_profile,
)
from adaptprune.commands.pruning import take_calibration


@with_options_of_bundles
def sensitivity(
    model: ModelOption,
    output: OutputOption,
    suite: Annotated[
        str | None, typer.Option(help="name of a suite: its perplexity text is scored")
    ] = None,
    uniform: Annotated[int, typer.Option(min=0, max=99, help="percent cut from all layers")] = 0,
    layer_sparsity: Annotated[
        int, typer.Option(min=1, max=99, help="percent cut from one layer")
    ] = 50,
    perplexity_documents: Annotated[
        int | None, typer.Option(min=1, help="seeded subset of the perplexity text")
    ] = None,
    window: Annotated[int, typer.Option(min=2, help="tokens that are scored together")] = 128,
    seed: SeedOption = 0,
    *,
    calibration: CalibrationOptions,
    runtime: RuntimeOptions,
    profile: ProfileOptions,
) -> None:
    """Score a model with one layer cut at a time (Fig. 1)."""
    from adaptprune.commands.outputs import check_files, json_with, model_inputs
    from adaptprune.evaluation.suites import load_suite
    from adaptprune.measure.layers import HeldOutText, sensitivity_stage

    read = [*model_inputs(model), *calibration.files()]
    check_files([(output, json_with("uniform", "layers"))], read)
    taken = profile.read()
    local_data = taken.local_data(calibration.local_data)
    check_folder(local_data)
    suite, passages = taken.held_out_text(suite, perplexity_documents)
    load_suite(suite)
    drawn = taken.calibration(*calibration.drawn(), local_data)
    tokens = take_calibration(drawn, model, seed)
    text = HeldOutText(suite, passages, window, local_data)
    from adaptprune.models.runtime import Runtime

    how = Runtime(*taken.runtime(*runtime.given()), begin=taken.say)
    sensitivity_stage(model, uniform, layer_sparsity, tokens, text, how, output)


@with_options_of_bundles
def measure(
    model: ModelOption,
    output: OutputOption,
    dense: Annotated[str | None, typer.Option(help="what it was pruned from")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="sequences at once")] = None,
    prompt: Annotated[int | None, typer.Option(min=1, help="tokens read at once")] = None,
    new_tokens: Annotated[
        int | None, typer.Option(min=1, help="tokens that follow one by one")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="timed runs of each model")] = None,
    *,
    runtime: RuntimeOptions,
    profile: ProfileOptions,
) -> None:
    """Measure speed and memory of a checkpoint against the dense model."""
    from adaptprune.commands.outputs import check_files, json_with, model_inputs
    from adaptprune.measure.speed import Workload, measure_stage
    from adaptprune.models.runtime import Runtime

    check_files([(output, json_with("schema", "measures"))], model_inputs(model, dense))
    taken = profile.read()
    workload = Workload(*taken.workload(batch, prompt, new_tokens, rounds))
    how = Runtime(*taken.runtime(*runtime.given()), begin=taken.say)
    measure_stage(model, dense, workload, how, output)


def speed(
    profile: ProfileOption,
    output: OutputOption,
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Render what ``measure`` found of a profile; OUTPUT is the path without suffix."""
    from adaptprune.commands.outputs import check_files, table_files
    from adaptprune.tables.speed import render_speed
    from adaptprune.workflow.run import Source

    check_files(table_files(output))
    chosen = read_profile(profile, config_folder, override)
    render_speed(Source(profile, chosen, runs), output)


def cost(
    profile: ProfileOption,
    output: OutputOption,
    results: ResultsOption = None,
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Render what pruning cost in time; OUTPUT is the path without suffix."""
    from adaptprune.commands.outputs import check_files, table_files
    from adaptprune.workflow.papers import table_module
    from adaptprune.workflow.run import Source

    check_files(table_files(output))
    chosen = read_profile(profile, config_folder, override)
    table_module("cost").render_costs(Source(profile, chosen, runs, results), output)
