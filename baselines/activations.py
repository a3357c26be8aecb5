"""Importances from activations, as Minitron takes them ([1] arXiv 2407.14679, section 2.2).

One pass over calibration data measures all axes:

- a head by the L2 norm of its attention output, the input of the output projection;
- a neuron by the absolute value of its activation, for a gated MLP the input of the down
  projection (gate and up multiplied);
- a channel of the residual stream by the absolute value of the output of the RMS norms before
  attention and MLP, summed over both norms of all layers;
- a layer by block influence, 1 − the mean cosine of its input and output, or, with one pass per
  layer, by the rise of the loss when it is left out.

Values are summed up over the tokens of a sequence and then over the sequences, by mean or L2 norm.
Under grouped-query attention a kv head is worth the sum of its query heads.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from adaptprune.errors import NumericalError
from adaptprune.models.anatomy import blocks_of, hooked, layers_of, stream_in, stream_out
from adaptprune.recovery.cutting import LayerCut, UniformCut

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape


@dataclass(frozen=True)
class Importances:
    """What every unit of a model is worth.

    Args:
        heads: per layer [query heads].
        neurons: per layer [neurons].
        hidden: [hidden size].
        layers: one number per layer, None where no layer is dropped.
        loss: mean calibration loss of the whole model (nats).
        passes: forward passes over the calibration data that this took.
    """

    heads: list[torch.Tensor]
    neurons: list[torch.Tensor]
    hidden: torch.Tensor
    layers: list[float] | None
    loss: float
    passes: int


def aggregate(values: torch.Tensor, dimension: int, how: str) -> torch.Tensor:
    """Sum absolute values up along one dimension: ``mean``, or ``l2`` for the L2 norm."""
    if how == "l2":
        return values.norm(dim=dimension)
    return values.abs().mean(dimension)


def measure(
    model: Any,
    tokens: torch.Tensor,
    *,
    batch_aggregation: str,
    sequence_aggregation: str,
    depth: str | None,
    batch: int,
) -> Importances:
    """Measure the importance of every unit of a model.

    Args:
        model: a uniform stock model in evaluation mode.
        tokens: calibration token ids [sequences, length] on its device.
        batch_aggregation: ``l2`` or ``mean`` over sequences.
        sequence_aggregation: ``l2`` or ``mean`` over the tokens of a sequence.
        depth: ``block-influence``, ``loss``, or None to leave the layers unmeasured.
        batch: sequences of one forward pass.

    Raises:
        NumericalError: an importance or the loss is not finite.
    """
    recorder = _Recorder(model, sequence_aggregation)
    with hooked(before=recorder.before, after=recorder.after):
        loss = _mean_loss(model, tokens, batch)
    summed = {
        key: aggregate(torch.cat(rows), 0, batch_aggregation)
        for key, rows in recorder.sequences.items()
    }
    count = len(blocks_of(model))
    hidden = torch.stack([value for (kind, _), value in summed.items() if kind == "norm"]).sum(0)
    layers, passes = None, 1
    if depth == "block-influence":
        layers = [1 - torch.cat(recorder.cosines[i]).mean().item() for i in range(count)]
    elif depth == "loss":
        layers = [_loss_without(model, tokens, index, batch) - loss for index in range(count)]
        passes += count
    found = Importances(
        heads=[summed["heads", index] for index in range(count)],
        neurons=[summed["neurons", index] for index in range(count)],
        hidden=hidden,
        layers=layers,
        loss=loss,
        passes=passes,
    )
    for tensor in (*found.heads, *found.neurons, hidden, torch.tensor([loss, *(layers or [])])):
        if not tensor.isfinite().all():
            raise NumericalError("an importance from activations is not finite")
    return found


class _Recorder:
    """Sums every unit's activation up over the tokens of each sequence."""

    def __init__(self, model: Any, how: str):
        self.how = how
        #: (kind, place) → rows [sequences, units]
        self.sequences: dict[tuple[str, int], list[torch.Tensor]] = defaultdict(list)
        #: layer → cosines [sequences, length]
        self.cosines: dict[int, list[torch.Tensor]] = defaultdict(list)
        #: What is to be called before and after which module.
        self.before: dict[Any, Any] = {}
        self.after: dict[Any, Any] = {}
        for index, layer in enumerate(layers_of(model)):
            self.before[layer.output] = self._heads(index, layer.head_dim)
            self.before[layer.down] = self._neurons(index)
            self.after[layer.attention_norm] = self._norm(2 * index)
            self.after[layer.mlp_norm] = self._norm(2 * index + 1)
            self.after[layer.module] = self._block(index)

    def _keep(self, kind: str, place: int, values: torch.Tensor) -> None:
        self.sequences[kind, place].append(aggregate(values.float(), 1, self.how))

    def _heads(self, index: int, head_dim: int) -> Any:
        def hook(_: Any, inputs: Any, __: Any) -> None:
            heads = inputs[0].float().unflatten(-1, (-1, head_dim))
            self._keep("heads", index, heads.norm(dim=-1))

        return hook

    def _neurons(self, index: int) -> Any:
        return lambda _, inputs, __: self._keep("neurons", index, inputs[0])

    def _norm(self, place: int) -> Any:
        return lambda _, inputs, __, output: self._keep("norm", place, output)

    def _block(self, index: int) -> Any:
        def hook(_: Any, inputs: Any, named: Any, output: Any) -> None:
            before, after = stream_in(inputs, named), stream_out(output)
            cosine = F.cosine_similarity(before.float(), after.float(), dim=-1)
            self.cosines[index].append(cosine)

        return hook


