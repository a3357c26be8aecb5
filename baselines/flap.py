"""FLAP (An et al. 2023): fluctuation-based adaptive structured pruning with bias compensation.

Metric WIFV, structure AL-AM (adaptive over layers and over attention and MLP). The official code
knows multi-head attention with 128 channels per head alone. Our extension to grouped queries takes
a kv head with its query heads for one unit of attention; its metric is the mean over the channels
of its query heads. The official cost of a unit, 4·head_dim/3 neurons (512/3 at 128 channels), is
kept as it is: with it, and not with the true ratio of parameters, the published counts of
LLaMA-3.1-8B are within reach. ``adaptprune.pruning.surgery.expand_kv_heads`` makes the multi-head
twin of a GQA model, on which the official rule itself can be run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adaptprune.errors import NumericalError, UserError
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Context, Method, Passes, Pruned, Scores
from adaptprune.pruning.units import KeptUnits, LayerUnits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from adaptprune.models.shapes import ModelShape


class FLAPParameters(Parameters):
    """Parameters of FLAP; plain values are the official code's.

    ``head_cost``: official is 4·head_dim/3 neurons, truncated, whatever the number of query heads;
    ``corrected`` is the ratio of parameters, (2·ratio + 2)·head_dim/3. ``variance``: official
    updates its running sum with the new mean on both sides, ``corrected`` is Welford's product.
    """

    bias_compensation: bool = True
    head_cost: Literal["official", "corrected"] = "official"
    variance: Literal["official", "corrected"] = "official"


class FLAP(Method):
    """Prune the units whose outputs fluctuate least around their mean, and add that mean back."""

    name = "flap"
    title = "FLAP"
    version = 1
    citation = "FLAP, arXiv 2312.11983"
    parameters = FLAPParameters

    def shares_scores(self, parameters: FLAPParameters) -> bool:
        """All statistics come from the dense model."""
        return True

    def passes(self, shape: ModelShape, sparsity: int, parameters: FLAPParameters) -> Passes:
        """Inputs are watched in one forward pass."""
        return Passes(forward=1)

    def score(
        self,
        model: Any,
        context: Context,
        parameters: FLAPParameters,
        sparsities: Sequence[int],
    ) -> Scores:
        """Measure mean and fluctuation of the inputs of every output and down projection."""
        assert context.tokens is not None, "flap needs calibration tokens"
        if len(context.tokens) < 2:
            raise UserError(
                "flap needs at least 2 calibration sequences: it measures how they differ"
            )
        statistics = _measure(model, context.tokens, parameters.variance)
        tensors: dict[str, torch.Tensor] = {}
        for name, fluctuation in statistics.items():
            tensors[f"{name}.mean"] = fluctuation.mean
            tensors[f"{name}.fluctuation"] = fluctuation.value
        return Scores(tensors)

    def prune(
        self,
        model: Any,
        scores: Scores | None,
        sparsity: int,
        context: Context,
        parameters: FLAPParameters,
    ) -> Pruned:
        """Rank all heads and neurons of the model in one list and cut to the budget."""
        from adaptprune.models.sizes import shape_of_model

        scores = scores or self.score(model, context, parameters, [sparsity])
        shape = shape_of_model(model)
        heads, neurons = _metrics(model, scores.tensors, shape)
        cost = head_cost(shape, parameters.head_cost)
        kept, notes = select_globally(heads, neurons, cost, sparsity / 100)
        pruned = Pruned(kept, notes=notes)
        if parameters.bias_compensation:
            pruned.biases = _compensation(model, scores.tensors, kept, shape)
        return pruned

    def budget(self, shape: ModelShape, sparsity: int, parameters: FLAPParameters) -> Budget:
        """Bound the count: the budget fixes cost units, the weights decide how they split."""
        import math

        cost = head_cost(shape, parameters.head_cost)
        total = sum(block.kv_heads * cost + block.intermediate_size for block in shape.blocks)
        removable = total * sparsity / 100
        layers = len(shape.blocks)
        most_heads = sum(block.kv_heads - 1 for block in shape.blocks)
        most_neurons = sum(block.intermediate_size - 1 for block in shape.blocks)
        head_parameters = shape.hidden_size * shape.head_dim * (2 * shape.queries_per_kv_head + 2)
        head_parameters += shape.qkv_bias * shape.head_dim * (shape.queries_per_kv_head + 2)
        neuron_parameters = 3 * shape.hidden_size + shape.mlp_bias * 2
        removed = []
        # The threshold lies within half a head of the budget, and the unit at the threshold goes
        # too; one neuron of slack for sums in float32.
        for budget in (max(0.0, removable - 1), removable + 1.5 * cost + 1):
            for wish in (budget / cost, max(0.0, (budget - most_neurons) / cost)):
                heads = min(most_heads, wish)
                count = min(most_neurons, budget - heads * cost)
                removed.append(heads * head_parameters + count * neuron_parameters)
        biases = shape.added_biases  # a model that FLAP has pruned before has them already
        if parameters.bias_compensation:
            missing = (not shape.output_bias) + (not shape.mlp_bias)
            biases = missing * shape.hidden_size * layers
        dense = shape.parameters - shape.added_biases + biases
        return Budget(dense - math.ceil(max(removed)), dense - math.floor(min(removed)))


@dataclass
class Fluctuation:
    """Running mean and fluctuation of a layer's input channels over calibration sequences.

    Args:
        mean: mean of each channel [channels], float32.
        value: fluctuation of each channel [channels], float32.
        sequences: sequences seen.
    """

    mean: torch.Tensor
    value: torch.Tensor
    sequences: int = 0

    def update(self, inputs: torch.Tensor, variance: str) -> None:
        """Take in one sequence [length, channels], as the official code does.

        The first sequence contributes its mean only; a sequence's sum over tokens is divided by
        the number of sequences.
        """
        count = self.sequences
        new_mean = self.mean * (count / (count + 1)) + inputs.mean(0) / (count + 1)
        if count > 0:
            # The official code's old mean is an alias of the new one.
            old_mean = new_mean if variance == "official" else self.mean
            spread = ((inputs - new_mean) * (inputs - old_mean)).sum(0)
            self.value = self.value * ((count - 1) / count) + spread / (count + 1)
        self.mean = new_mean
        self.sequences = count + 1


def _measure(model: Any, tokens: torch.Tensor, variance: str) -> dict[str, Fluctuation]:
    """Run the dense model over the calibration sequences one by one and watch two projections."""
    import torch

    from adaptprune.models.anatomy import hooked, layers_of

    statistics: dict[str, Fluctuation] = {}
    watched = {}

    def watch(name: str) -> Any:
        def record(_: Any, arguments: tuple[Any, ...], __: Any) -> None:
            statistics[name].update(arguments[0][0].float(), variance)

        return record

    for index, layer in enumerate(layers_of(model)):
        for kind, linear in (("attention", layer.output), ("mlp", layer.down)):
            zeros = torch.zeros(linear.in_features, device=linear.weight.device)
            name = f"{index}.{kind}"
            statistics[name] = Fluctuation(zeros, zeros.clone())
            watched[linear] = watch(name)
    with torch.no_grad(), hooked(before=watched):
        for sequence in tokens:
            model.get_decoder()(input_ids=sequence[None], use_cache=False)
    for name, fluctuation in statistics.items():
        if not (fluctuation.value.isfinite().all() and fluctuation.mean.isfinite().all()):
            raise NumericalError(f"the activation statistics of layer {name} are not finite")
    return statistics


def _metrics(
    model: Any, tensors: dict[str, torch.Tensor], shape: ModelShape
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return WIFV standardised per layer: [kv_heads] and [intermediate_size] for each layer.

    Fluctuation times the squared norm of the weight column that reads the channel; for attention
    the product is squared once more before it is standardised (official code).
    """
    from adaptprune.models.anatomy import layers_of

    heads, neurons = [], []
    for index, (layer, block) in enumerate(zip(layers_of(model), shape.blocks, strict=True)):
        output, down = layer.output.weight, layer.down.weight
        attention = tensors[f"{index}.attention.fluctuation"].to(output.device)
        attention = (attention * output.detach().float().pow(2).sum(0)).pow(2)
        mlp = tensors[f"{index}.mlp.fluctuation"].to(down.device)
        mlp = mlp * down.detach().float().pow(2).sum(0)
        heads.append(_standardise(attention).view(block.kv_heads, -1).mean(1))
        neurons.append(_standardise(mlp))
        if not (heads[-1].isfinite().all() and neurons[-1].isfinite().all()):
            raise NumericalError(f"the metric of layer {index} is not finite")
    return heads, neurons


