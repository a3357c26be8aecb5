"""FLAP's smallest possible counts, under every reading of what one of its heads is.

The official code knows multi-head attention with 128 channels per head. For a model with grouped
queries and smaller heads several extensions are thinkable, and each has its own floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adaptprune.models.catalogue import shape_of
from adaptprune.papers.adapt_pruner.audit.budgets import as_printed, budget_of
from adaptprune.report.statements import (
    HALF_DIGIT,
    Finding,
    Statement,
    billions,
    grid,
)

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.results.published import Printed


class Reading(NamedTuple):
    """One way to count attention in FLAP's budget.

    Args:
        unit: what is removed at once.
        per_layer: such units in a layer.
        cost: what one costs, in neurons.
        parameters: what one holds.
    """

    unit: str
    per_layer: int
    cost: float
    parameters: int


def readings(shape: ModelShape) -> list[Reading]:
    """Return the readings: unit of attention, and its cost by the official formula or exactly."""
    block, size, ratio = shape.blocks[0], shape.head_dim, shape.queries_per_kv_head
    group = shape.hidden_size * (2 * ratio + 2)
    kv_heads, channels = block.kv_heads, block.kv_heads * size
    own, fixed = 4 * size // 3, 4 * 128 // 3
    query = 2 * shape.hidden_size * size
    return [
        Reading("kv head with its query heads", kv_heads, own, group * size),
        Reading("kv head with its query heads", kv_heads, fixed, group * size),
        Reading("kv head, at its true cost", kv_heads, (2 * ratio + 2) * size / 3, group * size),
        Reading("128 kv channels with their queries", channels // 128, fixed, group * 128),
        Reading("query head (its q and o rows)", kv_heads * ratio, own, query),
        Reading("query head (its q and o rows)", kv_heads * ratio, fixed, query),
    ]


def floor(shape: ModelShape, sparsity: int, reading: Reading) -> float:
    """Return fewer parameters than any cut to the budget can leave.

    The budget is spent first on what frees most parameters for its cost, and attention may vanish.
    The threshold lies within half a unit of the budget and the unit at the threshold goes too:
    one and a half units, and a neuron for rounding, are added to the budget.
    """
    layers, block = len(shape.blocks), shape.blocks[0]
    total = layers * (reading.per_layer * reading.cost + block.intermediate_size)
    budget = total * sparsity / 100 + 1.5 * reading.cost + 1
    goods = [
        (reading.parameters / reading.cost, layers * reading.per_layer * reading.cost),
        (3.0 * shape.hidden_size, float(layers * block.intermediate_size)),
    ]
    removed = 0.0
    for rate, amount in sorted(goods, reverse=True):
        spent = min(budget, amount)
        removed += rate * spent
        budget -= spent
    return shape.parameters - removed


def audit_floor(numbers: list[Printed]) -> Statement:
    """Check the counts of the models whose heads the official code does not know."""
    shape, model = shape_of(numbers[0].model_id), numbers[0].model
    found = {r: [floor(shape, n.sparsity, r) for n in numbers] for r in readings(shape)}
    lowest = [min(column) for column in zip(*found.values(), strict=True)]
    rows = [
        (reading.unit, f"{reading.cost:.4g}", *map(billions, floors))
        for reading, floors in found.items()
    ]
    ours = [billions(budget_of(number).minimum) for number in numbers]
    rows.append(
        ("the first, a head and a neuron stay (`flap`)", f"{4 * shape.head_dim // 3}", *ours)
    )
    rows.append(("printed", "", *(as_printed(n) for n in numbers)))
    below = [
        (number, least)
        for number, least in zip(numbers, lowest, strict=True)
        if number.value * 1e9 + HALF_DIGIT < least
    ]
    fitting = [
        reading
        for reading, floors in found.items()
        if all(n.value * 1e9 + HALF_DIGIT >= f for n, f in zip(numbers, floors, strict=True))
    ]
    conclusion = f"{len(fitting)} of {len(found)} readings allow all {len(numbers)} printed counts."
    if below:
        conclusion += "".join(
            f" {as_printed(n)} at {n.sparsity} % is below every one, the lowest being "
            f"{billions(least)}."
            for n, least in below
        )
    return Statement(
        f"FLAP's counts of {model}, with {shape.head_dim} channels per head, fit one budget",
        f"Table 7, #Param. of FLAP for {model}.",
        (
            "The official code gives a head of 128 channels a cost of ⌊4·128/3⌋ = 170 neurons and "
            "knows no grouped queries. Each reading of a unit fixes how much the budget can free "
            "at most; what is left is a floor for the count.",
            _spell(shape, model, numbers[0].sparsity, readings(shape)[0]),
            grid(["unit of attention", "cost", *(f"{n.sparsity} %" for n in numbers)], rows),
        ),
        Finding.OPEN if fitting else Finding.REFUTED,
        conclusion,
    )


def _spell(shape: ModelShape, model: str, sparsity: int, reading: Reading) -> str:
    """Write the arithmetic of one floor out."""
    layers, neurons = len(shape.blocks), shape.blocks[0].intermediate_size
    heads = layers * reading.per_layer
    total = heads * reading.cost + layers * neurons
    rate = reading.parameters / reading.cost
    return (
        f"First row, {model} at {sparsity} %: {layers}·({reading.per_layer}·{reading.cost:g} + "
        f"{neurons}) = {total:,.0f} neurons' worth, of which {total * sparsity / 100:,.0f} go. A "
        f"unit holds {reading.parameters:,} parameters, {rate:,.0f} per cost, a neuron "
        f"{3 * shape.hidden_size:,}. All {heads} units for {heads * reading.cost:,.0f}, neurons "
        "for the rest and for one and a half units more (the unit at the threshold goes too, and "
        f"the threshold is the nearest one), from {shape.parameters:,}: "
        f"{billions(floor(shape, sparsity, reading))}."
    )
