"""Recoveries of seconds by ShearedLLaMA, on text of two domains."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
from pathlib import Path
from typing import Any

from killed_recovery import kill_at_call
from recovery_examples import model_folder, recovery

from adaptprune.data.formats import PlainText
from adaptprune.data.training import Domain, TrainingData
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.stage import Recovery, recover_stage
from baselines import masked_model

#: Half of the heads, three quarters of the width, two of three layers, two thirds of the neurons.
SMALL = {"hidden": 12, "heads": 2, "kv_heads": 1, "layers": 2, "intermediate": 16}
DOMAINS = ["numbers", "words"]
#: Six steps with masks and fourteen without; the domains' weights change often.
SETTINGS: dict[str, Any] = {
    "tokens": 80 * 16,
    "shearing_share": 0.3,
    "shearing_update_every": 2,
    "training_update_every": 4,
    "held_out_rows": 3,
}


def sources(folder: Path, **shape: Any) -> Path:
    """Make what the recoveries start from: a model, one of the target shape, and text."""
    model_folder(folder / "model", **shape)
    model_folder(folder / "small", **SMALL)
    generator = random.Random(0)
    words = ("lamp", "book", "garden", "the", "found", "of", "kettle")
    texts = {
        "words": [" ".join(generator.choices(words, k=12)) for _ in range(12)],
        "numbers": [" ".join(str(generator.randrange(30)) for _ in range(30)) for _ in range(12)],
    }
    for name, documents in texts.items():
        lines = (json.dumps({"text": text}) + "\n" for text in documents)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def two_domains(folder: Path) -> TrainingData:
    """Return the text of a folder as two domains."""
    return TrainingData(
        name="made",
        domains=tuple(
            Domain(name, folder / f"{name}.jsonl", PlainText(kind="text")) for name in DOMAINS
        ),
    )


@dataclasses.dataclass(frozen=True)
class TwoDomains(Recovery):
    """A recovery on the two domains of the folder that its model is in."""

    @functools.cached_property
    def training_data(self) -> TrainingData:
        """Numbers and words."""
        return two_domains(Path(self.model).parent)


def shearing(folder: Path, **changes: Any) -> TwoDomains:
    """Return a recovery by ShearedLLaMA of what ``sources`` made."""
    options = {"preset": "sheared-llama", "target": str(folder / "small")}
    job = recovery(folder, **(options | SETTINGS | changes))
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    return TwoDomains(**fields)


#: What is called, and at which call the process dies.
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "shearing": (_Training, "_step", 5),
    "cutting": (masked_model, "cut", 1),
    "training": (_Training, "_step", 15),  # the ninth of the second stage
}


def shear_until_killed(moment: str, source: Path, target: Path) -> None:
    """Recover the model in ``source`` in this process and die at one of ``MOMENTS``."""
    kill_at_call(*MOMENTS[moment])
    recover_stage(shearing(source), target / "out", target / "run")
