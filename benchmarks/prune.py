"""Measure seconds and peak memory of every pruning method against the bare passes over its tokens.

Settings are those of the figures in tests/golden (32 sequences of 64 tokens). Each line is measured
in a process of its own, after the model has been loaded. Prints a Markdown table: seconds on the
clock and of the processor (which other programs disturb less), and the latter's ratio to the bare
forward pass and to the one with gradients.

    python benchmarks/prune.py [--model smollm2-135m] [--threads 1] [--repeat 1] [--only NAME …]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = Path(__file__).parents[1] / "tests" / "golden" / "calib_32x64.json"

#: Name → method, sparsity and parameters; one step of Adapt-Pruner on the dense model is a
#: trajectory of one step.
METHODS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "adapt-pruner, one step": ("adapt-pruner", 4, {"steps": 1}),
    "adapt-pruner, 40 % in 10 steps": ("adapt-pruner", 40, {"steps": 10}),
    "llm-pruner, 25 %": ("llm-pruner", 25, {"layer_start": 4, "layer_end": 26}),
    "slicegpt, 20 %": ("slicegpt", 20, {}),
    "flap, 20 %": ("flap", 20, {}),
    "flap, 20 %, multi-head twin": ("flap", 20, {}),
    "magnitude, 20 %": ("magnitude", 20, {}),
    "weight-magnitude, 2:4": ("weight-magnitude", 50, {"pattern": "2:4"}),
    "wanda, 2:4": ("wanda", 50, {"pattern": "2:4"}),
    "wanda, 50 %": ("wanda", 50, {}),
    "sparsegpt, 2:4": ("sparsegpt", 50, {"pattern": "2:4"}),
    "sparsegpt, 50 %": ("sparsegpt", 50, {}),
}
#: Name → a line above, of whose work the matrices' alone is done: second moments are given.
MATRIX_WORK = {f"{name}, matrix work": name for name in METHODS if name.startswith("sparsegpt")}
BARE = {
    "forward": "no gradient",
    "forward + backward": "all weights",
    "forward + backward, prunable": "prunable weights alone",
}


def bare(model: Any, tokens: Any, which: str) -> None:
    """Run the model on the calibration tokens as plainly as PyTorch allows."""
    import torch

    prunable = {p for layer in model.model.layers for p in layer.parameters() if p.ndim == 2}
    for parameter in model.parameters():
        parameter.requires_grad_(which == "forward + backward" or parameter in prunable)
    with torch.set_grad_enabled(which != "forward"):
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    if which != "forward":
        loss.backward()


def matrix_work(model: Any, name: str) -> Callable[[], Any]:
    """Return the factorisations and updates of SparseGPT on a model, of second moments made up."""
    import torch

    from adaptprune.models.anatomy import blocks_of, linears_of
    from adaptprune.pruning.patterns import Pattern
    from adaptprune.pruning.registry import find_method
    from adaptprune.pruning.statistics import Hessian

    method_name, sparsity, settings = METHODS[name]
    method: Any = find_method(method_name)
    parameters = method.parse(settings)
    rule = method.rule(Pattern.parse(parameters.pattern), sparsity, parameters)
    groups = [group for i in range(len(blocks_of(model))) for group in linears_of(model, i)]
    moments = {}
    for width in {group[0].shape[1] for group in groups}:
        hessian = Hessian(width, torch.device("cpu"))
        hessian.add(torch.randn(2 * width, width, generator=torch.Generator().manual_seed(0)))
        moments[width] = hessian.matrix

    @torch.no_grad()
    def work() -> None:
        for group in groups:
            width = group[0].shape[1]
            hessian = Hessian(width, torch.device("cpu"))
            hessian.matrix = moments[width]
            for linear in group:
                rule.choose(linear.matrix, hessian)

    return work


def job_of(name: str, model: Any, tokens: Any) -> Callable[[], Any]:
    """Return what is to be timed."""
    from adaptprune.pruning.method import Context
    from adaptprune.pruning.registry import find_method
    from adaptprune.pruning.surgery import expand_kv_heads

    if name in BARE:
        return lambda: bare(model, tokens, name)
    if name in MATRIX_WORK:
        return matrix_work(model, MATRIX_WORK[name])
    method_name, sparsity, settings = METHODS[name]
    method = find_method(method_name)
    parameters = method.parse(settings)
    if name.endswith("twin"):
        model = expand_kv_heads(model)
    return lambda: method.prune(model, None, sparsity, Context(tokens, 0), parameters)


def measure(name: str, model_name: str, threads: int) -> dict[str, float]:
    """Time one line in this process."""
    import torch

    from adaptprune.models import checkpoint
    from adaptprune.models.catalogue import locate
    from adaptprune.models.runtime import Runtime

    Runtime(threads=threads).apply()
    model = checkpoint.load_model(locate(model_name))
    job = job_of(name, model, torch.tensor(json.loads(TOKENS.read_text())))
    started, used = time.perf_counter(), time.process_time()
    job()
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - used,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Parse the command line; measure one line, or each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    lines = [*BARE, *METHODS, *MATRIX_WORK]
    parser.add_argument("--only", nargs="+", choices=lines, default=lines)
    parser.add_argument("--here", help="measure this line in this process and print JSON")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure(arguments.here, arguments.model, arguments.threads)))
        return
    common = ["--model", arguments.model, "--threads", str(arguments.threads)]
    print(
        "| what | seconds (median) | of the processor | to forward | to forward + backward "
        "| peak RSS, MB |\n|---|---:|---:|---:|---:|---:|"
    )
    references: dict[str, float] = {}
    for name in arguments.only:
        command = [sys.executable, __file__, *common, "--here", name]
        runs = [
            json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            for _ in range(arguments.repeat)
        ]
        seconds, used = (
            statistics.median(run[key] for run in runs) for key in ("seconds", "cpu_seconds")
        )
        references.setdefault(name, used)
        ratios = [
            f"{used / references[which]:.2f}" if which in references else "-"
            for which in ("forward", "forward + backward")
        ]
        memory = max(run["peak_rss_mb"] for run in runs)
        print(
            f"| {name} | {seconds:.1f} | {used:.1f} | {' | '.join(ratios)} | {memory:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
