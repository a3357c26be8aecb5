"""Perplexity of a model with weights rounded to a few bits by AWQ, beside that of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.errors import NumericalError
from adaptprune.evaluation.perplexity import rounded_name
from adaptprune.evaluation.stage import evaluate_loaded
from adaptprune.models.adapters import attach_adapter, read_adapter
from adaptprune.models.checkpoint import load_model
from adaptprune.pruning.awq import quantise

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.evaluation.outcome import Numbers
    from adaptprune.evaluation.stage import Scoring, Selection
    from adaptprune.models.runtime import Runtime

#: Tokens that scales and clips are searched on at most: 128 sequences of 512, as the released code
#: takes by default.
TOKENS = 65_536


@dataclass(frozen=True)
class Rounding:
    """What is measured of a model besides its own scores.

    Args:
        bits: of a weight; each is a measurement of its own.
        group: inputs that share scale and zero point; None for the largest usual one that fits.
        calibration: what AWQ searches on.
    """

    bits: tuple[int, ...]
    group: int | None
    calibration: CalibrationSet

    def describe(self) -> dict[str, Any]:
        """Return the conditions of the measurements."""
        calibration = self.calibration.describe()
        return {"bits": list(self.bits), "group": self.group, "calibration": calibration}


def rounded_perplexities(
    rounding: Rounding,
    folder: Path,
    tokenizer: Any,
    selection: Selection,
    scoring: Scoring,
    runtime: Runtime,
) -> dict[str, Numbers]:
    """Return by task the perplexities of the rounded model, ``awq4_word_perplexity`` and so on.

    An adapter in the folder (SLoRB) stays beside the sparse weights, and its factors are rounded.

    Args:
        rounding: to how many bits.
        folder: of the model.
        tokenizer: of the model.
        selection: what is evaluated; its perplexity text is scored.
        scoring: how.
        runtime: how to compute.

    Raises:
        UserError: the family has no anatomy, no group divides its rows, or there is no text.
        NumericalError: an input or a perplexity is not finite.
    """
    names = selection.texts()
    tasks = [task for task in selection.tasks_to_run() if task.name in names]
    rows = torch.tensor(rounding.calibration.tokens)
    rows = rows[: max(1, TOKENS // rows.shape[1])].to(runtime.device)
    found: dict[str, Numbers] = {name: {} for name in names}
    for bits in rounding.bits:
        model = load_model(folder, dtype=runtime.dtype, device=runtime.device, merge=False)
        attach_adapter(model, read_adapter(folder))
        quantise(model, rows, bits, rounding.group)
        scores = evaluate_loaded(model, tokenizer, tasks, selection, scoring)
        if scores.reason is not None:
            raise NumericalError(f"with weights of {bits} bits: {scores.reason}")
        for task, numbers in scores.outcome.results.items():
            found[task] |= {
                rounded_name(bits, metric): value
                for metric, value in numbers.items()
                if "perplexity" in metric
            }
    return found
