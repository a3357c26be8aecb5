"""Cutting a model in place by kept units."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adaptprune.models.anatomy import PROJECTIONS, blocks_of, layers_of
from adaptprune.models.sizes import shape_of_model
from adaptprune.models.tying import is_tied

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adaptprune.pruning.units import KeptUnits


def _keep_rows(linear: nn.Linear, rows: torch.Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[rows].contiguous())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[rows].contiguous())
    linear.out_features = len(rows)


def _keep_columns(linear: nn.Linear, columns: torch.Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[:, columns].contiguous())
    linear.in_features = len(columns)


def head_channels(heads: list[int], head_dim: int) -> torch.Tensor:
    """Return the channels of some heads, in order: [len(heads) × head_dim]."""
    starts = torch.tensor(heads, dtype=torch.long) * head_dim
    return (starts[:, None] + torch.arange(head_dim)).reshape(-1)


#: What a config lists layer by layer.
_PER_LAYER = ("layer_types", "blocks")


def keep_layers(model: Any, numbers: Sequence[int]) -> None:
    """Remove whole decoder layers in place, from the config too.

    Layers are numbered anew, as the cache of keys and values counts them. A config that gives its
    last layers a sliding window says from which one on.

    Args:
        model: a causal language model with an anatomy.
        numbers: of the layers that stay, sorted.
    """
    blocks = blocks_of(model)
    settings = settings_of_layers(model.config, numbers)
    _set_layers(model, [blocks[number] for number in numbers], settings)


def settings_of_layers(config: Any, numbers: Sequence[int]) -> dict[str, Any]:
    """Return what a config is to say of its layers when it has these ones.

    Args:
        config: of a causal language model.
        numbers: of its layers, in their new order.
    """
    settings: dict[str, Any] = {"num_hidden_layers": len(numbers)}
    for key in _PER_LAYER:
        if listed := getattr(config, key, None):
            settings[key] = [listed[number] for number in numbers]
    if hasattr(config, "max_window_layers"):
        first = config.max_window_layers
        settings["max_window_layers"] = sum(number < first for number in numbers)
    return settings


def _set_layers(model: Any, layers: list[Any], settings: dict[str, Any]) -> None:
    """Give a model other layers, and its config what it says of them."""
    blocks = blocks_of(model)
    del blocks[:]
    blocks.extend(layers)
    for index, block in enumerate(blocks):
        for part in block.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = index
    for key, value in settings.items():
        setattr(model.config, key, value)


@contextmanager
def only_layers(model: Any, numbers: Sequence[int]) -> Iterator[None]:
    """Let a model have some of its layers alone, as long as the context lasts.

    Args:
        model: a causal language model with an anatomy.
        numbers: of the layers that it has meanwhile, sorted.
    """
    keys = ("num_hidden_layers", "max_window_layers", *_PER_LAYER)
    settings = {key: getattr(model.config, key) for key in keys if hasattr(model.config, key)}
    layers = list(blocks_of(model))
    keep_layers(model, numbers)
    try:
        yield
    finally:
        _set_layers(model, layers, settings)


def cut_layers(model: Any, kept: KeptUnits) -> None:
    """Remove every layer, kv head (with its query heads) and neuron that is not kept, in place.

    Args:
        model: a supported causal language model. Its config is left alone, but for what it says of
            layers that go.
        kept: units that stay, counted in the model as it is now.

    Raises:
        UserError: the indices do not fit the model.
    """
    shape = shape_of_model(model)
    kept.check(shape)
    if kept.numbers is not None:
        keep_layers(model, kept.numbers)
    with torch.no_grad():
        for layer, units in zip(layers_of(model), kept.layers, strict=True):
            device = layer.key.weight.device
            if len(units.kv_heads) * shape.head_dim < layer.key.out_features:
                keys = head_channels(list(units.kv_heads), shape.head_dim).to(device)
                queries = head_channels(
                    units.query_heads(shape.queries_per_kv_head), shape.head_dim
                ).to(device)
                _keep_rows(layer.query, queries)
                _keep_rows(layer.key, keys)
                _keep_rows(layer.value, keys)
                _keep_columns(layer.output, queries)
            if len(units.mlp) < layer.up.out_features:
                neurons = torch.tensor(units.mlp, dtype=torch.long, device=device)
                _keep_rows(layer.gate, neurons)
                _keep_rows(layer.up, neurons)
                _keep_columns(layer.down, neurons)


def add_biases(model: Any, biases: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give the output and down projections of layers the biases of a method, in place.

    Args:
        model: a supported causal language model.
        biases: layer index → (output projection bias, down projection bias), each [hidden].
    """
    layers = layers_of(model)
    for index, (output_bias, down_bias) in biases.items():
        layer = layers[index]
        for linear, bias in ((layer.output, output_bias), (layer.down, down_bias)):
            total = bias if linear.bias is None else linear.bias.detach() + bias
            linear.bias = nn.Parameter(total.to(linear.weight.dtype).clone())


def expand_kv_heads(model: Any) -> Any:
    """Return the multi-head twin of a GQA model: each kv head repeated for its query heads.

    The function computed is the same; official FLAP, which knows no GQA, can be run on it.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    config.tie_word_embeddings = is_tied(model)
    ratio = config.num_attention_heads // config.num_key_value_heads
    head_dim = layers_of(model)[0].head_dim
    config.num_key_value_heads = config.num_attention_heads
    weights = model.state_dict()
    for name, tensor in weights.items():
        if f".{PROJECTIONS.key}." in name or f".{PROJECTIONS.value}." in name:
            heads = tensor.view(-1, head_dim, *tensor.shape[1:])
            weights[name] = heads.repeat_interleave(ratio, 0).reshape(-1, *tensor.shape[1:])
    twin = type(model)(config).to(model.dtype)
    twin.load_state_dict(weights)
    twin.tie_weights()
    return twin.eval()
