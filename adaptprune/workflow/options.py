"""A job's command line: what a profile says, as the options of a command. Torch-free.

Snakemake runs a job again when its options change, so only what the job reads is in them.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from adaptprune.models.catalogue import find_entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adaptprune.recovery.config import RecoveryConfig
    from adaptprune.workflow.profiles import EvaluationConfig, Profile
    from adaptprune.workflow.run import Source


def _set(values: Mapping[str, Any]) -> list[str]:
    """Return parameters, lists and null included."""
    return [
        part
        for key, value in sorted(values.items())
        for part in ("--set", f"{key}={json.dumps(value)}")
    ]


def method_files(files: Sequence[str]) -> str:
    """Return the file of a method that is not installed."""
    return " ".join(f"--method-file {shlex.quote(file)}" for file in files)


def settings(profile: Profile, method: str, files: Sequence[str]) -> str:
    """Return the parameters of a method or variant, and the file it lies in."""
    flags = _set(profile.settings_of(method).parameters)
    return shlex.join(flags + [part for file in files for part in ("--method-file", file)])


def runtime(profile: Profile) -> str:
    """Return how a model is computed."""
    flags = f"--dtype {profile.dtype} --device {profile.device} --threads {profile.threads}"
    return flags + (" --trust-remote-code" if profile.trust_remote_code else "")


def local_data(profile: Profile) -> str:
    """Return the folder that stands for the hub's data sets."""
    return f"--local-data {shlex.quote(profile.local_data)}" if profile.local_data else ""


def evaluation(profile: Profile, model: str) -> str:
    """Return what is evaluated and how.

    A model is shown no more than the window it was built for. Only the job knows that of a model
    that is not built in: the hub's may not be fetched yet, and options must not change by that.
    """
    chosen = profile.evaluation
    length = chosen.window_of(model)
    window = f"--{'max-length' if find_entry(model) else 'window-limit'} {length}"
    flags = f"--suite {chosen.suite} {window} --batch {chosen.batch}"
    if chosen.scorer_precision != "float32":
        flags += f" --scorer-precision {chosen.scorer_precision}"
    if chosen.documents_per_task is not None:
        flags += f" --documents-per-task {chosen.documents_per_task}"
    if chosen.perplexity_documents is not None:
        flags += f" --perplexity-documents {chosen.perplexity_documents}"
    if lengths := chosen.lengths_within(length):
        flags += f" --token-perplexity {','.join(map(str, lengths))}"
    return f"{flags} {runtime(profile)} {local_data(profile)}"


def rounding(chosen: EvaluationConfig, bits: Sequence[int], calibration: str) -> str:
    """Return to how many bits a cell's weights are rounded, after its other options."""
    group = chosen.rounding.group if chosen.rounding else None
    flags = f" --rounded {','.join(map(str, bits))} --rounding-calibration {calibration}"
    return flags + (f" --rounding-group {group}" if group else "")


def held_out_text(profile: Profile) -> str:
    """Return the text that single layers are scored on."""
    chosen = profile.evaluation
    flags = f"--suite {chosen.suite}"
    if chosen.perplexity_documents is not None:
        flags += f" --perplexity-documents {chosen.perplexity_documents}"
    return flags


def workload(profile: Profile, batch: int) -> str:
    """Return what models are timed with, so many sequences at once."""
    chosen = profile.speed
    return (
        f"--batch {batch} --prompt {chosen.prompt} "
        f"--new-tokens {chosen.new_tokens} --rounds {chosen.rounds}"
    )


def recovery(chosen: RecoveryConfig, calibration: Sequence[str]) -> str:
    """Return what is trained into what.

    Args:
        chosen: of the profile.
        calibration: the file of the set, or nothing.
    """
    flags = ["--preset", chosen.preset, "--data", chosen.data]
    if chosen.target is not None:
        kind = "parameters" if isinstance(chosen.target, int) else "model"
        flags += [f"--target-{kind}", str(chosen.target)]
    flags += _set(chosen.overrides)
    flags += [part for file in calibration for part in ("--calibration", file)]
    return shlex.join(flags)


def training(profile: Profile, root: Path) -> str:
    """Return how a recovery is computed.

    Args:
        profile: of the run.
        root: folder that configs of ``accelerate launch`` are named from.
    """
    chosen = profile.training
    flags = [
        *("--device", profile.device.split(":")[0], "--threads", str(profile.threads)),
        *("--micro-batch", str(chosen.micro_batch)),
        *("--checkpoint-every", str(chosen.checkpoint_every)),
    ]
    if chosen.activation_checkpointing:
        flags.append("--activation-checkpointing")
    if chosen.launch is not None:
        flags += ["--launch", str(root / chosen.launch)]
    return shlex.join(flags)


def overrides(given: Mapping[str, Any]) -> str:
    """Return the keys of a profile that the command line set, for a job that reads it itself."""
    return " ".join(f"--override {shlex.quote(f'{key}={value}')}" for key, value in given.items())


def results(source: Source) -> str:
    """Return the stored results that are shown in place of the run's, where there are some."""
    return f"--results {shlex.quote(str(source.stored))}" if source.stored else ""


def declaration(file: Path) -> str:
    """Return the declared table whose cells are meant."""
    return f"--declaration {shlex.quote(str(file))}"
