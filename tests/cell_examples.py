"""The files of a finished cell, and changed copies of them."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import record_hash, sha256_json

if TYPE_CHECKING:
    from pathlib import Path

PRUNING: dict[str, Any] = {
    "schema": 1,
    "status": "ok",
    "reason": None,
    "model": "org/small",
    "model_revision": "r1",
    "model_hash": "m1",
    "method": "flap",
    "variant": None,
    "method_version": 1,
    "parameters": {},
    "sparsity": 20,
    "recovery": "none",
    "seed": 0,
    "calibration": {"dataset": "prose", "hash": "c0", "sequences": 8, "length": 64, "seed": 0},
    "counts": {
        "params_dense": 1000,
        "params": 800,
        "decoder_params_dense": 900,
        "decoder_params": 700,
        "sparsity_reached": 0.2,
    },
    "dtype": "float32",
    "device": "cpu",
    "versions": {"adaptprune": "0.1.0"},
    "provenance": {
        "wall_s": 1.5,
        "peak_rss_mb": 300.0,
        "host": "box",
        "date": "2026-01-01",
        "commit": "abc",
    },
}

TRAINING: dict[str, Any] = {
    "schema": 1,
    "status": "ok",
    "reason": None,
    "conditions": {
        "schema": 1,
        "model": "org/small",
        "model_hash": "m1",
        "preset": {"name": "adapt-accel", "method": "adapt-accel", "tokens": 4096},
        "method_version": 2,
        "target": "org/smaller",
        "data": {"name": "prose", "sha256": "d0"},
        "calibration": PRUNING["calibration"],
        "seed": 0,
        "versions": {"adaptprune": "0.1.0"},
    },
    "params": 600,
    "tokens": 4096,
    "teacher_tokens": 512,
    "flops": 20_000_000,
    "steps": 8,
    "provenance": {**PRUNING["provenance"], "wall_s": 7.0, "train_s": 6.0},
}

TASK = {"version": 1.0, "hash": "t1", "num_fewshot": 0, "documents_hash": "d1", "n": 40}
EVALUATION: dict[str, Any] = {
    "schema": 1,
    "status": "ok",
    "reason": None,
    "suite": "few",
    "results": {
        "winowhy": {"acc": 0.5, "acc_stderr": 0.08, "acc_norm": None, "n": 40},
        "prose": {
            "word_perplexity": 33.3333333333333,
            "byte_perplexity": 1.9,
            "bits_per_byte": 0.9,
            "n": 3,
        },
    },
    "conditions": {
        "dtype": "float32",
        "device": "cuda:0",
        "max_length": 1024,
        "scorer": "stock",
        "tasks": {"winowhy": TASK, "prose": {**TASK, "hash": "t2"}},
        "versions": {"lm_eval": "0.4.13", "transformers": "5.23.0", "torch": "2.13.0"},
    },
    "provenance": {**PRUNING["provenance"], "wall_s": 20.0},
}


def changed(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a copy with values set by dotted path (``conditions__dtype="bfloat16"``)."""
    record = copy.deepcopy(record)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = record
        for parent in parents:
            place = place[parent]
        place[last] = value
    return record


def sealed(record: dict[str, Any]) -> str:
    """Return a record as its stage writes it, with the hash over its content."""
    return json.dumps(record | {"sha256": sha256_json(record)})


def write_cell(
    root: Path, pruning: dict[str, Any] | None = None, evaluation: dict[str, Any] | None = None
) -> Path:
    """Write the files of a cell where its pruning record says that it belongs."""
    pruning = pruning or PRUNING
    method = pruning["method"] + (f"@{pruning['variant']}" if pruning["variant"] else "")
    model = pruning["model"].replace("/", "__")
    folder = root / model / method / str(pruning["sparsity"]) / "none" / f"s{pruning['seed']}"
    folder.mkdir(parents=True)
    (folder / "pruning.json").write_text(sealed(pruning))
    if evaluation is not None:
        write_evaluation(folder, pruning, evaluation)
    return folder


def write_evaluation(folder: Path, made: dict[str, Any], evaluation: dict[str, Any]) -> None:
    """Write the evaluation of the model that a record describes."""
    content = {"made": record_hash(made), **evaluation}
    (folder / "evaluation.json").write_text(sealed(content))


def write_trained_cell(
    root: Path,
    training: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    recovery: str = "accel",
) -> Path:
    """Write the files of a trained cell where its record says that it belongs."""
    training = training or TRAINING
    conditions = training["conditions"]
    model, method = conditions["model"].replace("/", "__"), conditions["preset"]["method"]
    folder = root / model / method / "40" / recovery / f"s{conditions['seed']}"
    folder.mkdir(parents=True)
    (folder / "recovery.json").write_text(sealed(training))
    if evaluation is not None:
        write_evaluation(folder, training, evaluation)
    return folder
