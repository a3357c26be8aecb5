"""A made-up run of the tiny profile, for figures and tables that read more than results."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.figures.labels import GUESSING
from adaptprune.files.atomic import write_sealed_json
from adaptprune.models.catalogue import shape_of
from adaptprune.results.rows import COLUMNS, PROVENANCE, PROVENANCE_KEYS, Row
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

CONFIG = Path(__file__).parents[1] / "config"
MODEL = "tiny-llama"
METHODS = ("dense", "flap", "slicegpt", "adapt-pruner")


def tiny_source(
    runs: Path, methods: Sequence[str] = METHODS, sparsities: str = "20,40", seeds: str = "0,1"
) -> Source:
    """Return a run of the tiny profile whose files are still to be written."""
    overrides = {"methods": ",".join(methods), "sparsities": sparsities, "seeds": seeds}
    return Source("tiny", load_profile(CONFIG, "tiny", overrides), runs)


def write_results(source: Source, **quality: float) -> None:
    """Write results of every cell; accuracy falls and perplexity rises with sparsity.

    Args:
        source: where to.
        quality: by method (``_`` for ``-``), what its accuracy begins with.
    """
    rows = []
    for cell in source.profile.cells():
        start = quality.get(cell.method.replace("-", "_"), 0.5)
        accuracy = start - cell.sparsity / 200 + 0.01 * cell.seed
        shared: dict[str, Any] = {
            "profile": source.name,
            "model": cell.model,
            "model_revision": "r",
            "method": cell.method,
            "method_version": 1,
            "variant": "",
            "sparsity": cell.sparsity,
            "recovery": cell.recovery,
            "seed": cell.seed,
            "params_dense": 200_000_000,
            "params": 200_000_000 - 2_000_000 * cell.sparsity,
            "calibration": "" if cell.method == "dense" else "tiny-prose 8x32",
        }
        scores = {
            ("tiny_local_place", "acc"): accuracy,
            ("tiny_local_thing", "acc_norm"): accuracy,
            ("tiny_local_prose", "word_perplexity"): 10 / accuracy,
        }
        rows += [
            Row(**shared, task=task, metric=metric, value=value)
            for (task, metric), value in scores.items()
        ]
    source.folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([asdict(row) for row in rows], columns=COLUMNS)
    frame["params"] = frame["params"].astype("Int64")
    frame.to_csv(source.folder / "results.csv", index=False)


def write_provenance(source: Source, score_s: float | None, cut_s: float) -> None:
    """Write provenance in which every cell costs the same, and a second more per seed."""
    rows = []
    for cell in source.profile.cells():
        key = {**asdict(cell), "profile": source.name, "variant": ""}
        scored = score_s if cell.method != "dense" else None
        rows += [
            {**key, "stage": "prune", "wall_s": cut_s + cell.seed, "score_wall_s": scored},
            {**key, "stage": "evaluate", "wall_s": 1000.0},
        ]
    source.folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(rows, columns=[*PROVENANCE_KEYS, *PROVENANCE])
    frame.to_csv(source.folder / "provenance.csv", index=False)


def write_kept(source: Source) -> None:
    """Write the kept units of every cell; SliceGPT has none."""
    shape = shape_of(MODEL)
    for cell in source.profile.cells():
        layers = [
            {
                "kv_heads": list(range(max(1, block.kv_heads - index))),
                "q_heads": [],
                "mlp": list(range(block.intermediate_size - cell.sparsity - index)),
            }
            for index, block in enumerate(shape.blocks)
        ]
        folder = source.cell(MODEL, cell.method, cell.sparsity)
        sliced = cell.method == "slicegpt"
        write_sealed_json(folder / "kept.json", {"layers": [] if sliced else layers})


def write_sensitivity(source: Source) -> None:
    """Write perplexities of models with one layer cut; cutting the last layer helps."""
    for uniform in (0, 10, 20):
        path = source.folder / "sensitivity" / MODEL / f"u{uniform}.json"
        base = 20.0 + uniform
        layers = [base + 1000, base + 10, base + 1, base - 0.5]
        write_sealed_json(path, {"perplexity": base, "layers": layers})


def guessing_in(axes: Axes) -> list[float]:
    """Return what guessing gives, as a panel shows it."""
    return [float(line.get_ydata()[0]) for line in axes.lines if line.get_gid() == GUESSING]


def write_trajectory(source: Source, first: int = 0) -> None:
    """Write the record of Adapt-Pruner's run to the largest sparsity, in four steps.

    Args:
        source: where to.
        first: the first layer that is pruned.
    """
    count = 4 - first
    steps = [
        {
            "step": step,
            "loss_before": 3.0 + step,
            "layer_importance_raw": [-1 + 0.1 * layer for layer in range(count)],
            "layer_importance": [1 - 2 * layer / (count - 1) for layer in range(count)],
            "target_sparsity": [0.05 * step * layer for layer in range(count)],
            "kv_heads": [3] * 4,
            "intermediate_size": [160 - step] * 4,
            "params": 1000 - step,
        }
        for step in range(1, 5)
    ]
    path = source.cell(MODEL, "adapt-pruner", max(source.profile.sparsities)) / "pruning.json"
    record = {
        "model": MODEL,
        "sparsity": max(source.profile.sparsities),
        "status": "ok",
        "reason": None,
        "parameters": {"layer_start": first},
        "steps": steps,
    }
    write_sealed_json(path, record)
