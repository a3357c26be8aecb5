"""Cutting a uniform model along all its axes to a smaller uniform shape of the stock class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM

from adaptprune import modeling
from adaptprune.errors import UserError
from adaptprune.models.anatomy import (
    EMBEDDING_WEIGHT,
    FINAL_NORM_WEIGHT,
    HEAD_NORMS,
    HEAD_WEIGHT,
    ends_of_projections,
    layer_prefix,
)
from adaptprune.pruning.surgery import head_channels, settings_of_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.models.shapes import ModelShape


@dataclass(frozen=True)
class LayerCut:
    """What stays of one layer, as sorted indices of the model that is cut.

    Args:
        layer: which layer it is.
        kv_heads: kept kv heads.
        query_heads: kept query heads; equally many of every kept kv head.
        neurons: kept intermediate neurons.
    """

    layer: int
    kv_heads: tuple[int, ...]
    query_heads: tuple[int, ...]
    neurons: tuple[int, ...]


@dataclass(frozen=True)
class UniformCut:
    """What stays of a whole model.

    Args:
        hidden: kept channels of the residual stream, sorted.
        layers: the kept layers in order, equally large.
    """

    hidden: tuple[int, ...]
    layers: tuple[LayerCut, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``kept.json``."""
        return {
            "layers": [
                {
                    "layer": cut.layer,
                    "kv_heads": list(cut.kv_heads),
                    "q_heads": list(cut.query_heads),
                    "mlp": list(cut.neurons),
                }
                for cut in self.layers
            ],
            "hidden": list(self.hidden),
        }


def uniform_config(config: Any, shape: ModelShape, layers: Sequence[int] | None = None) -> Any:
    """Return a stock config of a uniform shape that is otherwise like another one.

    Args:
        config: of a model of the same family.
        shape: the shape to have.
        layers: which of the config's layers stay; None for the first ones, repeated as needed.

    Raises:
        UserError: the stock class refuses the shape.
    """
    block, count = shape.blocks[0], len(shape.blocks)
    stock = modeling.FAMILIES[shape.family][0].config_class.__base__
    left_out = ("blocks", "auto_map", "architectures")
    wanted = range(count) if layers is None else layers
    chosen = [number % config.num_hidden_layers for number in wanted]
    content = config.to_dict() | settings_of_layers(config, chosen)
    content = {key: value for key, value in content.items() if key not in left_out}
    content |= {
        "model_type": shape.family,
        "hidden_size": shape.hidden_size,
        "num_attention_heads": block.kv_heads * shape.queries_per_kv_head,
        "num_key_value_heads": block.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": block.intermediate_size,
        "tie_word_embeddings": shape.tied,
    }
    try:
        return stock.from_dict(content)
    except ValueError as error:
        raise UserError(f"target shape: {error}") from None


def cut_to_shape(model: Any, cut: UniformCut, shape: ModelShape) -> Any:
    """Return a stock model of the units that stay; weights are taken over unchanged.

    RMS norms keep their weights and take their mean over the channels that stay.

    Args:
        model: a uniform stock model.
        cut: what stays.
        shape: the uniform shape that it makes.
    """
    config = uniform_config(model.config, shape, [layer.layer for layer in cut.layers])
    smaller: Any = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    hidden = torch.tensor(cut.hidden)
    source = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    state = {
        EMBEDDING_WEIGHT: source[EMBEDDING_WEIGHT][:, hidden],
        FINAL_NORM_WEIGHT: source[FINAL_NORM_WEIGHT][hidden],
        HEAD_WEIGHT: source[HEAD_WEIGHT][:, hidden],
    }
    for index, layer in enumerate(cut.layers):
        before, after = layer_prefix(layer.layer), layer_prefix(index)
        for name, tensor in source.items():
            if name.startswith(before):
                key = name.removeprefix(before)
                state[after + key] = _cut_tensor(key, tensor, layer, hidden, shape.head_dim)
    smaller.load_state_dict(state)
    smaller.tie_weights()
    return smaller.to(model.device).eval()


def _cut_tensor(
    key: str, tensor: torch.Tensor, layer: LayerCut, hidden: torch.Tensor, head_dim: int
) -> torch.Tensor:
    """Return what stays of one weight or bias of a layer, by its name within the layer."""
    queries = head_channels(list(layer.query_heads), head_dim)
    keys = head_channels(list(layer.kv_heads), head_dim)
    neurons = torch.tensor(layer.neurons)
    projections = ends_of_projections(hidden, queries, keys, neurons)
    name = key.rpartition(".")[0]
    if name in projections:
        outputs, inputs = projections[name]
        return tensor[outputs] if key.endswith("bias") else tensor[outputs][:, inputs]
    # Norms of queries and keys run over a head, which stays whole.
    return tensor if name in HEAD_NORMS else tensor[hidden]
