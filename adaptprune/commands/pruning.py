"""Commands from a model to a pruned checkpoint: fetch, calibrate, score, prune, loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptprune.commands.bundles import (
    CalibrationOptions,
    ProfileOptions,
    RuntimeOptions,
    with_options_of_bundles,
)
from adaptprune.commands.options import (
    DeviceOption,
    DtypeOption,
    LengthOption,
    LocalDataOption,
    MethodFileOption,
    MethodOption,
    ModelOption,
    OutputOption,
    SeedOption,
    SequencesOption,
    SetOption,
    SparsityOption,
    ThreadsOption,
    check_folder,
    choose_method,
    named_file,
    parse_settings,
    parse_sparsities,
    print_json,
)
from adaptprune.errors import UserError

if TYPE_CHECKING:
    from adaptprune.commands.profiles import Calibration, Taken
    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.pruning.stage import Job


def fetch(
    output: OutputOption,
    model: Annotated[str | None, typer.Option(help="built-in id, folder or hub id")] = None,
    suite: Annotated[str | None, typer.Option(help="name of a suite")] = None,
    text: Annotated[str | None, typer.Option(help="name of a text or training mixture")] = None,
    local_data: LocalDataOption = None,
) -> None:
    """Bring a model, the data of a suite, or a text into the cache, verify it, and note it."""
    from adaptprune.commands.outputs import check_files, json_with, model_inputs
    from adaptprune.files.atomic import write_json

    if [model, suite, text].count(None) != 2:
        raise UserError("give --model NAME, --suite NAME or --text NAME (one of the three)")
    kind = json_with("commits" if text is not None else "revision")
    check_files([(output, kind)], [*model_inputs(model), local_data])
    if text is not None:
        from adaptprune.data.training import find_data

        check_folder(local_data)
        where = {"folder": str(local_data) if local_data else None}
        write_json(output, find_data(text, local_data).describe_origin() | where)
        return
    if suite is not None:
        from adaptprune.evaluation.stage import fetch_suite

        check_folder(local_data)
        write_json(output, fetch_suite(suite, local_data))
        return
    from adaptprune.cells import slug
    from adaptprune.models.catalogue import locate
    from adaptprune.models.checkpoint import revision
    from adaptprune.models.fetch import commit_of

    assert model is not None
    folder = locate(model)
    record = {"model": model, "folder": slug(str(folder)), "revision": revision(folder)}
    write_json(output, record | {"commit": commit_of(folder)})


@with_options_of_bundles
def calibrate(
    model: ModelOption,
    seed: SeedOption,
    output: OutputOption,
    dataset: Annotated[str | None, typer.Option(help="name of a data set")] = None,
    sequences: SequencesOption = None,
    length: LengthOption = None,
    local_data: LocalDataOption = None,
    *,
    profile: ProfileOptions,
) -> None:
    """Draw a calibration set: token ids that all methods share at this seed."""
    from adaptprune.commands.outputs import check_files, json_with, model_inputs
    from adaptprune.files.atomic import write_json

    drawn_before = json_with("dataset", "hash", "tokens")
    check_files([(output, drawn_before)], [*model_inputs(model), local_data])
    taken = profile.read()
    local_data = taken.local_data(local_data)
    chosen = taken.calibration(dataset, sequences, length, local_data)
    drawn = draw_calibration(model, *chosen[:3], seed, local_data)
    taken.say()
    write_json(output, drawn.describe() | {"tokens": drawn.tokens})


def draw_calibration(
    model: str,
    dataset: str,
    sequences: int,
    length: int,
    seed: int,
    local_data: Path | None = None,
) -> CalibrationSet:
    """Draw a calibration set of a named data set with a model's tokenizer."""
    from adaptprune import api

    check_folder(local_data)
    return api.calibrate(
        model, dataset, sequences=sequences, length=length, seed=seed, local_data=local_data
    )


def take_calibration(chosen: Calibration, model: str, seed: int) -> CalibrationSet:
    """Take token ids from a file, or draw them from a named data set."""
    from adaptprune.data.calibration import read_calibration
    from adaptprune.models.catalogue import vocabulary_of

    if path := named_file(chosen.source, ".json"):
        return read_calibration(path, vocabulary_of(model))
    source, sequences, length, local_data = chosen
    return draw_calibration(model, source, sequences, length, seed, local_data)


def _files_read(
    model: str, calibration: CalibrationOptions, *others: Path | None
) -> list[Path | None]:
    """Return the files and folders that a command reads."""
    from adaptprune.commands.outputs import model_inputs

    return [*model_inputs(model), *calibration.files(), *others]


