"""Masks of single weights, and the decision that they are."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_model
from weight_models import FAMILIES, NAMES, PATTERNS, decide, model_of

from adaptprune.errors import NumericalError, UserError
from adaptprune.pruning.decisions import Cut, Masked, Sliced, count_nonzeros
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.guard import check_model, check_pruned
from adaptprune.pruning.masks import Mask, masks_hash, read_masks, write_masks
from adaptprune.pruning.method import Pruned
from adaptprune.pruning.patterns import Pattern
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.units import KeptUnits

if TYPE_CHECKING:
    from pathlib import Path


@settings(max_examples=15)
@given(
    family=st.sampled_from(FAMILIES),
    name=st.sampled_from(NAMES),
    pattern=st.sampled_from(PATTERNS),
    quirks=st.sampled_from(["official", "corrected"]),
    seed=st.integers(0, 1000),
)
def test_decision_makes_the_same_model_of_the_dense_one(
    family: str, name: str, pattern: tuple[str, int], quirks: str, seed: int
) -> None:
    dense = model_of(family, seed)
    model, parameters = copy.deepcopy(dense), {"pattern": pattern[0], "ties": quirks}
    decision, _ = decide(name, model, pattern[1], **parameters)
    for _ in range(2):
        decision.apply(dense)
        after = model.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in dense.state_dict().items())


def test_decision_describes_itself() -> None:
    dense = model_of("llama")
    known, model = DenseModel.of(dense), copy.deepcopy(dense)
    decision, _ = decide("wanda", model, pattern="2:4")
    total = sum(outputs * inputs for outputs, inputs in known.weights.values())
    assert decision.describe(known) == {
        "layers": [],
        "pattern": "2:4",
        "weights": total,
        "kept": total // 2,
        "updated": False,
        "masks_sha256": masks_hash(decision.masks),
    }
    assert decision.reached(known, dense) == 0
    assert decision.reached(known, model) == 0.5
    nonzeros = count_nonzeros(dense) - total // 2
    assert decision.counts(model) == {"nonzeros": nonzeros, "pattern": "2:4"}
    assert count_nonzeros(model) == count_nonzeros(dense) - total // 2
    assert decide("sparsegpt", copy.deepcopy(dense))[0].describe(known)["updated"]


def test_decision_that_does_not_fit_is_refused() -> None:
    shapes = {"a": (2, 4), "b": (1, 4)}
    dense = dataclasses.replace(DenseModel.of(model_of("llama")), weights=shapes)
    two_of_four = torch.tensor([[1, 1, 0, 0]], dtype=torch.bool)
    masks = {"a": Mask.pack(two_of_four.repeat(2, 1)), "b": Mask.pack(two_of_four)}
    Masked(Pattern(2, 4), masks, {"b": torch.ones(1, 4)}).check(dense)
    for decision, told in (
        (Masked(Pattern(2, 4), {"a": masks["a"]}), "b has no mask"),
        (Masked(Pattern(2, 4), masks | {"c": masks["b"]}), "c is no weight of a linear layer"),
        (Masked(Pattern(2, 4), masks | {"a": masks["b"]}), r"a has shape \(1, 4\), the model \(2"),
        (Masked(Pattern(1, 4), masks), "a does not follow the pattern 1:4"),
        (Masked(Pattern(2, 4), masks, {"b": torch.ones(4, 1)}), r"b has shape \(4, 1\)"),
        (Masked(Pattern(2, 4), masks, {"c": torch.ones(4, 1)}), r"updated weight c"),
    ):
        with pytest.raises(UserError, match=told):
            decision.check(dense)
    with pytest.raises(NumericalError, match="updated weight b is not finite"):
        Masked(Pattern(2, 4), masks, {"b": torch.full((1, 4), float("nan"))}).check(dense)


@given(rows=st.integers(1, 9), columns=st.integers(1, 17), seed=st.integers(0, 1000))
def test_mask_takes_one_bit_per_weight(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(rows, columns, generator=generator) > 0.5
    mask = Mask.pack(kept)
    assert torch.equal(mask.unpack(), kept)
    assert mask.bits.nbytes == -(-rows * columns // 8)
    assert (mask.weights, mask.kept) == (rows * columns, int(kept.sum()))
    # The first weight in the highest bit, row by row.
    text = "".join(str(int(bit)) for bit in kept.flatten()).ljust(8 * mask.bits.nbytes, "0")
    assert mask.bits.tobytes() == int(text, 2).to_bytes(mask.bits.nbytes, "big")


def test_masks_are_read_as_they_were_written(tmp_path: Path) -> None:
    decision, _ = decide("wanda", model_of("gpt2"), pattern="2:4")
    path = tmp_path / "masks.safetensors"
    write_masks(path, decision.masks, decision.pattern)
    masks, pattern = read_masks(path)
    assert pattern == decision.pattern
    assert list(masks) == list(decision.masks)
    assert masks_hash(masks) == masks_hash(decision.masks)
    weights = sum(mask.weights for mask in masks.values())
    assert path.stat().st_size < weights / 8 + 4000


def test_file_of_masks_that_was_altered_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    with pytest.raises(UserError, match=r"masks\.safetensors: no such file"):
        read_masks(path)
    write_masks(path, {"a": Mask.pack(torch.eye(8, dtype=torch.bool))}, Pattern())
    content = path.read_bytes()
    for broken, told in (
        (content[:-1] + b"\x03", "altered since it was written"),
        (content[:-1], "no file of masks"),
        (content.replace(b"unstructured", b"unstructurec"), "altered since it was written"),
        (content.replace(b"adaptprune", b"adaptprune_"[:10].upper()), "no file of masks"),
        (b"", "no file of masks"),
    ):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=told) as error:
            read_masks(path)
        assert "\n" not in str(error.value)


def test_decisions_are_returned_as_they_are_or_spelled_by_fields() -> None:
    model = tiny_model()
    dense, method = DenseModel.of(model), find_method("magnitude")
    kept = KeptUnits.everything(dense.units)
    for returned in (Cut(kept), Pruned(decision=Cut(kept)), Pruned(kept)):
        assert check_pruned(method, returned, dense).decide() == Cut(kept)
    sliced = check_pruned(method, Pruned(model=model, width=3), dense).decide()
    assert isinstance(sliced, Sliced)
    assert sliced.describe(dense) == {"layers": [], "width": 3}
    with pytest.raises(UserError, match="one of the two"):
        check_pruned(method, Pruned(kept, decision=Cut(kept)), dense)
    with pytest.raises(UserError, match="must return a decision, not str"):
        check_pruned(method, Pruned(decision="cut"), dense)
    with pytest.raises(UserError, match=r"the pruned model is 16 wide; its width is said to be 3"):
        check_model(method, sliced.apply(model), sliced, dense)
