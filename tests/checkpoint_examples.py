"""Jobs of every method on tiny models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_models import tiny_tokens

from adaptprune.data.calibration import CalibrationSet
from adaptprune.models.runtime import Runtime
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.stage import Job

if TYPE_CHECKING:
    from pathlib import Path

CALIBRATION = CalibrationSet(tiny_tokens(4, 8, seed=1).tolist(), "made-up", 1)
#: Method → (sparsity, settings).
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "dense": (0, {}),
    "adapt-pruner": (40, {"steps": 2, "amplitude": 0.3}),
    "llm-pruner": (40, {}),
    "flap": (40, {}),
    "slicegpt": (40, {}),
    "magnitude": (40, {}),
    "random": (40, {}),
    "wanda": (40, {}),
    "sparsegpt": (40, {}),
    "weight-magnitude": (40, {}),
}


def job(model: Path, method: str, settings: dict[str, Any] | None = None, seed: int = 0) -> Job:
    """Return the job of a method, with the settings of ``RUNS`` where none are given."""
    chosen = find_method(method)
    parameters = chosen.parse(RUNS[method][1] if settings is None else settings)
    return Job(str(model), chosen, None, parameters, seed, CALIBRATION, Runtime(threads=1))
