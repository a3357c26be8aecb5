"""How fast this machine computes and stores, tried out for a few seconds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import nearest_folder
from adaptprune.machine.timing import repetitions_per_second
from adaptprune.models.catalogue import find_entry, folder_of
from adaptprune.models.shapes import ModelShape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adaptprune.workflow.profiles import Profile

#: Rows and tokens of a pass, as the stages take them: on a CPU few, on a GPU many.
ROWS = {"cpu": (1, 256), "cuda": (32, 512)}
#: The sample has one layer, and a vocabulary that costs next to nothing.
VOCABULARY = 256
STORED = 32 << 20  # bytes


@dataclass(frozen=True)
class Rates:
    """What one job of the profile gets done in a second.

    Attributes:
        forward: FLOPs of forward passes.
        gradient: FLOPs of forward and backward passes.
        stored: bytes that are written and hashed.
    """

    forward: float
    gradient: float
    stored: float


def architecture_of(model: str) -> dict[str, Any]:
    """Return the config of a built-in model, or of one whose folder is there.

    Raises:
        UserError: there is neither.
    """
    from adaptprune.files.atomic import read_json

    entry = find_entry(model)
    return entry.architecture if entry else read_json(folder_of(model) / "config.json")


def sample_architecture(architecture: dict[str, Any]) -> dict[str, Any]:
    """Return one decoder layer of a model, as wide as it is, with a small vocabulary."""
    small = {"num_hidden_layers": 1, "vocab_size": VOCABULARY}
    # Numbers of tokens that the vocabulary does not have, and lists with an entry for each layer.
    left = {key for key in architecture if key.endswith("_token_id")} | {"blocks", "layer_types"}
    return {key: value for key, value in architecture.items() if key not in left} | small


def measure_rates(profile: Profile, model: str, runs: Path, seconds: float) -> Rates:
    """Time passes through one layer of a model at the profile's dtype, on its device.

    Random weights of the right widths take as long as trained ones, and need no download.

    Args:
        profile: says dtype, device and threads.
        model: the largest one of the profile.
        runs: folder of the results, whose disk is tried out.
        seconds: to spend on each of the two kinds of pass.

    Raises:
        UserError: the device does not exist here, or the architecture is not known.
    """
    import torch

    from adaptprune.models.runtime import Runtime
    from adaptprune.models.tiny import random_model

    architecture = sample_architecture(architecture_of(model))
    threads = torch.get_num_threads()
    Runtime(profile.dtype, profile.device, profile.threads).apply()
    sample = random_model(architecture, seed=0).to(profile.device, getattr(torch, profile.dtype))
    rows, length = ROWS[torch.device(profile.device).type]
    tokens = torch.randint(VOCABULARY, (rows, length), device=profile.device)
    flops = 2 * ModelShape.from_config(architecture).compute_parameters * rows * length

    def forward() -> None:
        with torch.no_grad():
            sample(input_ids=tokens, use_cache=False).logits.sum().item()

    def gradient() -> None:
        sample(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        next(sample.parameters()).grad.sum().item()  # waits for the device
        sample.zero_grad()

    try:
        forwards = repetitions_per_second(forward, seconds)
        gradients = repetitions_per_second(gradient, seconds)
    finally:
        torch.set_num_threads(threads)
    return Rates(flops * forwards, 3 * flops * gradients, _stored_per_second(runs))


def _stored_per_second(runs: Path) -> float:
    """Write and hash some megabytes where results go; return bytes per second."""
    content = os.urandom(STORED)
    with _scratch(runs) as stream:
        start = time.perf_counter()
        stream.write(content)
        os.fsync(stream.fileno())
        hashlib.sha256(content).hexdigest()
        return STORED / (time.perf_counter() - start)


@contextlib.contextmanager
def _scratch(runs: Path) -> Iterator[Any]:
    """Yield a file that leaves nothing behind, on the disk of the results."""
    with tempfile.TemporaryFile(dir=nearest_folder(runs), buffering=0) as stream:
        yield stream
