"""What a checkpoint's ``config.json`` says, to transformers 4 too.

transformers 5 keeps the rotary embedding in ``rope_parameters``. Version 4 does not know that key:
without its own keys it would silently take a base of 10,000. Both sets say the same.
"""

from __future__ import annotations

import math
from typing import Any


def config_content(config: Any) -> dict[str, Any]:
    """Return the content of ``config.json`` for a config of transformers 5."""
    content = config.to_diff_dict() | {
        "model_type": config.model_type,
        "tie_word_embeddings": config.tie_word_embeddings,
    }
    if "dtype" in content:
        content["torch_dtype"] = content["dtype"]
    rope = content.get("rope_parameters") or {}
    if "rope_theta" in rope:  # one for all layers, not one for each kind of layer
        content |= _rope_keys(rope, config.max_position_embeddings)
    return content


def _rope_keys(rope: dict[str, Any], window: int) -> dict[str, Any]:
    """Return what transformers 4 reads of rotary embeddings.

    Args:
        rope: ``rope_parameters`` of transformers 5.
        window: ``max_position_embeddings``.
    """
    scaling = dict(rope)
    keys: dict[str, Any] = {"rope_theta": scaling.pop("rope_theta")}
    if "partial_rotary_factor" in scaling:
        keys["partial_rotary_factor"] = scaling.pop("partial_rotary_factor")
    if scaling["rope_type"] == "longrope":
        original = scaling["original_max_position_embeddings"]
        keys["original_max_position_embeddings"] = original
        # Version 4 puts the ratio of the windows in the place of a stated factor.
        factor = scaling.get("factor")
        if factor not in (None, window / original) and scaling.get("attention_factor") is None:
            scaling["attention_factor"] = (
                math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
            )
    return keys | {"rope_scaling": None if scaling["rope_type"] == "default" else scaling}
