"""Measure a step of AST against a dense step of the same model plus the teacher's forward pass.

All three are taken in turns in one process, with the training loop's own step, over whole rounds
of Δt steps, so that the choice of masks is shared out. Times are CPU seconds of one thread; memory
is the peak of all live tensors, model and optimiser included. Prints a Markdown table.

    python -m benchmarks.sparse_step [--hidden 256] [--layers 6] [--rows 8] [--length 256]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adaptprune.files.atomic import write_json
from adaptprune.files.manifest import write_manifest
from adaptprune.models.random import random_model
from adaptprune.recovery.folder import Execution, RunFolder, Settings
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.plan import Draft, lay_out
from adaptprune.recovery.presets import find_preset
from tests.live_bytes import LiveBytes

if TYPE_CHECKING:
    from collections.abc import Callable

#: Δt of AST, and so the steps of a round.
ROUND = 10
VOCABULARY = 2048
DENSE, TEACHER = "dense step", "teacher's forward pass"
#: What is measured beside these two: name → preset.
SPARSE = {"AST-Naive": "ast-naive", "AST-Boosted, k = 16": "ast-boosted"}


def begin(folder: Path, preset_name: str, arguments: argparse.Namespace) -> Any:
    """Return a training of a random model that can take steps.

    Args:
        folder: with the model; the run is made in it.
        preset_name: name of a preset.
        arguments: of the command line.
    """
    from accelerate import Accelerator

    steps = (arguments.rounds + 1) * ROUND
    run = RunFolder(folder / preset_name)
    run.rows.mkdir(parents=True)
    count = steps * arguments.rows
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (count, arguments.length))
    (run.rows / "rows.bin").write_bytes(tokens.astype("<u4").tobytes())
    (run.rows / "counted.bin").write_bytes(np.ones(tokens.shape, bool).tobytes())
    domains = [{"name": "random", "rows": count}]
    content = {"rows": count, "length": arguments.length, "domains": domains}
    write_json(run.rows / "rows.json", content)
    write_manifest(run.rows)
    changes = {"sequence_length": arguments.length, "batch": arguments.rows}
    preset = find_preset(preset_name, changes)
    settings = Settings(
        conditions={},
        preset=preset,
        stages=lay_out(preset, [Draft(stop=count)]),
        shape=None,
        target=None,
        source=folder / "model",
        seed=0,
        execution=Execution(threads=1, micro_batch=arguments.rows),
    )
    run.write_settings(settings)
    return _Training(Accelerator(cpu=True), run, settings)


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds that something takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def step_seconds(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the CPU seconds of a step, or of the teacher's pass, each the mean over all rounds."""
    trainings = {DENSE: begin(folder, "train", arguments)}
    trainings |= {label: begin(folder, preset, arguments) for label, preset in SPARSE.items()}
    teacher = trainings["AST-Naive"].objective.teacher
    tokens = trainings[DENSE].rows.batch(0, arguments.rows).tokens[:, :-1]
    work = {label: training._step for label, training in trainings.items()}
    work[TEACHER] = lambda: teacher.look(tokens)
    for job in work.values():
        job()  # warms up
    seconds = dict.fromkeys(work, 0.0)
    for _ in range(arguments.rounds * ROUND):
        for label, job in work.items():
            seconds[label] += cpu_seconds(job)
    return {label: value / (arguments.rounds * ROUND) for label, value in seconds.items()}


def peak_bytes(folder: Path, preset: str, arguments: argparse.Namespace) -> int:
    """Return the most bytes of tensors that live at once in a round of a new training."""
    with LiveBytes() as live:
        training = begin(folder, preset, arguments)
        for _ in range(ROUND):
            training._step()
    return live.peak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rows", type=int, default=8, help="of a step")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        folders = [Path(name, kind) for kind in ("time", "memory")]
        model = random_model(
            hidden=arguments.hidden,
            layers=arguments.layers,
            heads=4,
            kv_heads=4,
            head_dim=arguments.hidden // 4,
            intermediate=arguments.hidden * 11 // 4 // 16 * 16,
            vocabulary=VOCABULARY,
        )
        for folder in folders:
            model.save_pretrained(folder / "model")
        seconds = step_seconds(folders[0], arguments)
        presets = {DENSE: "train", **SPARSE}
        memory = {
            label: peak_bytes(folders[1], preset, arguments) for label, preset in presets.items()
        }
    reference = seconds[DENSE] + seconds[TEACHER]
    print(f"| what | CPU s | to {DENSE} + {TEACHER} | peak tensors, MB |\n|---|---:|---:|---:|")
    for label, value in seconds.items():
        size = f"{memory[label] / 1e6:.1f}" if label in memory else "-"
        print(f"| {label} | {value:.3f} | {value / reference:.3f} | {size} |")
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"\n{weights:,} parameters, {4 * weights / 1e6:.1f} MB of them in the teacher.")


if __name__ == "__main__":
    main()
