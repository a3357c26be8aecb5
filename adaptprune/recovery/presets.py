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

from adaptprune.cells import NO_RECOVERY
from adaptprune.errors import UserError, refusal, unknown
from adaptprune.files.declared import packaged_yaml
from adaptprune.recovery.recipe import Preset
from adaptprune.recovery.registry import find_recovery

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
        raise UserError(f"recovery preset {name}: {refusal(error, 'preset')}") from None
