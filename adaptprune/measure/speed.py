"""The stage measure: what pruning gains in time and memory, against the dense model.

Both models live in one process and take turns, so that whatever slows the machine down meets both;
the gain is the median over rounds of the ratio within a round. Eager transformers, no compiled
graphs, and the model alone on its device: the caller sees to it that nothing else runs.
"""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import write_sealed_json
from adaptprune.files.surroundings import expanded
from adaptprune.machine.provenance import Stopwatch, cpu_model, versions
from adaptprune.measure.kernels import has_kernels, use_kernels

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from adaptprune.models.runtime import Runtime

SCHEMA = 1

#: What is timed, in the order of reports.
PHASES = ("prefill", "decode")


#: What of a checkpoint's record says how it was made, besides method, sparsity and seed.
_DECIDED_BY = ("model_hash", "method_version", "parameters", "calibration", "dtype")


@dataclass(frozen=True)
class Workload:
    """What the models are given to do.

    Args:
        batch: sequences at once.
        prompt: tokens of each that are read at once (prefill).
        new_tokens: tokens of each that follow one by one (decoding).
        rounds: timed runs of each model, after one that is not counted.
    """

    batch: int = 1
    prompt: int = 256
    new_tokens: int = 16
    rounds: int = 7


def measure_stage(
    model: str, dense: str | None, workload: Workload, runtime: Runtime, output: Path
) -> None:
    """Measure a checkpoint against the model that it was made from.

    A checkpoint that failed to be pruned yields a failed record with the same reason.

    Args:
        model: folder of the checkpoint.
        dense: id, folder or hub id; None for the model that the checkpoint's record names.
        workload: what both are given to do.
        runtime: how to compute.
        output: JSON file.

    Raises:
        UserError: the dense model is not known, or is another kind of model.
    """
    from adaptprune.models import checkpoint
    from adaptprune.models.catalogue import locate

    watch = Stopwatch()
    record = checkpoint.read_record(expanded(Path(model))) or {}
    dense = dense or record.get("model")
    if dense is None:
        raise UserError(f"{model}: no pruning.json says what it was made from; give --dense")
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "status": record.get("status", "ok"),
        "reason": record.get("reason"),
        "model": model,
        "dense": dense,
        "method": record.get("method"),
        "variant": record.get("variant"),
        "sparsity": record.get("sparsity"),
        "pattern": (record.get("counts") or {}).get("pattern"),
        "seed": record.get("seed"),
        "workload": asdict(workload),
        "pruning": {key: record.get(key) for key in _DECIDED_BY},
    }
    if content["status"] == "ok":
        runtime.apply()
        folders = {"dense": locate(dense), "pruned": locate(model)}
        content |= _measure(folders, workload, runtime, content["pattern"])
    write_sealed_json(output, content | {"provenance": watch.provenance()})


