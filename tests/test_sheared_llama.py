"""ShearedLLaMA as a recovery: two stages, what each does, and that a kill changes nothing."""

from __future__ import annotations

import json
import multiprocessing
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from killed_recovery import run_until_killed
from recovery_examples import (
    assert_same_weights,
    log_without_times,
    model_folder,
    recovery,
    text_file,
    weights,
)
from transformers import AutoConfig

from adaptprune.checkpoint import count_parameters, load_model
from adaptprune.errors import UserError
from adaptprune.models import shape_of
from adaptprune.recover.objective import next_token_loss
from adaptprune.recover.packing import Rows
from adaptprune.recover.stage import recover_stage
from baselines.dynamic_batches import SMOOTHING, DomainRows
from baselines.sheared_masks import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.recover.stage import Recovery

#: Named shape of the target: half of the heads, three quarters of the width, two of three layers.
SMALL = {"hidden": 12, "heads": 2, "kv_heads": 1, "layers": 2, "intermediate": 16}


def sources(folder: Path) -> Path:
    """Make what recoveries here start from: a model, a model of the target shape, a mixture."""
    model_folder(folder / "model")
    model_folder(folder / "small", **SMALL)
    mixture_file(folder)
    return folder


def shearing(folder: Path, **changes: Any) -> Recovery:
    """Return a recovery by ShearedLLaMA of the model in a folder."""
    options: dict[str, Any] = {
        "preset": "sheared-llama",
        "target": str(folder / "small"),
        "data": str(folder / "mixture.yaml"),
    }
    return recovery(folder, **(options | changes))
