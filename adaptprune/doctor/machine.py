"""Checks of the machine: Python, packages, device, memory, disk, folders."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from importlib import metadata
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from adaptprune.doctor.finding import Finding, Subject, in_units
from adaptprune.doctor.forecast import disk_needed, known_shapes
from adaptprune.files.atomic import cache_directory, nearest_folder
from adaptprune.models.memory import BYTES, DRIVER, USABLE, host_bytes, pruning_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adaptprune.models.shapes import ModelShape
    from adaptprune.workflow.profiles import Profile, SpeedConfig

OLDEST_PYTHON = (3, 11)


def check_python(subject: Subject) -> Finding:
    """Look at the version of Python."""
    found = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "missing", found, "use Python 3.11 or newer")
    return Finding("python", "ok", found)


def pins(constraints: Path) -> dict[str, str]:
    """Return the pinned version of each package, by its normalised name."""
    pinned = {}
    for line in constraints.read_text().splitlines() if constraints.is_file() else []:
        name, separator, version = line.partition("==")
        if separator:
            pinned[_normal(name)] = version.strip()
    return pinned


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def check_packages(subject: Subject) -> Finding:
    """Compare what is installed with the lowest supported and the pinned versions."""
    required = [Requirement(text) for text in metadata.requires("adaptprune") or []]
    pinned = pins(subject.constraints)
    lacking, other = [], []
    for requirement in required:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            lacking.append(requirement.name)
            continue
        wanted = pinned.get(_normal(requirement.name))
        if not requirement.specifier.contains(found, prereleases=True):
            lacking.append(f"{requirement} (is {found})")
        elif wanted is not None and found.partition("+")[0] != wanted:
            other.append(f"{requirement.name} {found} (pinned {wanted})")
    cure = f"pip install --constraint {subject.constraints.name} --editable ."
    if lacking:
        return Finding("packages", "missing", ", ".join(lacking), cure)
    if other:
        text = f"other versions than the pinned ones: {', '.join(other)}"
        return Finding("packages", "warning", text, f"results may differ; {cure}")
    return Finding("packages", "ok", f"{len(required)} requirements met")


def check_device(subject: Subject) -> Finding:
    """Look for the device of the profile, and whether its largest model has room on it."""
    import torch

    device, dtype = subject.profile.device, subject.profile.dtype
    if not device.startswith("cuda"):
        return Finding("device", "ok", f"{device}, torch {torch.__version__}")
    if not torch.cuda.is_available():
        reason = f"torch {torch.__version__} sees no GPU, the profile computes on {device}"
        built = "install a torch build with CUDA" if torch.version.cuda is None else "check driver"
        return Finding("device", "missing", reason, f"{built}, or choose a profile for the CPU")
    if (number := torch.device(device).index or 0) >= torch.cuda.device_count():
        reason = f"{device}: this machine has {torch.cuda.device_count()} GPU(s)"
        return Finding("device", "missing", reason, "change the profile's device")
    card: Any = torch.cuda.get_device_properties(number)
    text = f"{card.name}, {in_units(card.total_memory)}, CUDA {torch.version.cuda}"
    if dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        return Finding("device", "missing", f"{text}: no bfloat16", "use a newer GPU")
    model, needed = _pruning_need(subject.profile)
    cure = "use a larger GPU or a smaller model"
    if card.total_memory < needed:
        shortage = f"{text}: pruning {model} takes about {in_units(needed)}"
        return Finding("device", "missing", shortage, cure)
    model, needed = _speed_need(subject.profile)
    if card.total_memory < needed:
        shortage = f"{text}: `speed` of {model} and a pruned one takes about {in_units(needed)}"
        return Finding("device", "warning", shortage, cure)
    return Finding("device", "ok", text)


def _largest(profile: Profile, need: Callable[[ModelShape], float]) -> tuple[str, float]:
    """Return the model of known size that needs most, and how much; none is known as 0."""
    needs = [(model, need(shape)) for model, shape in known_shapes(profile).items()]
    return max(needs, key=lambda pair: pair[1], default=("no model of known size", 0.0))


def _calibration_tokens(profile: Profile) -> int:
    """Return the tokens of the largest calibration set of a profile's methods."""
    drawn = [profile.calibration, *map(profile.calibration_of, profile.methods)]
    return max(calibration.sequences * calibration.length for calibration in drawn)


def _pruning_need(profile: Profile) -> tuple[str, float]:
    tokens = _calibration_tokens(profile)
    return _largest(profile, lambda shape: pruning_bytes(shape, profile.dtype, tokens))


