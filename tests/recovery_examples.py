"""A tiny model with a tokenizer, a little text, and recoveries of seconds."""

from __future__ import annotations

import json
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import save_tiny_model

from adaptprune.data.calibration import CalibrationSet
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.recovery.folder import Execution
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.presets import find_preset
from adaptprune.recovery.registry import find_recovery
from adaptprune.recovery.stage import Recovery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH = 16
#: Small enough for milliseconds per step; the learning rate is large so that steps show.
SETTINGS: dict[str, Any] = {
    "sequence_length": LENGTH,
    "batch": 4,
    "peak_learning_rate": 1e-2,
    "handover": 1.0,
}
#: Parameters of the methods, by preset.
PARAMETERS: dict[str, dict[str, Any]] = {
    "adapt-accel": {"interleaves": 2, "pruner": {"steps": 10, "amplitude": 0.05}},
}


def model_folder(folder: Path, **shape: Any) -> Path:
    """Write a tiny model that reads bytes; its attention has dropout, so training is random."""
    settings = {"vocabulary": 257, "layers": 3, "intermediate": 24, "attention_dropout": 0.1}
    save_tiny_model(folder, **(settings | shape))
    byte_tokenizer().save_pretrained(folder)
    return folder


def text_file(path: Path, documents: int = 20) -> Path:
    """Write documents of a few random words each."""
    generator = random.Random(0)
    words = ("lamp", "book", "garden", "the", "found", "of", "kettle")
    texts = [" ".join(generator.choices(words, k=12)) for _ in range(documents)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def calibration() -> CalibrationSet:
    """Return calibration tokens of printable bytes."""
    generator = torch.Generator().manual_seed(1)
    return CalibrationSet(torch.randint(32, 120, (4, 12), generator=generator).tolist(), "made", 0)


def recovery(
    folder: Path,
    *,
    preset: str = "adapt-accel",
    model: Path | None = None,
    target: int | str | None = 12_000,
    **changes: Any,
) -> Recovery:
    """Return a recovery of a tiny model on a little text.

    Args:
        folder: where model and text are, or are to be made.
        preset: name of the preset.
        model: another model's folder.
        target: parameters to end with, or a model of the target's shape; for a preset that prunes.
        changes: values of the preset, or of ``Execution``.
    """
    execution = {key: changes.pop(key) for key in Execution.model_fields if key in changes}
    if model is None:
        model = folder / "model"
        if not model.is_dir():
            model_folder(model)
    data = folder / "text.jsonl"
    if not data.is_file():
        text_file(data)
    chosen = find_preset(preset, SETTINGS | PARAMETERS.get(preset, {}) | changes)
    method = find_recovery(chosen.method)
    return Recovery(
        model=str(model),
        preset=chosen,
        target=None if method.target == "none" else target,
        data=str(data),
        calibration=calibration() if method.needs_calibration else None,
        seed=0,
        execution=Execution(**({"checkpoint_every": 3, "threads": 1} | execution)),
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a model folder."""
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: Path, two: Path) -> None:
    """Assert that two model folders hold the same weights, bit for bit."""
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def log_without_times(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a result's log without what a clock measured."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k not in ("seconds", "tokens_per_s")} for r in rows]


@contextmanager
def stopped_at_step(number: int) -> Iterator[None]:
    """Expect a training to be stopped before its step of some number, counted from 1."""
    step, taken = _Training._step, [0]

    def stopping(training: _Training) -> dict[str, Any]:
        taken[0] += 1
        if taken[0] == number:
            raise RuntimeError("stopped")
        return step(training)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(_Training, "_step", stopping)
        with pytest.raises(RuntimeError, match="stopped"):
            yield
