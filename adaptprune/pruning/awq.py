"""AWQ: weights are scaled and clipped before rounding, by what their inputs say (arXiv 2306.00978).

Layer by layer, as released. Inputs that are large on average get finer steps: their columns are
multiplied by s and what makes them is divided by it, which leaves the model as it is; s = mean |x|
to a power, the one of a grid whose rounding changes the outputs least. Then the weights of each
group are clipped to the share of their maximum that does the same. Every layer is searched on
inputs of the unrounded model. Zeros stay zeros, so a sparse model keeps its pattern. Of a product
beside a layer (SLoRB) both factors are rounded to the nearest values, after the scales.

Where the released code knows no way (norms alone are scaled for families that are not built like
Llama; the output projection is not scaled under grouped-query attention), none is made up here.
Nothing is scaled where norms come behind attention and MLP (OPT-350M): no norm makes their inputs.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.errors import NumericalError
from adaptprune.models.adapters import PRODUCT
from adaptprune.models.anatomy import (
    anatomy_of,
    blocks_of,
    hooked,
    linears_of,
    norms_come_first,
    weight_shapes,
)
from adaptprune.pruning.layerwise import Streams
from adaptprune.pruning.quantisation import Grid, group_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from adaptprune.models.anatomy import Anatomy, Linear

#: Powers of mean |x| that are tried: 0, 0.05, …, 0.95.
POWERS = [step / 20 for step in range(20)]
#: Shares of the largest weight of a group that it may be clipped to: 1, 0.95, …, 0.55.
SHARES = [1 - step / 20 for step in range(10)]
#: Tokens that clipping is searched on, and rows of a matrix that are searched at a time.
_CLIP_TOKENS, _CLIP_ROWS = 512, 64
_LEAST_SCALE = 1e-4

Call = tuple[tuple[Any, ...], dict[str, Any]]


@torch.no_grad()
def quantise(
    model: Any, tokens: torch.Tensor, bits: int, group: int | None = None, *, clip: bool = True
) -> list[dict[str, Any]]:
    """Quantise the linear layers of all decoder blocks, in place.

    Args:
        model: a causal language model whose family has an anatomy.
        tokens: calibration token ids [sequences, length].
        bits: of a weight.
        group: inputs that share scale and zero point; None is the largest usual one that fits.
        clip: whether weights are clipped.

    Returns:
        A log of every linear layer: the power of its inputs' scale, and the share of its groups
        that were clipped.

    Raises:
        UserError: the family has no anatomy, or no group divides its rows.
        NumericalError: an input is not finite.
    """
    lengths = [inputs for _, inputs in weight_shapes(model).values()]
    grid = Grid(bits, group or group_for(lengths))
    log: list[dict[str, Any]] = []
    streams = Streams(model, tokens)
    for index in range(len(blocks_of(model))):
        inputs, calls = _observe(model, index, streams)
        # Before the block changes: the next one is searched on the unrounded model, too.
        streams.advance(index)
        powers = _scale(model, index, inputs, calls, grid)
        for linear in _linears(model, index):
            found = inputs[linear.module]
            clipped = _clip(linear, found, grid) if clip and _is_clipped(model, linear) else 0.0
            power = powers.get(linear.name)
            log.append({"weight": linear.name, "power": power, "clipped": clipped})
    round_weights(model, grid)
    return log


@torch.no_grad()
def round_weights(model: Any, grid: Grid) -> None:
    """Round the linear layers of all decoder blocks to the nearest values, in place."""
    for index in range(len(blocks_of(model))):
        for linear in _linears(model, index):
            linear.matrix.copy_(grid.round(linear.matrix))
            if (product := getattr(linear.module, PRODUCT, None)) is not None:
                for factor in (product.weight.detach(), product.projection.detach()):
                    fitting = grid.fitting(factor.shape[1])
                    factor.copy_(fitting.round(factor, around_zero=True))


def _linears(model: Any, index: int) -> Iterable[Linear]:
    return (linear for group in linears_of(model, index) for linear in group)


def _is_clipped(model: Any, linear: Linear) -> bool:
    """Say whether a layer is clipped: queries and keys are not, their product is sensitive."""
    projections = anatomy_of(model.config.model_type).projections
    untouched = (projections.query, projections.key) if projections else ()
    return not linear.name.removesuffix(".weight").endswith(untouched or ("\0",))


def _observe(
    model: Any, index: int, streams: Streams
) -> tuple[dict[Any, torch.Tensor], dict[Any, list[Call]]]:
    """Pass all sequences through a block.

    Returns:
        The inputs of each linear layer [tokens, inputs], and what its attention and MLP were
        called with.
    """
    anatomy = anatomy_of(model.config.model_type)
    block = blocks_of(model)[index]
    inspected = [block.get_submodule(place) for place in (anatomy.attention, anatomy.mlp) if place]
    linears = [linear.module for linear in _linears(model, index)]
    calls: dict[Any, list[Call]] = {module: [] for module in (*inspected, *linears)}

    def record(module: Any, positional: tuple, named: dict) -> None:
        calls[module].append((positional, dict(named)))

    with hooked(before=dict.fromkeys(calls, record)):
        streams.pass_all(index)
    inputs = {
        module: torch.cat([positional[0].flatten(0, -2) for positional, _ in calls[module]])
        for module in linears
    }
    for module, found in inputs.items():
        if not torch.isfinite(found).all():
            raise NumericalError(f"block {index}: an input of {module} is not finite")
    return inputs, calls


def _scale(
    model: Any,
    index: int,
    inputs: dict[Any, torch.Tensor],
    calls: dict[Any, list[Call]],
    grid: Grid,
) -> dict[str, float]:
    """Search and fold in the scales of a block's inputs; return the power by weight."""
    anatomy = anatomy_of(model.config.model_type)
    block = blocks_of(model)[index]
    chosen = []
    # All are searched before any is folded in.
    folds = _folds(anatomy, block, linears_of(model, index)) if norms_come_first(model) else ()
    for source, linears, module in folds:
        observed = inputs[linears[0].module]
        power, scale = search_scale(
            [linear.matrix for linear in linears],
            observed,
            functools.partial(_outputs, module, calls[module]),
            grid,
        )
        chosen.append((source, linears, power, scale))
    powers = {}
    for source, linears, power, scale in chosen:
        _divide(source, scale)
        for linear in linears:
            linear.matrix.mul_(scale)
            if (product := getattr(linear.module, PRODUCT, None)) is not None:
                product.projection.mul_(scale)
            inputs[linear.module] = inputs[linear.module] / scale
            powers[linear.name] = power
    return powers


