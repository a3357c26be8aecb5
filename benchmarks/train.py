"""Measure the training loop's tokens per second against a bare PyTorch loop.

Both train the same model on the same rows with the same optimiser; the bare loop neither logs nor
accumulates over micro-batches nor checks its numbers. They take turns step by step in one process,
so that whatever else the machine does meets both. Peak memory is that of a process which runs one
of them alone.
Prints a Markdown table.

    python benchmarks/train.py [--model smollm2-135m] [--rows 4] [--length 256] [--micro-batch 4]
        [--steps 8] [--threads 1]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: What is timed, and what the table calls it.
LOOPS = {"suite": "this suite", "bare": "bare loop", "fused": "bare loop, fused AdamW"}
#: Steps before the clock starts: memory is allocated, AdamW's moments are made.
WARM_UP = 2


def run_folder(folder: Path, chosen: argparse.Namespace) -> Any:
    """Lay out a recovery by plain training, as far as the loop's first step."""
    from adaptprune.recovery.folder import Execution, RunFolder
    from adaptprune.recovery.presets import find_preset
    from adaptprune.recovery.stage import Recovery, _work

    rows = chosen.rows * (chosen.steps + WARM_UP)
    preset = {"tokens": rows * chosen.length, "sequence_length": chosen.length}
    preset |= {"batch": chosen.rows, "peak_learning_rate": 1e-5}
    text = folder / "text.jsonl"
    sentence = "A lamp stood in the garden, and nobody had lit it for a year. "
    text.write_text(json.dumps({"text": sentence * (rows * chosen.length // 10)}) + "\n")

    class BegunError(Exception):
        """The training would begin now."""

    class Laid(Recovery):
        """A recovery that stops where its training would begin."""

        def train(self, folder: RunFolder) -> None:
            raise BegunError

    job = Laid(
        model=chosen.model,
        preset=find_preset("train", preset),
        target=None,
        data=str(text),
        calibration=None,
        seed=0,
        execution=Execution(
            threads=chosen.threads, micro_batch=chosen.micro_batch, checkpoint_every=1000
        ),
    )
    run = RunFolder(folder / "run")
    run.path.mkdir()
    with contextlib.suppress(BegunError):
        _work(job, run, job.conditions(None), *job.check())
    return run


def suite_step(folder: Any) -> Callable[[], Any]:
    """Return the suite's step."""
    from accelerate import Accelerator

    from adaptprune.recovery.loop import _Training

    accelerator = Accelerator(cpu=True, mixed_precision="no")
    training = _Training(accelerator, folder, folder.settings())
    return training._step


def bare_step(folder: Any, *, fused: bool) -> Callable[[], None]:
    """Return a step as plain as PyTorch allows, on the same rows."""
    import torch
    import torch.nn.functional as F

    from adaptprune.data.packing import Rows
    from adaptprune.models.checkpoint import load_model

    settings = folder.settings()
    model, rows = load_model(settings.source).train(), Rows.open(folder.rows, settings.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=fused)
    size, place = settings.preset.batch, [0]

    def step() -> None:
        tokens = rows.batch(place[0], place[0] + size).tokens
        place[0] += size
        logits = model(input_ids=tokens, use_cache=False).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def steps_of(names: list[str], folder: Any) -> dict[str, Callable[[], Any]]:
    """Return the step of each loop."""
    made = {"suite": lambda: suite_step(folder)}
    made["bare"] = lambda: bare_step(folder, fused=False)
    made["fused"] = lambda: bare_step(folder, fused=True)
    return {name: made[name]() for name in names}


def measure(names: list[str], chosen: argparse.Namespace) -> dict[str, Any]:
    """Time some loops in turns; return the seconds of their steps and the peak memory (MiB)."""
    from adaptprune.models.runtime import Runtime

    Runtime(threads=chosen.threads).apply()
    with tempfile.TemporaryDirectory() as place:
        steps = steps_of(names, run_folder(Path(place), chosen))
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(chosen.steps + WARM_UP):
            for name, step in steps.items():
                started = time.perf_counter()
                step()
                if number >= WARM_UP:
                    seconds[name].append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak_mib": peak}


def in_process(names: list[str], arguments: list[str]) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, *arguments, "--only", *names]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Print the table; with ``--only`` the measurements of one process as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    for option, default in (("rows", 4), ("length", 256), ("micro-batch", 4), ("steps", 8)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=LOOPS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        print(json.dumps(measure(chosen.only, chosen)))
        return
    arguments = sys.argv[1:]
    together = in_process([*LOOPS], arguments)["seconds"]
    tokens = chosen.rows * chosen.length
    print("| loop | tokens/s | of the bare loop | peak memory (MiB) |")
    print("|---|---:|---:|---:|")
    for name, title in LOOPS.items():
        # Step by step against the bare step beside it: what slows one down slows both.
        pairs = zip(together["bare"], together[name], strict=True)
        ratio = statistics.median(bare / own for bare, own in pairs)
        rate = tokens / statistics.median(together[name])
        peak = in_process([name], arguments)["peak_mib"]
        print(f"| {title} | {rate:,.0f} | {ratio:.3f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
