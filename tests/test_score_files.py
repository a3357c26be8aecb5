"""Stored scores are read where they are whole and of the same conditions, and nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from checkpoint_examples import job
from safetensors.torch import save_file
from tiny_models import SHAPES, save_tiny_model

from adaptprune.errors import UserError
from adaptprune.pruning.stage import _read_scores, prune_stage, score_stage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model, three query heads per group."""
    return save_tiny_model(
        tmp_path_factory.mktemp("models") / "llama", "llama", tied=True, **SHAPES["grouped"]
    )


def test_scores_of_other_conditions_are_refused(model: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.safetensors"
    score_stage(job(model, "random", seed=0), [20], scores)
    with pytest.raises(UserError, match=r"scores\.safetensors: made with seed 0, not 1"):
        prune_stage(job(model, "random", seed=1), 20, tmp_path / "out", scores)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [0, 20, 400])
def test_truncated_scores_are_refused(size: int, model: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.safetensors"
    work = job(model, "random")
    score_stage(work, [20], scores)
    scores.write_bytes(scores.read_bytes()[:size])
    with pytest.raises(UserError, match=r"scores\.safetensors"):
        prune_stage(work, 20, tmp_path / "out", scores)


def test_one_flipped_bit_in_scores_is_refused(model: Path, tmp_path: Path) -> None:
    """Wherever it lies: in a tensor, in the log, in what the conditions say, in the status."""
    scores = tmp_path / "scores.safetensors"
    work = job(model, "magnitude")
    score_stage(work, [20], scores)
    content = scores.read_bytes()
    assert _read_scores(scores, work.conditions(model))[0].tensors
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1
        scores.write_bytes(flipped)
        with pytest.raises(UserError, match=r"scores\.safetensors"):
            _read_scores(scores, {})


def test_scores_of_an_older_version_are_refused(model: Path, tmp_path: Path) -> None:
    """They have no hash over all that they say."""
    scores = tmp_path / "scores.safetensors"
    header = {"tensors_sha256": "0", "log": {}, "status": "ok"}
    save_file({"a": torch.zeros(1)}, scores, metadata={"adaptprune": json.dumps(header)})
    with pytest.raises(UserError, match="written by an older version; delete it and run again"):
        prune_stage(job(model, "magnitude"), 20, tmp_path / "out", scores)
