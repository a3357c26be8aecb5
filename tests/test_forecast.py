"""What `doctor` predicts: operations, seconds and bytes by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doctor_examples import RATES, subject

from adaptprune.doctor.forecast import (
    CELL_BYTES,
    EVALUATION_S,
    JOB_S,
    Tokens,
    evaluation_seconds,
    evaluation_tokens,
    predict,
    pruning_seconds,
)
from adaptprune.doctor.rates import Rates, measure_rates, sample_architecture
from adaptprune.errors import UserError
from adaptprune.models.catalogue import catalogue, shape_of
from adaptprune.models.shapes import ModelShape
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]


def test_evaluation_by_hand() -> None:
    shape = shape_of("tiny-llama")
    decoder, head = shape.decoder_parameters, shape.compute_parameters - shape.decoder_parameters
    seconds = evaluation_seconds(shape, 50, Tokens(tasks=100, prose=10), RATES)
    # Half of the decoder for all tokens, the whole head for the prose.
    assert seconds == pytest.approx(EVALUATION_S + (decoder * 110 + 2 * head * 10) / 1e9)


@pytest.mark.parametrize(
    ("method", "operations"),
    [
        ("dense", 0),
        ("random", 0),
        ("magnitude", 0),
        # 8 sequences of 32 tokens; gradients cost 6N and run at half the rate.
        ("llm-pruner", 6 * 256 * 2),
        ("flap", 2 * 256),
    ],
)
def test_passes_by_hand(tmp_path: Path, method: str, operations: float) -> None:
    shape = shape_of("tiny-llama")
    seconds = pruning_seconds(subject(tmp_path).profile, method, shape, 20, RATES)
    assert seconds == pytest.approx(operations * shape.compute_parameters / 1e9)


def refuses(*arguments: object) -> None:
    raise KeyError("size")


@pytest.mark.parametrize(
    ("passes", "told"),
    [
        (refuses, "failed: KeyError: 'size'"),
        (lambda *arguments: 3, "passes must return Passes, not int"),
    ],
)
def test_method_that_cannot_tell_its_passes_is_named(
    passes: Callable[..., Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, shape = subject(tmp_path).profile, shape_of("tiny-llama")
    monkeypatch.setattr(type(find_method("llm-pruner")), "passes", passes)
    with pytest.raises(UserError, match=f"method 'llm-pruner':? {told}") as error:
        pruning_seconds(profile, "llm-pruner", shape, 20, RATES)
    assert "\n" not in str(error.value)


def test_steps_and_decompositions_by_hand(tmp_path: Path) -> None:
    profile, shape = subject(tmp_path).profile, shape_of("tiny-llama")
    size = shape.compute_parameters - shape.decoder_parameters * 0.2  # half of the way to 40 %
    walk = pruning_seconds(profile, "adapt-pruner", shape, 40, RATES)
    assert walk == pytest.approx(4 * 6 * size * 256 / 5e8, rel=1e-6)
    rotations = 2 * len(shape.blocks) + 1
    operations = 4 * shape.compute_parameters * 256 + 140 * shape.hidden_size**3 * rotations
    sliced = pruning_seconds(profile, "slicegpt", shape, 20, RATES)
    assert sliced == pytest.approx(operations / 1e9)


def test_a_matrix_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    chosen = subject(tmp_path, methods=["dense", "llm-pruner"]).profile
    endless = Rates(forward=1e30, gradient=1e30, stored=1e30)
    forecast = predict(chosen, endless, at_once=2)
    # Dense, and two sparsities at two seeds that share the scores of their seed.
    assert forecast.cells == 5
    assert forecast.job_seconds == {
        "prune": pytest.approx(5 * JOB_S),
        "score": pytest.approx(2 * JOB_S),
        "evaluate": pytest.approx(5 * (JOB_S + EVALUATION_S)),
    }
    assert forecast.seconds == pytest.approx((12 * JOB_S + 5 * EVALUATION_S) / 2)
    weights = 4 * shape_of("tiny-llama").parameters
    assert forecast.bytes == 2 * 2 * weights + 5 * CELL_BYTES
    moved = predict(chosen, Rates(1e30, 1e30, weights), at_once=1)
    assert moved.job_seconds["prune"] == pytest.approx(5 * (JOB_S + 2))


def test_documents_in_the_cache_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptprune.data.sources import ensure_source

    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    profile = subject(tmp_path).profile
    # 12 documents of two tasks of 114 tokens; 6 passages, scored once more in windows.
    assert evaluation_tokens(profile) == Tokens(2 * 12 * 114, 2 * 6 * 4700)
    ensure_source("tiny")
    counted = evaluation_tokens(profile)
    assert 2 * 12 * 10 < counted.tasks < 2 * 12 * 40
    assert 2 * 6 * 20 < counted.prose < 2 * 6 * 60


def test_the_sample_is_one_layer_of_the_model(tmp_path: Path) -> None:
    architecture = catalogue()["smollm2-135m"].architecture
    whole = ModelShape.from_config(architecture)
    sample = ModelShape.from_config(sample_architecture(architecture))
    assert sample.decoder_parameters * 30 == whole.decoder_parameters
    rates = measure_rates(subject(tmp_path).profile, "tiny-llama", tmp_path, seconds=0.01)
    assert min(rates.forward, rates.gradient, rates.stored) > 0


# The command
