"""ShortGPT (Men et al. 2024): the layers that turn the residual stream least go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from adaptprune.errors import NumericalError
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Passes
from baselines.depth import DepthMethod, by_importance

if TYPE_CHECKING:
    import torch

    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.method import Context

#: Sequences in one forward pass.
_BATCH = 8


class ShortGPTParameters(Parameters):
    """Parameters of ShortGPT.

    ``removal``: ``one-shot`` measures all layers in the dense model, as the paper does.
    ``iterative`` measures the model that is left anew after each layer that went, the order in
    which SLEB (Song et al. 2024, arXiv 2402.09025) removes layers by another measure.
    """

    removal: Literal["one-shot", "iterative"] = "one-shot"


class ShortGPT(DepthMethod):
    """Remove the layers of least block influence (ShortGPT, Eq. 1).

    The released code takes the last layer's output after the model's final norm; here it is what
    the layer gives, as of all layers.
    """

    name = "shortgpt"
    title = "ShortGPT"
    version = 1
    citation = "ShortGPT, arXiv 2403.03853"
    parameters = ShortGPTParameters

    def passes(self, shape: ModelShape, sparsity: int, parameters: ShortGPTParameters) -> Passes:
        """One forward pass, or one for each layer that goes."""
        rounds = self.count(len(shape.blocks), sparsity, parameters)
        return Passes(forward=1 if parameters.removal == "one-shot" else rounds)

    def removal_order(
        self, model: Any, context: Context, parameters: ShortGPTParameters, count: int
    ) -> tuple[list[int], dict[str, Any]]:
        """Measure the influence of all layers, once or after each removal."""
        from adaptprune.models.anatomy import blocks_of
        from adaptprune.pruning.surgery import only_layers

        assert context.tokens is not None, "shortgpt needs calibration tokens"
        influences = block_influence(model, context.tokens)
        if parameters.removal == "one-shot":
            order = by_importance(dict(enumerate(influences)))
            return order, {"influence": influences}
        left, order = list(range(len(blocks_of(model)))), []
        while len(order) < count:
            if order:
                with only_layers(model, left):
                    influences = block_influence(model, context.tokens)
            first = by_importance(dict(zip(left, influences, strict=True)))[0]
            order.append(first)
            left.remove(first)
        return order, {}


def block_influence(model: Any, tokens: torch.Tensor) -> list[float]:
    """Return 1 − cos(input, output) of each decoder layer, a mean over all tokens.

    Args:
        model: a causal language model with an anatomy.
        tokens: token ids [sequences, length].

    Raises:
        NumericalError: an influence is not finite.
    """
    import torch
    import torch.nn.functional as F

    from adaptprune.models.anatomy import blocks_of, hooked, stream_in, stream_out

    blocks = list(blocks_of(model))
    totals = [torch.zeros((), dtype=torch.float64) for _ in blocks]
    places = {block: index for index, block in enumerate(blocks)}

    def measure(block: Any, arguments: Any, named: Any, output: Any) -> None:
        before, after = stream_in(arguments, named).float(), stream_out(output).float()
        change = 1 - F.cosine_similarity(before, after, dim=-1)
        totals[places[block]] += change.sum(dtype=torch.float64).cpu()

    with torch.no_grad(), hooked(after=dict.fromkeys(blocks, measure)):
        for rows in tokens.split(_BATCH):
            model.get_decoder()(input_ids=rows, use_cache=False)
    influences = [total.item() / tokens.numel() for total in totals]
    if not torch.tensor(influences).isfinite().all():
        raise NumericalError("the influence of a layer is not finite")
    return influences


SPEC = ShortGPT()