def _mean_loss(model: Any, tokens: torch.Tensor, batch: int) -> float:
    """Return the mean next-token cross-entropy (nats)."""
    total = 0.0
    with torch.no_grad():
        for rows in tokens.split(batch):
            logits = model(input_ids=rows, use_cache=False).logits[:, :-1].float()
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            total += loss.item() * len(rows)
    return total / len(tokens)


def _loss_without(model: Any, tokens: torch.Tensor, index: int, batch: int) -> float:
    """Return the mean loss of a model with one layer left out."""
    with hooked(after={blocks_of(model)[index]: _skip}):
        return _mean_loss(model, tokens, batch)


def _skip(_: Any, inputs: Any, named: Any, output: Any) -> Any:
    """Let a layer give out what it was given."""
    given = stream_in(inputs, named)
    return given if isinstance(output, torch.Tensor) else (given, *output[1:])


def largest(values: torch.Tensor, count: int) -> tuple[int, ...]:
    """Return the sorted indices of the largest values; of equal ones the first stay."""
    order = torch.sort(values.cpu(), descending=True, stable=True).indices[:count]
    return tuple(sorted(order.tolist()))


def choose_units(found: Importances, shape: ModelShape, target: ModelShape) -> UniformCut:
    """Keep the most important units of every axis.

    Args:
        found: importances of a uniform model.
        shape: its shape.
        target: the uniform shape to reach.
    """
    count, block = len(target.blocks), target.blocks[0]
    layers = tuple(range(len(shape.blocks)))
    if count < len(layers):
        assert found.layers is not None, "layers are measured where some are dropped"
        layers = largest(torch.tensor(found.layers), count)
    cuts = []
    for layer in layers:
        groups = found.heads[layer].view(-1, shape.queries_per_kv_head)
        kv_heads = largest(groups.sum(1), block.kv_heads)
        query_heads = tuple(
            group * shape.queries_per_kv_head + head
            for group in kv_heads
            for head in largest(groups[group], target.queries_per_kv_head)
        )
        neurons = largest(found.neurons[layer], block.intermediate_size)
        cuts.append(LayerCut(layer, kv_heads, query_heads, neurons))
    return UniformCut(largest(found.hidden, target.hidden_size), tuple(cuts))