def _measure(
    folders: dict[str, Path], workload: Workload, runtime: Runtime, pattern: str | None
) -> dict[str, Any]:
    """Return sizes, conditions and measures of the two models."""
    import torch

    from adaptprune.models import checkpoint

    memory: dict[str, int | None] = {}
    # The first run also brings in libraries; the later one of the same model replaces its number.
    for kind in ("pruned", "dense", "pruned"):
        memory[kind] = _peak_bytes(partial(runtime.load, folders[kind]), workload, runtime.device)
    models = {kind: runtime.load(folder) for kind, folder in folders.items()}
    sizes = {model.config.vocab_size for model in models.values()}
    if len(sizes) > 1:
        raise UserError(f"{folders['pruned']} has another vocabulary than {folders['dense']}")
    if has_kernels(pattern, torch.device(runtime.device), runtime.dtype):
        models["kernels"] = use_kernels(runtime.load(folders["pruned"]))
    rates = _take_turns(models, workload)
    on_gpu = torch.device(runtime.device).type == "cuda"
    return {
        "model_hash": checkpoint.revision(folders["pruned"]),
        "params": checkpoint.count_parameters(models["pruned"]),
        "params_dense": checkpoint.count_parameters(models["dense"]),
        "dtype": runtime.dtype,
        "device": torch.device(runtime.device).type,
        "device_name": torch.cuda.get_device_name(runtime.device) if on_gpu else cpu_model(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "measures": _compare(rates) | {"memory": _compare_memory(memory)},
    }


def _take_turns(models: dict[str, Any], workload: Workload) -> dict[str, dict[str, list[float]]]:
    """Return tokens per second by phase and model, one number per round."""
    rates: dict[str, dict[str, list[float]]] = {
        phase: {kind: [] for kind in models} for phase in PHASES
    }
    for number in range(workload.rounds + 1):
        # Who goes first changes from round to round.
        order = sorted(models, reverse=bool(number % 2))
        for kind in order:
            measured = run(models[kind], workload)
            if number:  # the first round warms up
                for phase in PHASES:
                    rates[phase][kind].append(measured[phase])
    return rates


def run(model: Any, workload: Workload) -> dict[str, float]:
    """Let a model read a prompt and then go on token by token.

    The tokens are the same for every model, so that all do the same work.

    Returns:
        Tokens per second (of all sequences together) by phase.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    length = workload.prompt + workload.new_tokens
    tokens = torch.randint(
        model.config.vocab_size, (workload.batch, length), generator=generator
    ).to(model.device)
    prompt, rest = tokens[:, : workload.prompt], tokens[:, workload.prompt :]
    with torch.inference_mode():
        start = _now(model.device)
        cache = model(input_ids=prompt, use_cache=True, logits_to_keep=1).past_key_values
        middle = _now(model.device)
        for column in rest.split(1, dim=1):
            model(input_ids=column, past_key_values=cache, use_cache=True)
        end = _now(model.device)
    return {
        "prefill": prompt.numel() / (middle - start),
        "decode": rest.numel() / (end - middle),
    }


def _now(device: torch.device) -> float:
    """Return the time once the device has done all that it was given (s)."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _compare(rates: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Return the measures of the pruned model by phase, and those of it run by kernels for 2:4."""
    measures = {}
    for phase, by_model in rates.items():
        dense = by_model["dense"]
        for kind, name in (("pruned", phase), ("kernels", f"{phase}_kernels")):
            if kind in by_model:
                measures[name] = compare_rates({"dense": dense, "pruned": by_model[kind]})
    return measures


def compare_rates(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Summarise the rounds of a phase.

    Args:
        rates: tokens per second of ``dense`` and ``pruned``, round by round.

    Returns:
        Medians, the median ratio pruned to dense, the least and the largest ratio of a round, and
        ``faster``: whether the pruned model was the faster one in every round.
    """
    ratios = [pruned / dense for dense, pruned in zip(rates["dense"], rates["pruned"], strict=True)]
    return {
        "unit": "tokens/s",
        **{kind: statistics.median(values) for kind, values in rates.items()},
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "faster": min(ratios) > 1,
    }


def _compare_memory(memory: dict[str, int | None]) -> dict[str, Any]:
    dense, pruned = memory["dense"], memory["pruned"]
    if dense is None or pruned is None:
        return {"unit": "MB", "dense": None, "pruned": None, "ratio": None}
    return {
        "unit": "MB",
        "dense": dense / 2**20,
        "pruned": pruned / 2**20,
        "ratio": pruned / dense,
    }


def _peak_bytes(load: Callable[[], Any], workload: Workload, device: str) -> int | None:
    """Return the memory that a model takes at most while it runs, with its weights.

    On a GPU what torch has allocated; on a CPU the growth of the process's resident memory, which
    only Linux tells. None where it cannot be had.
    """
    import torch

    from adaptprune.machine.allocator import release_freed_memory

    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(device)
        model = load()
        torch.cuda.reset_peak_memory_stats(device)
        run(model, workload)
        return torch.cuda.max_memory_allocated(device) - before
    forget_peak = Path("/proc/self/clear_refs")
    if not forget_peak.exists():
        return None
    release_freed_memory()
    before = _resident("VmRSS")
    model = load()
    forget_peak.write_text("5")
    run(model, workload)
    # Memory that was free in the process before hides growth; the weights are there for certain.
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return max(_resident("VmHWM") - before, weights)


def _resident(key: str) -> int:
    """Return a size of this process in bytes as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
