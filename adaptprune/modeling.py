"""Checkpoint classes of pruned models, loadable with ``AutoModelForCausalLM``.

This file imports torch and transformers alone, because it is copied beside the weights: a
checkpoint loads after ``import adaptprune.modeling``, or without this package through
``trust_remote_code=True``.

Two kinds of model are defined for each family. In a *heterogeneous* model the decoder layers
differ in their number of heads and neurons: the config keeps the dense numbers in the standard
fields and lists in ``blocks`` what differs, and every layer is the stock layer class built from
a per-block copy of the config. A *sliced* model (SliceGPT) has a narrower residual stream and a
rotation on each shortcut.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers
from torch import nn

#: The oldest version of transformers that has been tried (benchmarks/older_transformers.py).
OLDEST = (4, 55)
if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < OLDEST:
    raise ImportError(
        f"a checkpoint of adaptprune with a class of its own needs transformers {OLDEST[0]}."
        f"{OLDEST[1]} or newer, not {transformers.__version__}"
    )

from transformers import (  # noqa: E402 - older versions lack some of these
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.modeling_layers import GradientCheckpointingLayer  # noqa: E402


class _PrunedModel:
    """Mends what transformers does for one config shared by all layers."""

    # What the stock class beside this one in the bases brings.
    config: Any
    model: Any
    modules: Any
    post_init: Any

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """Set the attention implementation, in the per-block configs too."""
        stock: Any = super()
        stock.set_attn_implementation(attn_implementation, *args, **kwargs)
        for module in self.modules():
            block_config = getattr(module, "config", None)
            if block_config is not None and block_config is not self.config:
                block_config._attn_implementation = self.config._attn_implementation


def _with_bias(linear: nn.Linear) -> nn.Linear:
    """Return a linear layer of the same shape that has a bias."""
    return nn.Linear(
        linear.in_features,
        linear.out_features,
        bias=True,
        device=linear.weight.device,
        dtype=linear.weight.dtype,
    )


#: Keys of a block that name an extra bias (FLAP) and the linear layer that carries it.
EXTRA_BIASES = {"o_proj_bias": ("self_attn", "o_proj"), "down_proj_bias": ("mlp", "down_proj")}


class _HeterogeneousModel(_PrunedModel):
    """A causal language model whose decoder layers follow ``config.blocks``."""

    def __init__(self, config: Any):
        stock: Any = super()
        stock.__init__(config)
        for index, stock_layer in enumerate(self.model.layers):
            layer = type(stock_layer)(self._block_config(config, index), index)
            for key, (parent, name) in EXTRA_BIASES.items():
                if config.blocks[index].get(key):
                    module = getattr(layer, parent)
                    setattr(module, name, _with_bias(getattr(module, name)))
            self.model.layers[index] = layer
        self.post_init()

    def _block_config(self, config: Any, index: int) -> Any:
        block_config = copy.copy(config)
        for key, value in config.blocks[index].items():
            if key not in EXTRA_BIASES:
                setattr(block_config, key, value)
        return block_config


class UnweightedRMSNorm(nn.Module):
    """RMS normalisation without weights whose mean runs over the width before slicing.

    Args:
        width: the divisor of the sum of squares (the dense hidden size).
        epsilon: added to the mean square.
    """

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.width = width
        self.epsilon = epsilon

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise the last dimension of ``hidden_states``."""
        values = hidden_states.to(torch.float32)
        mean_square = values.pow(2).sum(-1, keepdim=True) / self.width
        return (values * torch.rsqrt(mean_square + self.epsilon)).to(hidden_states.dtype)


