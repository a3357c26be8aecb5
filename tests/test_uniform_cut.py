"""Cutting to a uniform shape keeps exactly the chosen units."""

from __future__ import annotations

import torch
from tiny_models import SHAPES, logits, tiny_model, tiny_tokens

from adaptprune.shapes import BlockShape
from adaptprune.surgery import shape_of_model
from adaptprune.uniform_cut import UniformUnits, cut_uniform
from adaptprune.units import LayerUnits


def test_cut_by_hand() -> None:
    """A model whose removed units contribute nothing computes the same before and after."""
    model = tiny_model(**SHAPES["grouped"], layers=3, tied=True)
    units = LayerUnits((0, 2), (1, 2, 5, 19))
    kept = UniformUnits(tuple(range(36)), (0, 2), (units, units))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[:, 12:24] = 0
            gone = [index for index in range(20) if index not in units.mlp]
            layer.mlp.down_proj.weight[:, gone] = 0
        model.model.layers[1].self_attn.o_proj.weight.zero_()
        model.model.layers[1].mlp.down_proj.weight.zero_()
    small = cut_uniform(model, kept)
    tokens = tiny_tokens()
    torch.testing.assert_close(logits(small, tokens), logits(model, tokens))
    assert shape_of_model(small).blocks == (BlockShape(2, 4),) * 2
    assert small.config.num_attention_heads == 6
    assert kept.to_json(shape_of_model(model))["kept_layers"] == [0, 2]
    assert kept.to_json(shape_of_model(model))["layers"][0]["q_heads"] == [0, 1, 2, 6, 7, 8]


def test_removed_channels_leave_every_weight() -> None:
    model = tiny_model(heads=2, kv_heads=1, hidden=6, layers=1)
    kept = UniformUnits((0, 1, 3, 5), (0,), (LayerUnits((0,), tuple(range(12))),))
    small = cut_uniform(model, kept)
    columns = [0, 1, 3, 5]
    for name in ("model.embed_tokens", "lm_head", "model.layers.0.self_attn.q_proj"):
        dense, cut = model.get_submodule(name).weight, small.get_submodule(name).weight
        assert torch.equal(cut, dense[:, columns])
    for name in ("model.norm", "model.layers.0.mlp.down_proj"):
        dense, cut = model.get_submodule(name).weight, small.get_submodule(name).weight
        assert torch.equal(cut, dense[columns])
