"""Cutting a model to a uniform shape: residual channels, layers, heads and neurons at once.

Everything happens on named tensors, so what has the shape of the weights (moments, say) is cut by
the same function.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

from adaptprune.checkpoint import stock_config
from adaptprune.surgery import head_channels, shape_of_model
from adaptprune.units import KeptUnits, LayerUnits

if TYPE_CHECKING:
    from adaptprune.shapes import ModelShape

#: Module → what its rows and its columns (output and input channels) are counted in.
PLACES: dict[str, tuple[str | None, str | None]] = {
    "embed_tokens": (None, "hidden"),
    "lm_head": (None, "hidden"),
    "norm": ("hidden", None),
    "input_layernorm": ("hidden", None),
    "post_attention_layernorm": ("hidden", None),
    "q_proj": ("queries", "hidden"),
    "k_proj": ("keys", "hidden"),
    "v_proj": ("keys", "hidden"),
    "q_norm": (None, None),
    "k_norm": (None, None),
    "o_proj": ("hidden", "queries"),
    "gate_proj": ("neurons", "hidden"),
    "up_proj": ("neurons", "hidden"),
    "down_proj": ("hidden", "neurons"),
}
_LAYERS = "model.layers."


@dataclass(frozen=True)
class UniformUnits:
    """What stays of a model, as sorted indices counted in that model.

    Args:
        hidden: channels of the residual stream.
        layers: decoder layers.
        units: heads and neurons of each of these layers, equally many in all.
    """

    hidden: tuple[int, ...]
    layers: tuple[int, ...]
    units: tuple[LayerUnits, ...]

    def shape(self, dense: ModelShape) -> ModelShape:
        """Return the shape of what stays of a model of shape ``dense``."""
        blocks = tuple(KeptUnits(self.units).blocks())
        return dataclasses.replace(dense, hidden_size=len(self.hidden), blocks=blocks)

    def to_json(self, shape: ModelShape) -> dict[str, Any]:
        """Return the content of ``kept.json``; ``layers`` lists the kept layers alone."""
        content = KeptUnits(self.units).to_json(shape)
        return content | {"hidden": list(self.hidden), "kept_layers": list(self.layers)}


def module_of(name: str) -> tuple[int | None, str]:
    """Return the layer and the module that a tensor of a model belongs to.

    Args:
        name: e.g. ``model.layers.3.mlp.up_proj.weight``: (3, ``up_proj``).
    """
    parts = name.split(".")
    return int(parts[2]) if name.startswith(_LAYERS) else None, parts[-2]


def select(
    tensors: dict[str, torch.Tensor], kept: UniformUnits, shape: ModelShape
) -> dict[str, torch.Tensor]:
    """Cut named tensors of a model, and count its layers anew.

    Args:
        tensors: weights, or what has their names and shapes.
        kept: what stays.
        shape: the model's, before the cut.
    """
    hidden = torch.tensor(kept.hidden)
    result = {}
    for name, tensor in tensors.items():
        layer, module = module_of(name)
        indices: dict[str | None, torch.Tensor] = {"hidden": hidden}
        if layer is not None:
            if layer not in kept.layers:
                continue
            place = kept.layers.index(layer)
            units = kept.units[place]
            queries = units.query_heads(shape.queries_per_kv_head)
            indices["queries"] = head_channels(queries, shape.head_dim)
            indices["keys"] = head_channels(list(units.kv_heads), shape.head_dim)
            indices["neurons"] = torch.tensor(units.mlp)
            name = f"{_LAYERS}{place}.{name.split('.', 3)[3]}"
        for dimension, unit in enumerate(PLACES[module][: tensor.dim()]):
            if unit is not None:
                tensor = tensor.index_select(dimension, indices[unit].to(tensor.device))
        result[name] = tensor
    return result


def cut_uniform(
    model: Any, kept: UniformUnits, weights: dict[str, torch.Tensor] | None = None
) -> Any:
    """Return the stock model that stays of a model; its logits are those of the masked model.

    Args:
        model: a causal language model whose layers are alike; it is left alone.
        kept: what stays.
        weights: its state dict, where other values are to be cut than those that it has.
    """
    shape = shape_of_model(model)
    config = stock_config(model.config, kept.shape(shape), kept.layers)
    with torch.random.fork_rng(devices=[]):
        cut = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    dense = model.state_dict() if weights is None else weights
    with torch.no_grad():
        cut.load_state_dict(select(dense, kept, shape))
    return cut.to(model.device).train(model.training)