def _folds(
    anatomy: Anatomy, block: Any, groups: Sequence[Sequence[Linear]]
) -> Iterable[tuple[Any, Sequence[Linear], Any]]:
    """Yield what makes an input, the layers that read it, and what is compared: its whole output.

    A norm, or a linear layer whose rows are the input's channels; where both are of one group of
    weights, as many channels as inputs.
    """
    attention, output, mlp, last = groups
    first, second = (block.get_submodule(norm) for norm in anatomy.norms)
    yield first, attention, block.get_submodule(anatomy.attention)
    places = anatomy.projections
    if places and block.get_submodule(places.value).weight.shape == output[0].module.weight.shape:
        yield block.get_submodule(places.value), output, output[0].module
    yield second, mlp, block.get_submodule(anatomy.mlp) if anatomy.mlp else mlp[0].module
    if places:
        yield block.get_submodule(places.up), last, last[0].module


def _divide(source: Any, scale: torch.Tensor) -> None:
    """Divide the channels that a norm or a linear layer makes."""
    weight = source.weight.detach()
    weight.div_(scale if weight.dim() == 1 else scale[:, None])
    if getattr(source, "bias", None) is not None:
        source.bias.detach().div_(scale)
    if (product := getattr(source, PRODUCT, None)) is not None:
        product.weight.div_(scale[:, None])


