"""Recovery presets: named recipes of pruning and training, one file in ``presets/`` each.

A file names its method, holds values of the training, and the method's own ``parameters``. Values
of the training that it leaves out are those of the scripts released with Adapt-Pruner
(``experiments/*.sh``, ``utils/post_train.py`` of github.com/research4pan/AdaptPruner at 29bb5ae8),
but for ``handover``. Torch-free.
"""

from __future__ import annotations

import functools
from typing import Any

import pydantic

from adaptprune.errors import UserError, unknown
from adaptprune.files.atomic import packaged_yaml
from adaptprune.pruning.registry import find_recovery

#: The recovery of a cell that is pruned and not trained.
NO_RECOVERY = "none"


class Preset(pydantic.BaseModel):
    """How a model is trained, and what is done to it between two trainings.

    Args:
        name: the file's name, and the ``recovery`` of a cell.
        title: one line that says what it is.
        method: name of the method of recovery.
        parameters: of the method, all of them.
        tokens: |D|, tokens of all stages together, a teacher's excepted; None takes all data.
        flops: budget in place of ``tokens``: floating-point operations of all training steps.
        sequence_length: tokens of one row (scripts: ``cutoff_len=1024``).
        batch: rows of one optimiser step, over all processes and accumulations ("The global batch
            size is set to 128", appendix A; scripts: 32 on each of 4 GPUs).
        peak_learning_rate: of the schedule (paper and scripts: 2e-5).
        minimum_learning_rate: at its end (scripts: ``min_learning_rate=0``; appendix A: 2e-6).
        handover: the share of a stage's steps after which its weights go on to the next stage, the
            last one's into the result (scripts: the checkpoint of ``save_steps =
            int(steps * 0.99)``). Later steps would have no effect and are not computed; data and
            learning rate move on as if they had been.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = pydantic.Field(pattern=r"^[a-z0-9-]+$")
    title: str
    method: str
    parameters: dict[str, Any] = {}
    tokens: int | None = pydantic.Field(None, ge=1)
    flops: float | None = pydantic.Field(None, gt=0)
    sequence_length: int = pydantic.Field(1024, ge=2)
    batch: int = pydantic.Field(128, ge=1)
    peak_learning_rate: float = pydantic.Field(2e-5, gt=0, le=1)
    minimum_learning_rate: float = pydantic.Field(0.0, ge=0, le=1)
    handover: float = pydantic.Field(1.0, gt=0, le=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Preset:
        if self.minimum_learning_rate > self.peak_learning_rate:
            raise ValueError("minimum_learning_rate must not exceed peak_learning_rate")
        if self.tokens is not None and self.flops is not None:
            raise ValueError("give tokens or flops, not both")
        return self


#: What a caller may change; the rest is the preset's identity.
_SETTINGS = [key for key in Preset.model_fields if key not in ("name", "title", "method")]
_SETTINGS.remove("parameters")


@functools.cache
def _contents() -> dict[str, dict[str, Any]]:
    return packaged_yaml("adaptprune.recovery", "presets")


def preset_names() -> list[str]:
    """Return the names of all presets that train."""
    return list(_contents())


def find_preset(name: str, overrides: dict[str, Any] | None = None) -> Preset:
    """Return a preset.

    Args:
        name: one of ``preset_names()``.
        overrides: values that replace the file's; of the training or of its method.

    Raises:
        UserError: an unknown name or key, or a refused value.
    """
    if name == NO_RECOVERY:
        allowed = ", ".join(preset_names())
        raise UserError(f"preset {NO_RECOVERY!r} trains nothing (allowed: {allowed})")
    if name not in _contents():
        raise unknown("recovery preset", name, preset_names())
    content = _contents()[name] | {"name": name}
    method = find_recovery(content["method"])
    parameters = dict(content.get("parameters", {}))
    for key, value in (overrides or {}).items():
        if key in _SETTINGS:
            content[key] = value
        elif key in method.parameters.model_fields:
            parameters[key] = value
        else:
            allowed_keys = (*_SETTINGS, *method.parameters.model_fields)
            raise unknown(f"key of recovery preset {name}", key, allowed_keys)
    content["parameters"] = method.parse(parameters).model_dump(mode="json")
    try:
        return Preset.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "preset"
        raise UserError(f"recovery preset {name}: {where}: {first['msg']}") from None
