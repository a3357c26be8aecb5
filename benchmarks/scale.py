"""Does the suite bear 10,000 cells? python benchmarks/scale.py [--cells N] [--profile FILE].

Measured are the time and the memory in which Snakemake resolves the graph of a matrix of so many
cells (a dry run of table1), and those in which finished cells of this number are collected into a
results file. The cells are made up. ``--profile FILE`` writes where the dry run spends its time,
for ``python -m pstats FILE``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from adaptprune.cells import Cell, cell_folder, grid
from adaptprune.files.atomic import record_hash, sha256_json

ROOT = Path(__file__).parent.parent
METHODS = ["dense", "adapt-pruner", "llm-pruner", "flap", "magnitude", "random"]
SPARSITIES = [10, 20, 30, 40, 50, 60, 70, 80]
MODELS = ["tiny-llama", "tiny-llama-small"]


def matrix(count: int) -> tuple[list[Cell], list[str]]:
    """Return about ``count`` cells, and the overrides of the profile that has them."""
    seeds = list(range(max(1, count // (len(MODELS) * (len(METHODS) - 1) * len(SPARSITIES)))))
    lists = {"models": MODELS, "methods": METHODS, "sparsities": SPARSITIES, "seeds": seeds}
    overrides = [f"{key}={','.join(map(str, values))}" for key, values in lists.items()]
    return grid(MODELS, METHODS, SPARSITIES, seeds), overrides


def measured(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a command; return its seconds, its CPU seconds and its peak memory (GB)."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)[:200]} … failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def dry_run(folder: Path, overrides: list[str], profile: Path | None) -> list[str]:
    """Return the command that resolves the graph."""
    recorder = ["-m", "cProfile", "-o", str(profile)] if profile else []
    return [
        # So quiet a dry run ends with the graph; it would go on to describe every job.
        *(sys.executable, *recorder, "-m", "snakemake", "table1", "--dry-run"),
        *("--quiet", "rules", "progress"),
        *("--cores", "8", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *("--config", "profile=tiny", *overrides),
    ]


def write_cells(runs: Path, cells: list[Cell]) -> None:
    """Write what finished cells leave, with made-up numbers."""
    import json

    def write(path: Path, record: dict[str, Any]) -> None:
        path.write_text(json.dumps(record | {"sha256": sha256_json(record)}))

    provenance = {"wall_s": 1.0, "cpu_s": 1.0, "peak_rss_mb": 1.0, "host": "h", "commit": "c"}
    numbers = {f"task{i}": {"acc": 0.5, "acc_norm": 0.5, "n": 200} for i in range(7)}
    numbers["prose"] = {"word_perplexity": 9.0, "byte_perplexity": 2.0, "n": 60}
    task = {"version": 1, "hash": "t", "num_fewshot": 0, "documents_hash": "d"}
    conditions = {
        **{"dtype": "float32", "device": "cpu", "max_length": 512, "scorer": "prefix"},
        "tasks": dict.fromkeys(numbers, task),
        "versions": {"lm_eval": "0.4.13", "transformers": "5.23.0", "torch": "2.13.0"},
    }
    counts = {
        **{"params_dense": 100, "params": 80, "decoder_params_dense": 90, "decoder_params": 70},
        "sparsity_reached": 0.2,
    }
    for cell in cells:
        folder = cell_folder(runs, "tiny", cell)
        folder.mkdir(parents=True)
        shared = {"schema": 1, "status": "ok", "reason": None, "provenance": provenance}
        drawn = {"dataset": "prose", "hash": f"c{cell.seed}", "sequences": 8, "length": 32}
        made = {
            **{"model": cell.model, "model_revision": "r", "model_hash": cell.model},
            **{"method": cell.method, "variant": None, "method_version": 1, "parameters": {}},
            **{"sparsity": cell.sparsity, "seed": cell.seed, "counts": counts},
            "calibration": drawn if cell.method in METHODS[1:4] else None,
            "dtype": "float32",
        }
        write(folder / "pruning.json", shared | made)
        scored = {"suite": "commonsense-tiny", "results": numbers, "conditions": conditions}
        scored["made"] = record_hash(shared | made)
        write(folder / "evaluation.json", shared | scored)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--profile", type=Path)
    arguments = parser.parse_args()
    cells, overrides = matrix(arguments.cells)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = {
            "resolve the graph": measured(dry_run(folder, overrides, arguments.profile), folder)
        }
        write_cells(folder / "results" / "runs", cells)
        collect = [
            *(sys.executable, "-m", "adaptprune", "collect", "--profile", "tiny"),
            *("--config-folder", str(ROOT / "config"), "--results", "results.csv"),
            *("--provenance", "provenance.csv"),
            *(part for override in overrides for part in ("--override", override)),
        ]
        rows["collect the results"] = measured(collect, folder)
        lines = sum(1 for _ in (folder / "results.csv").open()) - 1
    print(f"{len(cells)} cells, {lines} rows of results\n")
    print("| what | s | CPU s | peak memory, GB |\n|---|---:|---:|---:|")
    for what, (seconds, cpu, memory) in rows.items():
        print(f"| {what} | {seconds:.1f} | {cpu:.1f} | {memory:.2f} |")


if __name__ == "__main__":
    main()
