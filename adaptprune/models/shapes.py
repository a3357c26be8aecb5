"""Parameter arithmetic of decoder-only models, from their architecture alone (torch-free).

One unit of attention is a kv head with its query heads; one unit of the MLP is an intermediate
neuron (gate row, up row, down column).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from adaptprune.errors import UserError, unknown

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_PREFIXES = ("adaptprune_", "sliced_")
#: What transformers takes where a config lacks a key; elsewhere as for null: as many kv heads as
#: query heads, and heads that fill the hidden size.
_WHERE_ABSENT: dict[str, dict[str, Any]] = {
    "mistral": {"num_key_value_heads": 8},
    "qwen2": {"num_key_value_heads": 32},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128},
}


@dataclass(frozen=True)
class BlockShape:
    """The prunable size of one decoder layer.

    Args:
        kv_heads: number of key-value heads.
        intermediate_size: number of MLP neurons.
    """

    kv_heads: int
    intermediate_size: int


@dataclass(frozen=True)
class ModelShape:
    """Everything that decides a model's parameter count.

    Args:
        family: stock ``model_type``, one of ``FAMILIES``.
        hidden_size: width of the residual stream.
        vocab_size: number of token embeddings.
        head_dim: channels of one head.
        queries_per_kv_head: query heads that share one kv head (the GQA ratio).
        blocks: shape of each decoder layer.
        tied: whether the output head is the embedding matrix.
        qkv_bias: biases on the q, k and v projections.
        output_bias: bias on the attention's output projection.
        mlp_bias: biases on the three MLP projections.
        head_norm: weights that normalise queries and keys per head (Qwen3).
        added_biases: parameters of all biases that a method gave to projections whose family has
            none there (FLAP); as wide as the residual stream, so cutting units leaves them.
    """

    family: str
    hidden_size: int
    vocab_size: int
    head_dim: int
    queries_per_kv_head: int
    blocks: tuple[BlockShape, ...]
    tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    head_norm: bool
    added_biases: int = 0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ModelShape:
        """Read the shape out of a Hugging Face ``config.json``, also of a heterogeneous model.

        Raises:
            UserError: the architecture is not supported, or a key is missing or no size.
        """
        if not isinstance(config, dict):
            raise UserError("config.json must be a mapping of config keys")
        family = str(config.get("model_type", ""))
        sliced = "sliced" in family
        for prefix in _PREFIXES:
            family = family.removeprefix(prefix)
        if family not in FAMILIES:
            raise unknown("architecture (model_type)", family, FAMILIES)
        if sliced:
            raise UserError("a model sliced by slicegpt cannot be pruned; prune its dense model")
        config = {**_WHERE_ABSENT.get(family, {}), **config}
        heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
        kv_heads = _size(config, "num_key_value_heads", heads)
        dense = BlockShape(kv_heads, _size(config, "intermediate_size"))
        listed = config.get("blocks") or [{}] * _size(config, "num_hidden_layers")
        if not (isinstance(listed, list) and all(isinstance(block, dict) for block in listed)):
            raise UserError("config.json: blocks must be a list of mappings, one for each layer")
        if heads % kv_heads:
            raise UserError(f"{heads} query heads cannot share {kv_heads} kv heads evenly")
        attention_bias = bool(config.get("attention_bias"))
        output_bias = family in ("llama", "qwen3") and attention_bias
        mlp_bias = family == "llama" and bool(config.get("mlp_bias"))
        added = sum(
            (not output_bias and bool(block.get("o_proj_bias")))
            + (not mlp_bias and bool(block.get("down_proj_bias")))
            for block in listed
        )
        return cls(
            family=family,
            hidden_size=hidden,
            vocab_size=_size(config, "vocab_size"),
            head_dim=_size(config, "head_dim", hidden // heads),
            queries_per_kv_head=heads // kv_heads,
            blocks=tuple(
                BlockShape(
                    _size(block, "num_key_value_heads", dense.kv_heads),
                    _size(block, "intermediate_size", dense.intermediate_size),
                )
                for block in listed
            ),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or (family in ("llama", "qwen3") and attention_bias),
            output_bias=output_bias,
            mlp_bias=mlp_bias,
            head_norm=family == "qwen3",
            added_biases=added * hidden,
        )

    def with_blocks(self, blocks: list[BlockShape]) -> ModelShape:
        """Return the same model with other decoder layer shapes."""
        return dataclasses.replace(self, blocks=tuple(blocks))

    def block_parameters(self, block: BlockShape) -> int:
        """Count the parameters of one decoder layer (weights, biases and its norms)."""
        kv_width = block.kv_heads * self.head_dim
        query_width = kv_width * self.queries_per_kv_head
        hidden, neurons = self.hidden_size, block.intermediate_size
        weights = 2 * hidden * query_width + 2 * hidden * kv_width + 3 * hidden * neurons
        biases = (
            self.qkv_bias * (query_width + 2 * kv_width)
            + self.output_bias * hidden
            + self.mlp_bias * (2 * neurons + hidden)
        )
        return weights + biases + 2 * hidden + self.head_norm * 2 * self.head_dim

    @property
    def decoder_parameters(self) -> int:
        """Parameters of all decoder layers."""
        return self.added_biases + sum(self.block_parameters(block) for block in self.blocks)

    @property
    def parameters(self) -> int:
        """Parameters of the whole model, a tied embedding counted once."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        return embeddings + self.hidden_size + self.decoder_parameters

    @property
    def compute_parameters(self) -> int:
        """Parameters that a token is multiplied by: all but the embedding that is looked up.

        A tied embedding is the output head too, and counts.
        """
        return self.parameters - (0 if self.tied else self.vocab_size * self.hidden_size)

    @property
    def channels(self) -> int:
        """Prunable channels: k channels (head_dim per kv head) and neurons of all layers."""
        return sum(b.kv_heads * self.head_dim + b.intermediate_size for b in self.blocks)

    def check_stock(self, done: str) -> None:
        """Refuse a shape that no stock class of the family has: its model was pruned before.

        Args:
            done: what is done to stock models alone, for the message.

        Raises:
            UserError: the layers differ, or a method added biases to them.
        """
        cause = None
        if len(set(self.blocks)) > 1:
            cause = "differ"
        elif self.added_biases:
            cause = "have biases that a pruning method added"
        if cause:
            raise UserError(f"the layers of this model {cause}; only a uniform model is {done}")