def _standardise(values: torch.Tensor) -> torch.Tensor:
    """Centre and scale to unit deviation; channels that are all alike stay at 0."""
    centred = values - values.mean()
    if len(values) == 1 or (deviation := values.std()) == 0:
        return centred
    return centred / deviation


def head_cost(shape: ModelShape, rule: str) -> float:
    """Return what one kv head with its query heads costs, in neurons."""
    if rule == "official":
        return 4 * shape.head_dim // 3
    return (2 * shape.queries_per_kv_head + 2) * shape.head_dim / 3


def select_globally(
    heads: list[torch.Tensor], neurons: list[torch.Tensor], cost: float, sparsity: float
) -> tuple[KeptUnits, list[str]]:
    """Cut all layers at one threshold so that the kept cost comes nearest the budget.

    Args:
        heads: standardised metric of each layer's kv heads [kv_heads].
        neurons: standardised metric of each layer's neurons [intermediate_size].
        cost: cost of a kv head in neurons.
        sparsity: fraction of the total cost to remove.

    Returns:
        The kept units, and a note for every layer whose last unit was kept against the
        threshold; its cost is taken elsewhere.
    """
    import torch

    groups = [metric.clone() for metric in (*heads, *neurons)]
    names = [f"{kind} of layer {i}" for kind in ("kv heads", "neurons") for i in range(len(heads))]
    attention_units = sum(len(metric) for metric in heads)
    notes = []
    while True:
        metric = torch.cat(groups)
        ranked, order = torch.sort(metric, descending=True, stable=True)
        costs = torch.ones_like(order, dtype=torch.int64 if cost == int(cost) else torch.float64)
        costs[order < attention_units] = int(cost) if cost == int(cost) else cost
        wanted = costs.sum() * (1 - sparsity)
        threshold = ranked[torch.argmin((costs.cumsum(0) - wanted).abs())]
        # The unit at the threshold goes too (official code), unless it is the last of its layer.
        masks = [(group > threshold) | group.isinf() for group in groups]
        empty = [index for index, mask in enumerate(masks) if not mask.any()]
        if not empty:
            break
        for index in empty:
            groups[index][groups[index].argmax()] = torch.inf
            notes.append(f"the last of the {names[index]} stays; its cost is taken elsewhere")
    indices = [tuple(mask.nonzero().flatten().tolist()) for mask in masks]
    layers = len(heads)
    kept = (LayerUnits(*pair) for pair in zip(indices[:layers], indices[layers:], strict=True))
    return KeptUnits(tuple(kept)), notes


def _compensation(
    model: Any, tensors: dict[str, torch.Tensor], kept: KeptUnits, shape: ModelShape
) -> dict[int, tuple[torch.Tensor, torch.Tensor]]:
    """Return, per layer, what the removed channels put out on average: W · mean."""
    from adaptprune.models.anatomy import layers_of
    from adaptprune.pruning.surgery import head_channels

    biases = {}
    for index, (layer, units) in enumerate(zip(layers_of(model), kept.layers, strict=True)):
        queries = units.query_heads(shape.queries_per_kv_head)
        pair = []
        for linear, name, kept_channels in (
            (layer.output, "attention", head_channels(queries, shape.head_dim)),
            (layer.down, "mlp", list(units.mlp)),
        ):
            mean = tensors[f"{index}.{name}.mean"].to(linear.weight.device).clone()
            mean[kept_channels] = 0
            pair.append(linear.weight.detach().float() @ mean)
        biases[index] = (pair[0], pair[1])
    return biases


SPEC = FLAP()
