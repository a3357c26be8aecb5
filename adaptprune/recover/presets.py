"""Recovery presets: named recipes of pruning and training, one file in ``presets/`` each.

The values that a file leaves out are those of the released scripts (``experiments/*.sh``,
``utils/post_train.py`` of github.com/research4pan/AdaptPruner at 29bb5ae8). Torch-free.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import pydantic
import yaml

from adaptprune.errors import UserError, unknown
from adaptprune.pruner import AdaptPrunerParameters
from adaptprune.schedule import Spacing

#: The recovery of a cell that is pruned and not trained.
NO_RECOVERY = "none"


class Preset(pydantic.BaseModel):
    """How a model is trained, and how it is pruned between two trainings.

    Args:
        name: the file's name, and the ``recovery`` of a cell.
        title: one line that says what it is.
        interleaves: N_P, how often it is pruned with Adapt-Pruner and then trained (scripts: 20);
            0 trains a model as it is.
        tokens: |D|, tokens of all stages together; None takes all data.
        sequence_length: tokens of one row (scripts: ``cutoff_len=1024``).
        batch: rows of one optimiser step, over all processes and accumulations ("The global batch
            size is set to 128", appendix A; scripts: 32 on each of 4 GPUs).
        peak_learning_rate: of the schedule (paper and scripts: 2e-5).
        minimum_learning_rate: at its end (scripts: ``min_learning_rate=0``; appendix A: 2e-6).
        schedule: how the parameter targets are spaced (scripts: linear; Figure 3: geometric).
        handover: the share of a stage's steps after which its weights go on to the next stage, the
            last one's into the result (scripts: the checkpoint of ``save_steps =
            int(steps * 0.99)``). Later steps would have no effect and are not computed; data and
            learning rate move on as if they had been.
        carry_moments: whether the moments of AdamW are cut with the kept units and carried into
            the next stage. The scripts start a process, and so a fresh AdamW, in every stage; the
            paper says nothing.
        pruner: parameters of Adapt-Pruner inside a stage. One step adds a sparsity of 1/steps
            (scripts: ``pruning_ratio 1.00`` in 50 steps, amplitude 0.02), and the first count
            below the stage's target ends the pruning.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = pydantic.Field(pattern=r"^[a-z0-9-]+$")
    title: str
    interleaves: int = pydantic.Field(ge=0, le=1000)
    tokens: int | None = pydantic.Field(None, ge=1)
    sequence_length: int = pydantic.Field(1024, ge=2)
    batch: int = pydantic.Field(128, ge=1)
    peak_learning_rate: float = pydantic.Field(2e-5, gt=0, le=1)
    minimum_learning_rate: float = pydantic.Field(0.0, ge=0, le=1)
    schedule: Spacing = "linear"
    handover: float = pydantic.Field(0.99, gt=0, le=1)
    carry_moments: bool = False
    pruner: AdaptPrunerParameters = AdaptPrunerParameters.model_validate({})

    @pydantic.model_validator(mode="after")
    def _rates_in_order(self) -> Preset:
        if self.minimum_learning_rate > self.peak_learning_rate:
            raise ValueError("minimum_learning_rate must not exceed peak_learning_rate")
        return self


@functools.cache
def _files() -> dict[str, str]:
    """Return the text of each preset's file by its name."""
    folder = resources.files("adaptprune.recover") / "presets"
    found = {f.name.removesuffix(".yaml"): f for f in folder.iterdir() if f.name.endswith(".yaml")}
    return {name: found[name].read_text() for name in sorted(found)}


def preset_names() -> list[str]:
    """Return the names of all presets that train."""
    return list(_files())


def find_preset(name: str, overrides: dict[str, Any] | None = None) -> Preset:
    """Return a preset.

    Args:
        name: one of ``preset_names()``.
        overrides: values that replace the file's.

    Raises:
        UserError: an unknown name or key, or a refused value.
    """
    if name == NO_RECOVERY:
        allowed = ", ".join(preset_names())
        raise UserError(f"preset {NO_RECOVERY!r} trains nothing (allowed: {allowed})")
    if name not in _files():
        raise unknown("recovery preset", name, preset_names())
    content = yaml.safe_load(_files()[name]) | {"name": name} | (overrides or {})
    for key in content:
        if key not in Preset.model_fields:
            raise unknown(f"key of recovery preset {name}", key, Preset.model_fields)
    try:
        return Preset.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "preset"
        raise UserError(f"recovery preset {name}: {where}: {first['msg']}") from None