def _outputs(module: Any, calls: Sequence[Call]) -> list[torch.Tensor]:
    found = (module(*positional, **named) for positional, named in calls)
    return [output[0] if isinstance(output, tuple) else output for output in found]


def search_scale(
    matrices: Sequence[torch.Tensor],
    inputs: torch.Tensor,
    outputs: Callable[[], Sequence[torch.Tensor]],
    grid: Grid,
) -> tuple[float, torch.Tensor]:
    """Return the power of mean |x| whose scale changes outputs least, and that scale [inputs].

    Args:
        matrices: the weights that read the inputs [outputs, inputs]; as they were, afterwards.
        inputs: what they read [tokens, inputs].
        outputs: computes what is compared, with the matrices as they are.
        grid: how they are rounded.
    """
    errors = scale_errors(matrices, inputs, outputs, grid)
    best = min(range(len(POWERS)), key=errors.__getitem__)
    return POWERS[best], scale_of(inputs, POWERS[best])


def scale_of(inputs: torch.Tensor, power: float) -> torch.Tensor:
    """Return mean |x| of every input to a power, its least and greatest around 1 [inputs]."""
    scale = inputs.abs().mean(0).pow(power).clamp(min=_LEAST_SCALE)
    return scale / (scale.max() * scale.min()).sqrt()


def scale_errors(
    matrices: Sequence[torch.Tensor],
    inputs: torch.Tensor,
    outputs: Callable[[], Sequence[torch.Tensor]],
    grid: Grid,
) -> list[float]:
    """Return by power the mean squared change of the outputs."""
    dense = [matrix.clone() for matrix in matrices]
    wanted = outputs()
    values = sum(output.numel() for output in wanted)
    errors = []
    for power in POWERS:
        scale = scale_of(inputs, power)
        for matrix, original in zip(matrices, dense, strict=True):
            matrix.copy_(grid.round(original * scale) / scale)
        found = zip(wanted, outputs(), strict=True)
        errors.append(sum(float((one - other).pow(2).sum()) for one, other in found) / values)
    for matrix, original in zip(matrices, dense, strict=True):
        matrix.copy_(original)
    return errors


def _clip(linear: Linear, inputs: torch.Tensor, grid: Grid) -> float:
    """Clip a matrix in place; return the share of its groups that changed."""
    limits = clip_limits(linear.matrix, inputs, grid)
    groups = linear.matrix.reshape(*limits.shape[:2], grid.group)
    clipped = (limits < groups.abs().amax(-1, keepdim=True)).double().mean()
    linear.matrix.copy_(groups.clamp(-limits, limits).reshape(linear.matrix.shape))
    return float(clipped)


def clip_limits(weight: torch.Tensor, inputs: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Return what the groups of a matrix are best clipped to [outputs, groups, 1].

    By the mean squared change of each group's part of the output, over up to 512 tokens that lie
    evenly apart.

    Args:
        weight: [outputs, inputs].
        inputs: [tokens, inputs].
        grid: how it is rounded.
    """
    step = max(1, len(inputs) // _CLIP_TOKENS)
    tokens = inputs[::step].reshape(1, -1, inputs.shape[1] // grid.group, grid.group)
    return torch.cat([_limits(rows, tokens, grid) for rows in weight.split(_CLIP_ROWS)])


def _limits(weight: torch.Tensor, tokens: torch.Tensor, grid: Grid) -> torch.Tensor:
    groups = weight.reshape(len(weight), 1, -1, grid.group)
    greatest = groups.abs().amax(-1, keepdim=True)
    wanted = (tokens * groups).sum(-1)
    best, least = greatest.clone(), torch.full_like(greatest, torch.inf)
    for share in SHARES:
        limit = greatest * share
        rounded = grid.round(groups.clamp(-limit, limit))
        errors = ((tokens * rounded).sum(-1) - wanted).pow(2).mean(1).view_as(least)
        better = errors < least
        least = torch.where(better, errors, least)
        best = torch.where(better, limit, best)
    return best.squeeze(1)
