"""Recoveries of seconds by ShearedLLaMA, on text of two domains."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from killed_recovery import kill_at_call
from recovery_examples import model_folder, recovery

from adaptprune.recover import packing, stage
from adaptprune.recover.loop import _Training
from adaptprune.recover.stage import recover_stage
from baselines import masked_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from adaptprune.recover.stage import Recovery

#: Half of the heads, three quarters of the width, two of three layers, two thirds of the neurons.
SMALL = {"hidden": 12, "heads": 2, "kv_heads": 1, "layers": 2, "intermediate": 16}
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
    texts = [" ".join(generator.choices(words, k=12)) for _ in range(12)]
    texts += [" ".join(str(generator.randrange(30)) for _ in range(30)) for _ in range(12)]
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "text.jsonl").write_text("".join(lines))
    return folder


def shearing(folder: Path, **changes: Any) -> Recovery:
    """Return a recovery by ShearedLLaMA of what ``sources`` made."""
    options = {"preset": "sheared-llama", "target": str(folder / "small")}
    return recovery(folder, **(options | SETTINGS | changes))


def pack_by_domain(
    domains: Mapping[str, Iterable[Any]], tokenizer: Any, length: int, target: Path
) -> None:
    """Pack numbers and words as two domains."""
    texts = [text for documents in domains.values() for text in documents]
    split = {
        "numbers": [text for text in texts if text[0].isdigit()],
        "words": [text for text in texts if not text[0].isdigit()],
    }
    packing.pack(split, tokenizer, length, target)


#: What is called, and at which call the process dies.
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "shearing": (_Training, "_step", 5),
    "cutting": (masked_model, "cut", 1),
    "training": (_Training, "_step", 15),  # the ninth of the second stage
}


def shear_until_killed(moment: str, source: Path, target: Path) -> None:
    """Recover the model in ``source`` in this process and die at one of ``MOMENTS``."""
    stage.pack = pack_by_domain
    kill_at_call(*MOMENTS[moment])
    recover_stage(shearing(source), target / "out", target / "run")