def _speed_need(profile: Profile) -> tuple[str, float]:
    least = min(profile.sparsities)
    return _largest(profile, lambda shape: speed_bytes(shape, profile.dtype, least, profile.speed))


def largest_model(subject: Subject) -> str:
    """Return the largest model of known size."""
    return _largest(subject.profile, lambda shape: shape.parameters)[0]


def check_memory(subject: Subject) -> Finding:
    """Compare the memory with what the jobs may take that run at once."""
    import psutil

    there = psutil.virtual_memory().total
    job = subject.profile.memory_mb * 1e6
    text = f"{in_units(there)}; {subject.at_once} job(s) at once may take {in_units(job)} each"
    model, needed = _host_need(subject.profile)
    if job < needed:
        text = f"memory_mb is {subject.profile.memory_mb}, {model} takes about {in_units(needed)}"
        return Finding("memory", "missing", text, "raise memory_mb in the profile")
    if job > there:
        return Finding("memory", "missing", text, "use a machine with more, or a smaller model")
    if job * subject.at_once > there:
        fewer = max(1, int(there / job)) * subject.profile.threads
        return Finding("memory", "warning", text, f"give the run fewer cores (--cores {fewer})")
    return Finding("memory", "ok", text)


def _host_need(profile: Profile) -> tuple[str, float]:
    """Return the model that takes most of the host's memory in a job, and how much.

    On a CPU that is `speed`, for which two models are there.
    """
    if profile.device.startswith("cuda"):
        tokens = _calibration_tokens(profile)
        return _largest(profile, lambda shape: host_bytes(shape, profile.dtype, tokens))
    return _largest(profile, lambda shape: 2.0 * BYTES[profile.dtype] * shape.parameters)


def check_writable(what: str, folder: Path) -> Finding:
    """Write a file and take it away again, where the folder is or would be made."""
    place = nearest_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as stream:
            stream.write(b"0")
    except OSError as error:
        return Finding(what, "missing", f"{folder}: {error.strerror}", "make it writable")
    return Finding(what, "ok", f"{folder} is writable")


def check_cache(subject: Subject) -> Finding:
    """Look whether the cache can be written; a filled one need not be."""
    found = check_writable("cache", cache_directory())
    if found.level == "missing" and any(cache_directory().glob("models/*")):
        return Finding("cache", "warning", found.text, "what is not in it cannot be fetched")
    return found


def check_results(subject: Subject) -> Finding:
    """Look whether results can be written."""
    return check_writable("results", subject.runs / subject.name)


def check_disk(subject: Subject) -> Finding:
    """Compare the free disk with what the run takes, as far as the models' sizes are known."""
    needs = disk_needed(subject.profile, subject.at_once)
    places: dict[int, tuple[Path, float]] = {}
    for folder, size in ((cache_directory(), needs.cache), (subject.runs, needs.results)):
        place = nearest_folder(folder)
        disk = os.stat(place).st_dev
        places[disk] = (place, size + places.get(disk, (place, 0.0))[1])
    findings = []
    for place, needed in places.values():
        free = shutil.disk_usage(place).free
        text = f"{in_units(free)} free at {place}, about {in_units(needed)} needed"
        level: Any = "ok" if free > 1.2 * needed else "warning" if free > needed else "missing"
        cure = "" if level == "ok" else "make room, or set ADAPTPRUNE_CACHE to another disk"
        findings.append(Finding("disk", level, text, cure))
    order = ("missing", "warning", "ok")
    return min(findings, key=lambda finding: order.index(finding.level))


def speed_bytes(shape: ModelShape, dtype: str, sparsity: int, speed: SpeedConfig) -> float:
    """Return the memory that timing a pruned model against its dense one takes: both are there.

    Args:
        shape: of the dense model.
        dtype: of the weights.
        sparsity: percent, of the largest model that is timed.
        speed: what they are given to do.
    """
    size = BYTES[dtype]
    both = 2 * shape.parameters - shape.decoder_parameters * sparsity / 100
    keys = sum(2 * block.kv_heads * shape.head_dim for block in shape.blocks)
    cache = speed.batch * (speed.prompt + speed.new_tokens) * keys
    neurons = max(block.intermediate_size for block in shape.blocks)
    prefill = speed.batch * speed.prompt * (3 * neurons + 8 * shape.hidden_size)
    return DRIVER + size * (both + (cache + prefill) / USABLE)