def _size(config: dict[str, Any], key: str, default: int | None = None) -> int:
    """Return a size out of a config; an absent one (or null) has its default."""
    value = config.get(key)
    if value is None:
        value = default
    if value is None:
        raise UserError(f"config.json lacks the key {key!r}")
    if type(value) is not int or value < 1:
        raise UserError(f"config.json: {key} must be a positive whole number, not {value!r}")
    return value


def kept_count(initial: int, sparsity: float) -> int:
    """Return the official rounding of what stays: ``int(initial × (1 − sparsity))``.

    Args:
        initial: channels of the dense layer.
        sparsity: fraction to remove, in [0, 1).
    """
    return int(initial * (1 - sparsity))


def layer_target(
    shape: ModelShape, initial: BlockShape, current: BlockShape, sparsity: float
) -> BlockShape:
    """Return what stays of a layer at a sparsity that counts from its dense size.

    Official rounding: the MLP keeps ``int(neurons × (1 − s))``; attention loses the k channels
    above ``int(channels × (1 − s))``, floored to whole kv heads. One unit of each always stays,
    and what is gone does not come back.

    Args:
        shape: the model, for head_dim.
        initial: the layer's dense size.
        current: its size now.
        sparsity: fraction of the dense units to have removed, in [0, 1).
    """
    surplus = current.kv_heads * shape.head_dim - kept_count(
        initial.kv_heads * shape.head_dim, sparsity
    )
    heads = current.kv_heads - max(0, surplus) // shape.head_dim
    neurons = min(current.intermediate_size, kept_count(initial.intermediate_size, sparsity))
    return BlockShape(max(1, heads), max(1, neurons))


def layer_range(shape: ModelShape, start: int, end: int | None) -> range:
    """Return the layers ``start`` to ``end`` (exclusive; None: the last).

    Raises:
        UserError: the range is empty or leaves the model.
    """
    count = len(shape.blocks)
    stop = count if end is None else end
    if not 0 <= start < stop <= count:
        raise UserError(
            f"layer_start {start} and layer_end {stop} (exclusive) must select some of the "
            f"layers 0..{count - 1}"
        )
    return range(start, stop)


def uniform_blocks(shape: ModelShape, sparsity: float, layers: range) -> list[BlockShape]:
    """Cut the chosen layers to one sparsity (fraction), the others stay whole."""
    return [
        layer_target(shape, block, block, sparsity) if index in layers else block
        for index, block in enumerate(shape.blocks)
    ]