def _build_job(
    taken: Taken,
    model: str,
    method: str,
    seed: int,
    settings: dict[str, Any],
    calibration: CalibrationOptions,
    runtime: RuntimeOptions,
    sparsities: list[int],
) -> Job:
    """Check everything that can be checked without weights, then read the calibration set."""
    from adaptprune.cells import split_variant
    from adaptprune.models.catalogue import find_entry, has_shape, is_local, shape_of
    from adaptprune.plugins import in_one_line
    from adaptprune.pruning.registry import find_method

    name, variant = split_variant(method)
    chosen = find_method(name)
    differs = taken.profile is not None or settings or calibration.calibration is not None
    if variant is not None and not differs:
        raise UserError(
            f"--method {method}: the name of a variant alone changes nothing; give its profile by "
            "--profile NAME, or what differs by --set or --calibration"
        )
    entry = find_entry(model)
    with in_one_line(chosen):
        parameters = chosen.parse(taken.parameters(method, settings))
        for sparsity in sparsities:
            chosen.check(sparsity, parameters)
        known = entry is not None or is_local(model)
        if known and (chosen.needs_shape or has_shape(model)):
            shape = shape_of(model)
            for sparsity in sparsities:
                chosen.budget(shape, sparsity, parameters)
    tokens = None
    if chosen.needs_calibration:
        local_data = taken.local_data(calibration.local_data)
        drawn = taken.calibration(*calibration.drawn(), local_data, method)
        tokens = take_calibration(drawn, model, seed)
    from adaptprune.models.runtime import Runtime
    from adaptprune.pruning.stage import Job

    how = Runtime(*taken.runtime(*runtime.given()), begin=taken.say)
    return Job(model, chosen, variant, parameters, seed, tokens, how)


@with_options_of_bundles
def score(
    model: ModelOption,
    sparsities: Annotated[str, typer.Option(help="percentages to be cut, comma-separated")],
    seed: SeedOption,
    output: OutputOption,
    method: MethodOption = None,
    method_file: MethodFileOption = None,
    settings: SetOption = None,
    *,
    calibration: CalibrationOptions,
    runtime: RuntimeOptions,
    profile: ProfileOptions,
) -> None:
    """Compute a method's scores once; ``prune --scores`` cuts every sparsity from them."""
    from adaptprune.commands.outputs import check_files, is_score_file

    wanted = parse_sparsities(sparsities)
    check_files([(output, is_score_file)], _files_read(model, calibration, method_file))
    name = choose_method(method, method_file)
    taken, given = profile.read(), parse_settings(settings)
    job = _build_job(taken, model, name, seed, given, calibration, runtime, wanted)
    from adaptprune.pruning.stage import score_stage

    score_stage(job, wanted, output)


@with_options_of_bundles
def prune(
    model: ModelOption,
    sparsity: SparsityOption,
    seed: SeedOption,
    output: OutputOption,
    method: MethodOption = None,
    method_file: MethodFileOption = None,
    settings: SetOption = None,
    scores: Annotated[Path | None, typer.Option(help="file that ``score`` made")] = None,
    *,
    calibration: CalibrationOptions,
    runtime: RuntimeOptions,
    profile: ProfileOptions,
) -> None:
    """Prune a model and write its checkpoint: weights, pruning.json and kept.json."""
    from adaptprune.commands.outputs import check_folder_to_write

    read = _files_read(model, calibration, method_file)
    check_folder_to_write(output, [*read, scores])
    name = choose_method(method, method_file)
    taken, given = profile.read(), parse_settings(settings)
    job = _build_job(taken, model, name, seed, given, calibration, runtime, [sparsity])
    from adaptprune.pruning.stage import prune_stage

    prune_stage(job, sparsity, output, scores)


@with_options_of_bundles
def loss(
    model: ModelOption,
    tokens: Annotated[Path, typer.Option(help="JSON list of equal-length lists of token ids")],
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    *,
    profile: ProfileOptions,
) -> None:
    """Print the mean next-token cross-entropy (nats) over all predicted positions as JSON."""
    from adaptprune.data.calibration import read_tokens
    from adaptprune.models.catalogue import locate, read_config
    from adaptprune.models.runtime import Runtime
    from adaptprune.pruning.stage import mean_loss_of

    taken = profile.read()
    folder = locate(model)
    rows = read_tokens(tokens, read_config(folder)["vocab_size"])
    runtime = Runtime(*taken.runtime(dtype, device, threads), begin=taken.say)
    print_json(mean_loss_of(folder, rows, runtime))
