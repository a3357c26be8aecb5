"""Synthetic matrices: cells on disk with the score of every document, and how they are stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from cell_examples import EVALUATION, PRUNING, TASK, changed, write_cell

from adaptprune.evaluation.outcome import write_documents
from adaptprune.results.matrix import Matrix, store_cells

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TASKS = {"tiny_local_place": "acc", "tiny_local_thing": "acc_norm"}
TEXT = "tiny_local_prose"
DOCUMENTS, PASSAGES = 40, 12


def write_scored_cell(
    root: Path,
    method: str = "flap",
    sparsity: int = 20,
    seed: int = 0,
    *,
    skill: float = 0.5,
    nats: float = 3.0,
    pruning: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
) -> Path:
    """Write a finished cell of suite ``commonsense-tiny``; returns its folder.

    Args:
        root: where the cells lie.
        method: of the cell, also part of what its documents are drawn from.
        sparsity: percent.
        seed: of the cell.
        skill: probability of a right answer.
        nats: negative log-likelihood per word.
        pruning: changes of ``pruning.json`` by dotted path.
        evaluation: changes of ``evaluation.json`` by dotted path.
    """
    generator = np.random.default_rng([seed, sparsity, *method.encode()])
    rows, results = [], {}
    for task, metric in TASKS.items():
        right = generator.random(DOCUMENTS) < skill
        rows += [(task, i, f"{task}-{i}", metric, float(value)) for i, value in enumerate(right)]
        spread = math.sqrt(right.var(ddof=1) / DOCUMENTS)
        results[task] = {metric: float(right.mean()), f"{metric}_stderr": spread, "n": DOCUMENTS}
    words = np.arange(20, 20 + PASSAGES)
    likelihood = -words * generator.normal(nats, 0.2, PASSAGES)
    for i in range(PASSAGES):
        rows.append((TEXT, i, f"{TEXT}-{i}", "log_likelihood", likelihood[i]))
        rows.append((TEXT, i, f"{TEXT}-{i}", "words", float(words[i])))
    perplexity = math.exp(-likelihood.sum() / words.sum())
    results[TEXT] = {"word_perplexity": perplexity, "n": PASSAGES}
    made = changed(
        PRUNING,
        method=method,
        sparsity=sparsity,
        seed=seed,
        model="tiny-llama",
        calibration__hash=f"c{seed}",
        **{"counts__sparsity_reached": sparsity / 100, "counts__params": 1000 - 8 * sparsity},
    )
    scored = changed(
        EVALUATION,
        results=results,
        suite="commonsense-tiny",
        **{"conditions__tasks": {task: {**TASK, "hash": task} for task in [*TASKS, TEXT]}},
    )
    folder = write_cell(
        root, changed(made, **(pruning or {})), changed(scored, **(evaluation or {}))
    )
    write_documents(
        folder / "documents.parquet",
        pd.DataFrame(rows, columns=["task", "document", "document_hash", "metric", "value"]),
    )
    return folder


def write_cells(
    root: Path,
    methods: Iterable[str] = ("flap", "llm-pruner"),
    sparsities: Iterable[int] = (20, 40),
    seeds: Iterable[int] = (0, 1),
    **changes: Any,
) -> list[Path]:
    """Write a matrix of finished cells; returns their folders."""
    seeds, sparsities = list(seeds), list(sparsities)
    return [
        write_scored_cell(root, method, sparsity, seed, **changes)
        for method in methods
        for sparsity in sparsities
        for seed in seeds
    ]


def write_dense(root: Path, **changes: Any) -> Path:
    """Write the dense model's cell."""
    return write_scored_cell(root, "dense", 0, 0, skill=0.9, nats=2.0, **changes)


def stored(folder: Path, name: str, cells: list[Path]) -> Path:
    """Store cells as ``folder/name.csv``; returns that path."""
    store_cells(cells, "tiny", folder / f"{name}.csv")
    return folder / f"{name}.csv"


def rewritten(matrix: Matrix, path: Path) -> None:
    """Write a changed matrix as somebody would by hand: the results without a seal."""
    matrix.results.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
    path.with_name(f"{path.name}.sha256").unlink(missing_ok=True)
