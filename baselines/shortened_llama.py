"""Shortened LLaMA (Kim et al. 2024): layers go by their Taylor score, or by what the loss says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pydantic

from adaptprune.errors import NumericalError
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Passes
from baselines.depth import DepthMethod, by_importance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch

    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.method import Context

#: Sequences in one forward pass.
_BATCH = 8


class ShortenedLlamaParameters(Parameters):
    """Parameters of Shortened LLaMA.

    ``criterion``: ``taylor`` sums |w · ∂L/∂w| over a layer's weights, ``perplexity`` takes each
    layer out and measures the perplexity of the calibration tokens. ``norms``: the code released
    with the paper counts the weights of a layer's norms too (``official``), the paper's formula
    those of its linear layers alone (``corrected``); ``perplexity`` knows no difference.
    """

    criterion: Literal["taylor", "perplexity"] = "taylor"
    spared_first: int = pydantic.Field(
        4, ge=0, description='first layers that stay ("the first four and the last two")'
    )
    spared_last: int = pydantic.Field(2, ge=0, description="last layers that stay")
    norms: Literal["official", "corrected"] = "official"


class ShortenedLlama(DepthMethod):
    """Remove the least important layers between the spared ends ("Taylor+", "PPL")."""

    name = "shortened-llama"
    title = "Shortened LLaMA"
    version = 1
    citation = "Shortened LLaMA, arXiv 2402.02834"
    parameters = ShortenedLlamaParameters

    def candidates(self, layers: int, parameters: ShortenedLlamaParameters) -> range:
        """Return the layers between the spared ends; a short model has none."""
        stop = layers - parameters.spared_last
        return range(parameters.spared_first, max(parameters.spared_first, stop))

    def passes(
        self, shape: ModelShape, sparsity: int, parameters: ShortenedLlamaParameters
    ) -> Passes:
        """One gradient pass, or a forward pass for each layer that may go."""
        if parameters.criterion == "taylor":
            return Passes(gradient=1)
        return Passes(forward=len(self.candidates(len(shape.blocks), parameters)))

    def removal_order(
        self, model: Any, context: Context, parameters: ShortenedLlamaParameters, count: int
    ) -> tuple[list[int], dict[str, Any]]:
        """Sort the layers that may go by their importance in the dense model."""
        from adaptprune.models.anatomy import blocks_of

        assert context.tokens is not None, "shortened-llama needs calibration tokens"
        may_go = self.candidates(len(blocks_of(model)), parameters)
        if parameters.criterion == "taylor":
            scores = taylor_scores(model, context.tokens, norms=parameters.norms == "official")
            scores = {index: scores[index] for index in may_go}
        else:
            scores = losses_without(model, context.tokens, may_go)
        return by_importance(scores), {"importance": [scores[index] for index in may_go]}


def taylor_scores(model: Any, tokens: torch.Tensor, *, norms: bool) -> dict[int, float]:
    """Return the sum of |w · ∂L/∂w| over the weights of each layer; biases do not count.

    One loss over all tokens is differentiated (official: a batch of all samples).

    Args:
        model: a supported causal language model; left unchanged.
        tokens: token ids [sequences, length].
        norms: whether the weights of norms count too.

    Raises:
        NumericalError: a score is not finite.
    """
    from functools import partial

    from torch import nn

    from adaptprune.models.anatomy import blocks_of
    from adaptprune.pruning.gradients import gradient_pass

    scores: dict[int, float] = {}

    def finish(index: int, modules: list[Any]) -> None:
        saliences = [(module.weight.detach() * module.weight.grad).abs_() for module in modules]
        scores[index] = sum(salience.double().sum().item() for salience in saliences)

    groups: list[tuple[list[Any], Callable[[], None]]] = []
    for index, block in enumerate(blocks_of(model)):
        weighted = [part for part in block.modules() if "weight" in part._parameters]
        modules = [part for part in weighted if norms or isinstance(part, nn.Linear)]
        groups.append((modules, partial(finish, index, modules)))
    gradient_pass(model, tokens, groups)
    return _finite(scores)


def losses_without(model: Any, tokens: torch.Tensor, layers: Iterable[int]) -> dict[int, float]:
    """Return the mean loss (nats, the logarithm of the perplexity) without each of some layers.

    Args:
        model: a supported causal language model; left unchanged.
        tokens: token ids [sequences, length].
        layers: to take out, one at a time.

    Raises:
        NumericalError: a loss is not finite.
    """
    import torch

    from adaptprune.models.anatomy import blocks_of
    from adaptprune.models.loss import hidden_states, mean_loss
    from adaptprune.pruning.surgery import only_layers

    losses = {}
    every = range(len(blocks_of(model)))
    for layer in layers:
        with torch.no_grad(), only_layers(model, [index for index in every if index != layer]):
            total = sum(
                mean_loss(model, hidden_states(model, rows), rows).item() * len(rows)
                for rows in tokens.split(_BATCH)
            )
        losses[layer] = total / len(tokens)
    return _finite(losses)


def _finite(scores: dict[int, float]) -> dict[int, float]:
    """Return scores whose numbers are all finite.

    Raises:
        NumericalError: naming the layer whose score is not.
    """
    import math

    for layer, score in scores.items():
        if not math.isfinite(score):
            raise NumericalError(f"the importance of layer {layer} is {score}")
    return scores


SPEC = ShortenedLlama()
