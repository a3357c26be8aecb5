"""Commands that train: recover, and the training process that it may start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands import written
from adaptprune.commands.bundles import CalibrationOptions, ProfileOptions, with_options_of_bundles
from adaptprune.commands.options import (
    ModelOption,
    OutputOption,
    SeedOption,
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


@with_options_of_bundles
def recover(
    output: OutputOption,
    model: Annotated[
        str | None, typer.Option(help="built-in id, local folder or hub id; that of --recovery")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="name of a recovery preset")] = None,
    recovery: Annotated[
        str | None, typer.Option(help="name of a recovery of the profile, in place of a preset")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="name of a mixture or text collection, or FILE.jsonl")
    ] = None,
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
    device: Annotated[str | None, typer.Option(help="cpu or cuda")] = None,
    threads: ThreadsOption = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="rows of one forward pass")] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="steps between checkpoints")
    ] = None,
    activation_checkpointing: Annotated[
        bool | None, typer.Option("--activation-checkpointing", help="recompute to save memory")
    ] = None,
    run: RunOption = None,
    launch: Annotated[
        Path | None, typer.Option(help="train by `accelerate launch` with this config file")
    ] = None,
    record_failure: Annotated[
        bool, typer.Option("--record-failure", help="write a record where numbers are not finite")
    ] = False,
    *,
    calibration: CalibrationOptions,
    profile: ProfileOptions,
) -> None:
    """Train a model, changed between trainings as the preset says; resumes when killed."""
    from adaptprune.commands.outputs import check_folder_to_write, check_run_folder, model_inputs
    from adaptprune.data.training import find_data
    from adaptprune.models.catalogue import is_shape
    from adaptprune.recovery.folder import Execution
    from adaptprune.recovery.presets import find_preset
    from adaptprune.recovery.registry import find_recovery

    if target_parameters is not None and target_model is not None:
        raise UserError("give --target-parameters or --target-model, not both")
    taken = profile.read()
    task = taken.recovery(
        recovery,
        model=model,
        preset=preset,
        data=data,
        target=target_parameters or target_model,
        settings=parse_settings(settings),
    )
    chosen = find_preset(task.preset, task.settings)
    local_data = taken.local_data(calibration.local_data)
    launch = taken.launch(launch)
    files = [named_file(task.data, ".jsonl"), *calibration.files()[:1], launch, local_data]
    named = task.target if isinstance(task.target, str) else None
    target_folder = None if named is None or is_shape(named) else named
    read = [*model_inputs(task.model, target_folder), *files]
    check_folder_to_write(output, read)
    folder = run or output.with_name(f"{output.name}.run")
    check_run_folder(folder, output, read)
    check_folder(local_data)
    find_data(task.data, local_data)  # refused here, before a model is fetched
    method = find_recovery(chosen.method)
    if task.target is None and method.needs_target:
        method.check(chosen, None, None)
    tokens = None
    if method.needs_calibration:
        drawn = taken.calibration(*calibration.drawn(), local_data)
        tokens = take_calibration(drawn, task.model, seed)
    execution = Execution(
        **taken.execution(device, threads, micro_batch, checkpoint_every, activation_checkpointing)
    )
    from adaptprune.recovery.stage import Recovery, recover_stage  # imports torch

    job = Recovery(
        model=task.model,
        preset=chosen,
        target=task.target,
        data=task.data,
        calibration=tokens,
        seed=seed,
        execution=execution,
        launch=launch,
        local_data=local_data,
        begin=taken.say,
    )
    recover_stage(job, output, folder, record_failure=record_failure)


def merge(model: ModelOption, output: OutputOption) -> None:
    """Write a model with the adapter in its folder (SLoRB) added to its weights; it is dense."""
    from adaptprune.commands.outputs import check_folder_to_write, model_inputs
    from adaptprune.files.atomic import atomic_directory
    from adaptprune.files.manifest import verify_folder, write_manifest
    from adaptprune.models.adapters import ADAPTER
    from adaptprune.models.catalogue import locate

    check_folder_to_write(output, model_inputs(model))
    folder = locate(model)
    if not (folder / ADAPTER).is_dir():
        raise UserError(f"{folder}: no adapter to merge (a folder {ADAPTER!r})")
    verify_folder(folder, cure="train it again")
    from adaptprune.models.checkpoint import load_model, save_model  # import torch

    merged = load_model(folder)
    with atomic_directory(output) as temporary:
        save_model(temporary, merged, merged.config, folder)
        write_manifest(temporary)


def pretrain(
    model: Annotated[str, typer.Option(help="id of a small model that the suite trains itself")],
    output: OutputOption,
) -> None:
    """Pretrain a small model from nothing, as it is declared; resumes when killed."""
    from adaptprune.models.catalogue import catalogue, find_entry, is_pretrained

    entry = find_entry(model)
    if entry is None or not is_pretrained(model):
        allowed = ", ".join(name for name in catalogue() if is_pretrained(name))
        raise UserError(f"model {model} is not pretrained here (allowed: {allowed})")
    if output.exists():
        raise UserError(f"{output} exists; give a path where nothing lies, or move it away")
    written.note(output)
    from adaptprune.recovery.pretraining import write_pretrained_model  # imports torch

    write_pretrained_model(entry, output)


def train_stage(
    run: Annotated[Path, typer.Option(help="run folder of a recovery")],
) -> None:
    """Train the present stage of a recovery; `recover --launch` starts this in its processes."""
    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.loop import train_stage as train

    train(RunFolder(run))
