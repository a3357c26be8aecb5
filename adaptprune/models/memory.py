"""What the suite takes of a device's memory, counted from a model's shape.

The counts were found by measuring live tensors on small models of many widths, and a test measures
them again; they hold for any width. Tensors alone are counted: what a driver, a library and the
gaps between blocks take comes besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape

#: Bytes of a number, by the name of its type.
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
#: Tokens of a micro-batch that goes layer by layer, at most: more make a GPU no faster, and a fixed
#: number gives the same sums on every card that has the room.
LAYER_BATCH = 8192
#: Positions whose logits exist at once while the loss is computed, and bytes of each logit then.
_LOSS_CHUNK, _LOGIT_BYTES = 128, 16
#: Share of a GPU's free memory that is planned with: blocks of other sizes leave gaps.
USABLE = 0.9
#: Bytes of a GPU that its driver and libraries take (an estimate).
DRIVER = 0.5e9


@dataclass(frozen=True)
class LayerPass:
    """Bytes of a gradient pass that goes layer by layer, besides the weights.

    Attributes:
        inputs: of one layer for all tokens; they wait on the device or in the host's memory.
        gradients: of one layer's weights in float32, with what reading them takes.
        in_layer: a token's activations in one layer, whose norms are computed in float32.
        logits: of a chunk of positions, with their gradients.
        at_head: a token's states where the loss is computed, and where layer importance is.
    """

    inputs: int
    gradients: int
    in_layer: int
    logits: int
    at_head: int

    def on_device(self, batch: int) -> int:
        """Return what ``batch`` tokens at once take on the device.

        The inputs of the layers wait elsewhere; the gradient of all tokens is as large as one's.
        """
        layer = self.gradients + self.in_layer * batch
        return self.inputs + max(layer, self.logits + self.at_head * batch)


def layer_pass(shape: ModelShape, itemsize: int, tokens: int) -> LayerPass:
    """Return what a gradient pass that goes layer by layer takes.

    Args:
        shape: of the model.
        itemsize: bytes of a weight.
        tokens: of all micro-batches.
    """
    hidden = shape.hidden_size
    keys = max(block.kv_heads for block in shape.blocks) * shape.head_dim
    queries = keys * shape.queries_per_kv_head
    neurons = max(block.intermediate_size for block in shape.blocks)
    layer = max(shape.block_parameters(block) for block in shape.blocks)
    return LayerPass(
        inputs=tokens * hidden * itemsize,
        gradients=4 * layer + (4 + itemsize) * hidden * max(neurons, queries),
        in_layer=itemsize * (6 * neurons + 5 * hidden + 2 * queries + 2 * keys) + 12 * hidden,
        logits=_LOSS_CHUNK * shape.vocab_size * _LOGIT_BYTES,
        at_head=(4 * itemsize + 40) * hidden,
    )


def pruning_bytes(shape: ModelShape, dtype: str, tokens: int) -> float:
    """Return the memory that a GPU needs to prune a model.

    The gradients of Adapt-Pruner and LLM-Pruner take most of all methods: their pass goes layer by
    layer, in micro-batches of the usual size, and the inputs of layers wait in the host's memory.

    Args:
        shape: of the dense model.
        dtype: of its weights.
        tokens: of the calibration set.
    """
    size = BYTES[dtype]
    batch = layer_pass(shape, size, tokens).on_device(min(LAYER_BATCH, tokens))
    return DRIVER + size * shape.parameters + batch / USABLE


def host_bytes(shape: ModelShape, dtype: str, tokens: int) -> float:
    """Return the host's memory that pruning on a GPU takes.

    The weights pass through it, and the inputs of layers may wait there.

    Args:
        shape: of the dense model.
        dtype: of its weights.
        tokens: of the calibration set.
    """
    size = BYTES[dtype]
    inputs = len(shape.blocks) * layer_pass(shape, size, tokens).inputs
    return max(size * shape.parameters, inputs)
