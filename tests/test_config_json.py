"""``config.json`` of a checkpoint: what transformers 4 reads beside what transformers 5 reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from checkpoint_examples import job
from tiny_models import save_tiny_model
from transformers import AutoConfig

from adaptprune.files.atomic import read_json
from adaptprune.pruning.stage import prune_stage

if TYPE_CHECKING:
    from pathlib import Path

YARN = {"factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16}
LLAMA3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"short_factor": [1.0, 2.0], "long_factor": [3.0, 4.0]}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("method", ["magnitude", "flap", "slicegpt"])
@pytest.mark.parametrize(
    ("kind", "settings", "more"),
    [
        ("default", {}, {}),
        ("linear", {"factor": 2.0}, {}),
        ("dynamic", {"factor": 2.0}, {}),
        ("yarn", YARN, {}),
        ("llama3", {**LLAMA3, "original_max_position_embeddings": 32}, {}),
        (
            "longrope",
            {**LONG, "original_max_position_embeddings": 32, "factor": 2.0},
            # Version 4 would take 128 / 32 for the factor, so what follows from 2 is written out.
            {"attention_factor": math.sqrt(1 + math.log(2) / math.log(32))},
        ),
    ],
)
def test_both_versions_are_told_the_same_rotary_embeddings(
    kind: str,
    settings: dict[str, Any],
    more: dict[str, Any],
    method: str,
    family: str,
    tmp_path: Path,
) -> None:
    rope = {"rope_type": kind, "rope_theta": 500000.0, **settings}
    dense = save_tiny_model(tmp_path / "dense", family, rope_parameters=rope)
    prune_stage(job(dense, method), 40, tmp_path / "out")
    content = read_json(tmp_path / "out" / "config.json")
    assert content["rope_theta"] == 500000.0
    scaling = None if kind == "default" else {"rope_type": kind, **settings, **more}
    assert content["rope_scaling"] == scaling
    assert content.get("original_max_position_embeddings") == (32 if kind == "longrope" else None)
    assert content["torch_dtype"] == content["dtype"] == "float32"
    assert content["tie_word_embeddings"] is False
    read = AutoConfig.from_pretrained(tmp_path / "out")
    assert read.rope_parameters == {**rope, **more}


def test_a_share_of_the_head_that_turns_is_told_too(tmp_path: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}
    dense = save_tiny_model(tmp_path / "dense", rope_parameters=rope)
    prune_stage(job(dense, "magnitude"), 40, tmp_path / "out")
    assert read_json(tmp_path / "out" / "config.json")["partial_rotary_factor"] == 1.0
    assert AutoConfig.from_pretrained(tmp_path / "out").rope_parameters == rope
