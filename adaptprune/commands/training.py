"""Commands that train: recover, and the training process that it may start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands.options import (
    CalibrationOption,
    LengthOption,
    LocalDataOption,
    ModelOption,
    OutputOption,
    SeedOption,
    SequencesOption,
    ThreadsOption,
    check_folder,
    named_file,
    parse_settings,
)
from adaptprune.commands.pruning import take_calibration
from adaptprune.errors import UserError

RunOption = Annotated[
    Path | None, typer.Option("--run", help="where its state lies; default OUTPUT.run")
]


def recover(
    model: ModelOption,
    preset: Annotated[str, typer.Option(help="name of a recovery preset")],
    data: Annotated[str, typer.Option(help="name of a mixture or text collection, or FILE.jsonl")],
    output: OutputOption,
    target_parameters: Annotated[
        int | None, typer.Option(min=1, help="size to prune to, for a preset that prunes")
    ] = None,
    target_model: Annotated[
        str | None, typer.Option(help="model whose shape (or size) to prune to")
    ] = None,
    seed: SeedOption = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="value of the preset (see `recoveries`)"),
    ] = None,
    local_data: LocalDataOption = None,
    calibration: CalibrationOption = "bigbench-prose",
    sequences: SequencesOption = 32,
    length: LengthOption = 64,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: ThreadsOption = None,
    micro_batch: Annotated[int, typer.Option(min=1, help="rows of one forward pass")] = 8,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="steps between checkpoints")] = 200,
    activation_checkpointing: Annotated[
        bool, typer.Option("--activation-checkpointing", help="recompute to save memory")
    ] = False,
    run: RunOption = None,
    launch: Annotated[
        Path | None, typer.Option(help="train by `accelerate launch` with this config file")
    ] = None,
    record_failure: Annotated[
        bool, typer.Option("--record-failure", help="write a record where numbers are not finite")
    ] = False,
) -> None:
    """Train a model, changed between trainings as the preset says; resumes when killed."""
    from adaptprune.outputs import check_folder_to_write, check_run_folder, model_inputs
    from adaptprune.recover.data import find_data
    from adaptprune.recover.folder import Execution
    from adaptprune.recover.presets import find_preset
    from adaptprune.registry import find_recovery

    chosen = find_preset(preset, parse_settings(settings))
    files = [named_file(data, ".jsonl"), named_file(calibration, ".json"), launch, local_data]
    read = [*model_inputs(model, target_model), *files]
    check_folder_to_write(output, read)
    folder = run or output.with_name(f"{output.name}.run")
    check_run_folder(folder, output, read)
    check_folder(local_data)
    find_data(data, local_data)  # refused here, before a model is fetched
    if target_parameters is not None and target_model is not None:
        raise UserError("give --target-parameters or --target-model, not both")
    target = target_parameters or target_model
    method = find_recovery(chosen.method)
    if target is None and method.target != "none":
        method.check(chosen, None, None)
    tokens = None
    if method.needs_calibration:
        tokens = take_calibration(calibration, model, sequences, length, seed, local_data)
    execution = Execution(
        device=device,
        threads=threads,
        micro_batch=micro_batch,
        checkpoint_every=checkpoint_every,
        activation_checkpointing=activation_checkpointing,
    )
    from adaptprune.recover.stage import Recovery, recover_stage  # imports torch

    job = Recovery(model, chosen, target, data, tokens, seed, execution, launch, local_data)
    recover_stage(job, output, folder, record_failure=record_failure)


def train_stage(
    run: Annotated[Path, typer.Option(help="run folder of a recovery")],
) -> None:
    """Train the present stage of a recovery; `recover --launch` starts this in its processes."""
    from adaptprune.recover.folder import RunFolder
    from adaptprune.recover.loop import train_stage as train

    train(RunFolder(run))
