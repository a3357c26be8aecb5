"""SliceGPT: fused and rotated, a model computes the same; sliced, its count is known."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from live_bytes import LiveBytes
from tiny_models import FAMILIES, SHAPES, count_parameters, logits, tiny_model, tiny_tokens

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.method import Context
from baselines import slicegpt
from baselines.slicegpt import SPEC, Slicer, fuse_norms, principal_components, sliced_width

TOKENS = tiny_tokens(5, 9)
CONTEXT = Context(TOKENS, seed=0)
CORRECTED = {"embedding_mean": "corrected", "norm_epsilon": "corrected"}


def rotate(model: Any, **settings: Any) -> Any:
    """Run SliceGPT on a copy at full width: nothing is cut, everything is rotated."""
    width = model.config.hidden_size
    return Slicer(copy.deepcopy(model), TOKENS, width, SPEC.parse(settings)).run()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_full_width_model_computes_the_same_function(family: str, shape: str, tied: bool) -> None:
    model = tiny_model(family, tied=tied, **SHAPES[shape])
    unseen = tiny_tokens(3, 12, seed=1)
    torch.testing.assert_close(
        logits(rotate(model, **CORRECTED), unseen), logits(model, unseen), rtol=0, atol=1e-4
    )


def test_biases_of_every_projection_are_rotated() -> None:
    model = tiny_model("llama", attention_bias=True, mlp_bias=True)
    torch.testing.assert_close(
        logits(rotate(model, **CORRECTED), TOKENS), logits(model, TOKENS), rtol=0, atol=1e-4
    )


def test_official_embedding_mean_changes_the_function() -> None:
    model = tiny_model()
    official = rotate(model, embedding_mean="official", norm_epsilon="corrected")
    assert (logits(official, TOKENS) - logits(model, TOKENS)).abs().max() > 1e-2


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_folded_norms_leave_the_function_alone(family: str, tied: bool) -> None:
    model = tiny_model(family, tied=tied)
    before = logits(model, TOKENS)
    fuse_norms(model, subtract_mean=False)
    torch.testing.assert_close(logits(model, TOKENS), before, rtol=0, atol=1e-4)
    assert all((layer.input_layernorm.weight == 1).all() for layer in model.model.layers)


def test_embedding_rows_have_mean_zero_after_the_official_fold() -> None:
    model = tiny_model()
    fuse_norms(model, subtract_mean=True)
    means = model.model.embed_tokens.weight.mean(-1)
    torch.testing.assert_close(means, torch.zeros_like(means), rtol=0, atol=1e-6)


def test_tied_head_is_untied_before_it_is_folded() -> None:
    model = tiny_model(tied=True)
    embeddings = model.model.embed_tokens.weight.detach().clone()
    fuse_norms(model, subtract_mean=False)
    assert torch.equal(model.model.embed_tokens.weight, embeddings)
    assert not torch.equal(model.lm_head.weight, embeddings)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sparsity", [10, 50, 70])
def test_count_is_the_budget(family: str, tied: bool, sparsity: int) -> None:
    model = tiny_model(family, tied=tied, **SHAPES["grouped"])
    budget = SPEC.budget(shape_of_model(model), sparsity, SPEC.parse({}))
    sliced = SPEC.prune(model, None, sparsity, CONTEXT, SPEC.parse({})).model
    assert count_parameters(sliced) == budget.minimum == budget.maximum
    decoder = sum(parameter.numel() for parameter in sliced.model.layers.parameters())
    assert decoder == budget.decoder


def test_biases_are_in_the_budget() -> None:
    model = tiny_model("llama", attention_bias=True, mlp_bias=True)
    budget = SPEC.budget(shape_of_model(model), 50, SPEC.parse({}))
    sliced = SPEC.prune(model, None, 50, CONTEXT, SPEC.parse({})).model
    assert count_parameters(sliced) == budget.minimum


def test_shapes_of_a_sliced_model() -> None:
    pruned = SPEC.prune(tiny_model(hidden=16, layers=2), None, 50, CONTEXT, SPEC.parse({}))
    model = pruned.model
    first, last = model.model.layers
    assert pruned.width == 8
    assert model.model.embed_tokens.weight.shape == (40, 8)
    assert model.lm_head.weight.shape == (40, 16)
    assert first.attn_shortcut.shape == first.mlp_shortcut.shape == (8, 8)
    assert last.mlp_shortcut.shape == (8, 16)
    assert last.mlp.down_proj.weight.shape == (16, 12)


def test_slicing_keeps_more_of_the_signal_than_chance() -> None:
    """The calibration loss after slicing lies far below that of slicing random directions."""
    model = tiny_model(hidden=32, heads=4, head_dim=8, intermediate=40, layers=2)
    dense = logits(model, TOKENS)
    sliced = SPEC.prune(copy.deepcopy(model), None, 25, CONTEXT, SPEC.parse(CORRECTED)).model
    error = (logits(sliced, TOKENS) - dense).norm() / dense.norm()
    assert error < 0.5


def test_eigenvalues_by_hand() -> None:
    signals = [torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])]
    # Second moment: diag(1, 5); damping adds 0.1 * 3 to both.
    values, vectors = principal_components(signals, damping=0.1)
    assert values.tolist() == pytest.approx([5.3, 1.3])
    assert vectors.abs().tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert values.dtype == vectors.dtype == torch.float64


def test_every_analysis_is_logged() -> None:
    pruned = SPEC.prune(tiny_model(layers=2), None, 50, CONTEXT, SPEC.parse({}))
    assert [entry["place"] for entry in pruned.steps] == [
        "embedding",
        "layer 0 attention",
        "layer 0 mlp",
        "layer 1 attention",
        "layer 1 mlp",
    ]
    for entry in pruned.steps:
        assert entry["eigenvalue_sum"] > 0
        assert 0.5 <= entry["kept_fraction"] <= 1


def test_first_eigenvalue_sum_is_the_energy_of_the_embeddings() -> None:
    model = tiny_model()
    energy = model.model.embed_tokens(TOKENS).double().pow(2).sum().item()
    settings = {"damping": 0, "embedding_mean": "corrected"}
    pruned = SPEC.prune(model, None, 50, CONTEXT, SPEC.parse(settings))
    assert pruned.steps[0]["eigenvalue_sum"] == pytest.approx(energy)


@pytest.mark.parametrize(
    ("hidden", "sparsity", "interval", "width"),
    [(576, 20, 8, 456), (4096, 20, 8, 3272), (2048, 60, 8, 816), (576, 20, 1, 460), (16, 50, 8, 8)],
)
def test_width_is_rounded_down(hidden: int, sparsity: int, interval: int, width: int) -> None:
    assert sliced_width(hidden, sparsity, interval) == width


def test_width_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="no multiple of 8 of the 16 channels"):
        sliced_width(16, 60, 8)


def test_signal_that_is_not_finite_is_reported() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(NumericalError, match="not finite"):
        SPEC.prune(model, None, 50, CONTEXT, SPEC.parse({}))


@pytest.mark.parametrize("tied", [True, False])
def test_float64_copies_are_made_some_rows_at_a_time(
    tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tied=tied, vocabulary=5000)
    whole = SPEC.prune(copy.deepcopy(model), None, 50, CONTEXT, SPEC.parse({})).model.state_dict()
    table = model.lm_head.weight.numel()
    monkeypatch.setattr(slicegpt, "_CHUNK_BYTES", 8 * 16 * 50)
    with LiveBytes(model.parameters()) as live:
        parts = SPEC.prune(model, None, 50, CONTEXT, SPEC.parse({})).model.state_dict()
    # New in float32: head and embedding with folded norm and mean, then both sliced; no float64.
    assert live.peak < 4 * 3.8 * table
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, rtol=0, atol=1e-6)


def test_no_random_weights_are_made_for_the_sliced_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, peaks = tiny_model(layers=4), []
    assemble = Slicer._assemble

    def watched(self: Slicer, tables: Any, shortcuts: Any) -> Any:
        there = [*self.model.parameters(), *tables.values(), *sum(shortcuts, ())]
        with LiveBytes(there) as live:
            made = assemble(self, tables, shortcuts)
        peaks.append(live.peak)
        return made

    monkeypatch.setattr(Slicer, "_assemble", watched)
    before = torch.get_rng_state()
    sliced = SPEC.prune(model, None, 50, CONTEXT, SPEC.parse({})).model
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn"
    assert peaks == [0]
    kinds = {tensor.device.type for tensor in [*sliced.parameters(), *sliced.buffers()]}
    assert kinds == {"cpu"}