class SlicedDecoderLayer(GradientCheckpointingLayer):
    """A decoder layer whose two shortcuts are multiplied by a (sliced) rotation.

    Args:
        layer: a stock layer built for the sliced width.
        width: size of the residual stream that enters the layer.
        output_width: size of the residual stream that leaves it.
        config: the sliced model's config.
    """

    def __init__(self, layer: Any, width: int, output_width: int, config: Any):
        super().__init__()
        self.self_attn = layer.self_attn
        self.mlp = layer.mlp
        self.input_layernorm = UnweightedRMSNorm(config.hidden_size, config.sliced_norm_epsilon)
        self.post_attention_layernorm = UnweightedRMSNorm(
            config.hidden_size, config.sliced_norm_epsilon
        )
        self.attn_shortcut = nn.Parameter(torch.empty(width, width))
        self.mlp_shortcut = nn.Parameter(torch.empty(width, output_width))
        if output_width != width:
            down = self.mlp.down_proj
            self.mlp.down_proj = nn.Linear(down.in_features, output_width, down.bias is not None)
        # Stock models of some families read the layer's kind of attention mask from it.
        if hasattr(layer, "attention_type"):
            self.attention_type = layer.attention_type

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Map the residual stream [batch, length, width] to [batch, length, output_width]."""
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states @ self.attn_shortcut + attended
        transformed = self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states @ self.mlp_shortcut + transformed


class _SlicedModel(_PrunedModel):
    """A causal language model whose residual stream is ``config.sliced_width`` wide.

    The last layer widens the stream to the dense hidden size again, so that the output head is
    not sliced. Config keys: ``sliced_width``, ``sliced_norm_epsilon``.
    """

    def __init__(self, config: Any):
        stock: Any = super()
        stock.__init__(config)
        width = config.sliced_width
        narrow = copy.copy(config)
        narrow.hidden_size = width
        self.model.embed_tokens = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        last = config.num_hidden_layers - 1
        for index, stock_layer in enumerate(self.model.layers):
            output_width = config.hidden_size if index == last else width
            layer = type(stock_layer)(narrow, index)
            self.model.layers[index] = SlicedDecoderLayer(layer, width, output_width, config)
        self.model.norm = UnweightedRMSNorm(config.hidden_size, config.sliced_norm_epsilon)
        self.post_init()


class AdaptPruneLlamaConfig(LlamaConfig):
    """Config of a heterogeneous Llama."""

    model_type = "adaptprune_llama"
    blocks: list | None = None


class AdaptPruneMistralConfig(MistralConfig):
    """Config of a heterogeneous Mistral."""

    model_type = "adaptprune_mistral"
    blocks: list | None = None


class AdaptPruneQwen2Config(Qwen2Config):
    """Config of a heterogeneous Qwen2."""

    model_type = "adaptprune_qwen2"
    blocks: list | None = None


class AdaptPruneQwen3Config(Qwen3Config):
    """Config of a heterogeneous Qwen3."""

    model_type = "adaptprune_qwen3"
    blocks: list | None = None


class SlicedLlamaConfig(LlamaConfig):
    """Config of a sliced Llama."""

    model_type = "adaptprune_sliced_llama"
    sliced_width: int | None = None
    sliced_norm_epsilon: float | None = None


class SlicedMistralConfig(MistralConfig):
    """Config of a sliced Mistral."""

    model_type = "adaptprune_sliced_mistral"
    sliced_width: int | None = None
    sliced_norm_epsilon: float | None = None


class SlicedQwen2Config(Qwen2Config):
    """Config of a sliced Qwen2."""

    model_type = "adaptprune_sliced_qwen2"
    sliced_width: int | None = None
    sliced_norm_epsilon: float | None = None


class SlicedQwen3Config(Qwen3Config):
    """Config of a sliced Qwen3."""

    model_type = "adaptprune_sliced_qwen3"
    sliced_width: int | None = None
    sliced_norm_epsilon: float | None = None


class AdaptPruneLlamaForCausalLM(_HeterogeneousModel, LlamaForCausalLM):
    """A Llama with per-layer shapes."""

    config_class = AdaptPruneLlamaConfig


class AdaptPruneMistralForCausalLM(_HeterogeneousModel, MistralForCausalLM):
    """A Mistral with per-layer shapes."""

    config_class = AdaptPruneMistralConfig


class AdaptPruneQwen2ForCausalLM(_HeterogeneousModel, Qwen2ForCausalLM):
    """A Qwen2 with per-layer shapes."""

    config_class = AdaptPruneQwen2Config


class AdaptPruneQwen3ForCausalLM(_HeterogeneousModel, Qwen3ForCausalLM):
    """A Qwen3 with per-layer shapes."""

    config_class = AdaptPruneQwen3Config


class SlicedLlamaForCausalLM(_SlicedModel, LlamaForCausalLM):
    """A Llama with a sliced residual stream."""

    config_class = SlicedLlamaConfig


class SlicedMistralForCausalLM(_SlicedModel, MistralForCausalLM):
    """A Mistral with a sliced residual stream."""

    config_class = SlicedMistralConfig


class SlicedQwen2ForCausalLM(_SlicedModel, Qwen2ForCausalLM):
    """A Qwen2 with a sliced residual stream."""

    config_class = SlicedQwen2Config


class SlicedQwen3ForCausalLM(_SlicedModel, Qwen3ForCausalLM):
    """A Qwen3 with a sliced residual stream."""

    config_class = SlicedQwen3Config


#: Stock ``model_type`` → (heterogeneous model class, sliced model class).
FAMILIES: dict[str, tuple[Any, Any]] = {
    "llama": (AdaptPruneLlamaForCausalLM, SlicedLlamaForCausalLM),
    "mistral": (AdaptPruneMistralForCausalLM, SlicedMistralForCausalLM),
    "qwen2": (AdaptPruneQwen2ForCausalLM, SlicedQwen2ForCausalLM),
    "qwen3": (AdaptPruneQwen3ForCausalLM, SlicedQwen3ForCausalLM),
}

for _classes in FAMILIES.values():
    for _class in _classes:
        _config: Any = _class.config_class
        AutoConfig.register(_config.model_type, _config, exist_ok=True)
        AutoModelForCausalLM.register(_config, _class, exist_ok=True)
