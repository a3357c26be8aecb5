"""Table 8 under Eq. 6 as printed and under the rule of the official code.

Both rules start from importances with mean 0 in [−1, 1] (Eq. 4-5). As printed, a layer's sparsity
at step t is S·t/T − A·I; the official code adds S/T − A·I to what the layer had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adaptprune.models.catalogue import shape_of
from adaptprune.models.shapes import BlockShape, layer_target
from adaptprune.papers.adapt_pruner.audit.budgets import (
    as_printed,
    budget_of,
    counts_of,
    span,
    within,
)
from adaptprune.papers.adapt_pruner.method import next_sparsities
from adaptprune.report.statements import (
    HALF_DIGIT,
    Finding,
    Statement,
    billions,
    grid,
    holds,
    lies_within,
    yes,
)

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.results.published import Claims, Printed


class Bounds(NamedTuple):
    """Fewest and most parameters."""

    minimum: int
    maximum: int


def audit_amplitude(numbers: list[Printed], claims: Claims) -> list[Statement]:
    """Check Table 8's parameter counts and what they say about Eq. 6."""
    counts = counts_of(numbers, 8, "adapt-pruner")
    uniform = [number for number in counts if number.amplitude == 0]
    adaptive = [number for number in counts if number.amplitude]
    return [
        _uniform(uniform[0], claims),
        _accumulated(adaptive, claims),
        _as_printed(adaptive, claims),
        _average(adaptive, claims),
    ]


def printed_bounds(shape: ModelShape, sparsity: float, steps: int, amplitude: float) -> Bounds:
    """Bound the count under Eq. 6 as printed, for importances that may change at every step.

    A layer ends at the largest sparsity of any step. At the last step the sparsities have mean S;
    earlier ones reach S − S/T + A at most. The sum of max(A·e, A − S/T) over layers, with e of
    mean 0 in [−1, 1], is largest with half of them at 1: the mean ends at S + max(0, A − S/2T) at
    most, and every layer at S + A at most. Truncation takes one more neuron of a layer at most.

    Args:
        shape: a model whose layers are alike.
        sparsity: S, a fraction.
        steps: T.
        amplitude: A.
    """
    dense, layers = shape.blocks[0], len(shape.blocks)
    excess = max(0.0, amplitude - sparsity / steps / 2)
    neurons = layers * dense.intermediate_size
    fewest = int(neurons * (1 - sparsity - excess)) - layers
    most = int(neurons * (1 - sparsity)) + 1

    def total(neurons: int, layer_sparsity: float) -> int:
        heads = layer_target(shape, dense, dense, layer_sparsity).kv_heads
        empty = shape.with_blocks([BlockShape(heads, 0)] * layers)
        return empty.parameters + neurons * 3 * shape.hidden_size

    return Bounds(total(fewest, sparsity + amplitude), total(most, sparsity - amplitude))


def accumulated(
    shape: ModelShape, sparsity: float, steps: int, amplitude: float, importance: list[float]
) -> int:
    """Return the accumulating rule's count for importances that stay the same at every step."""
    sparsities, blocks = [0.0] * len(importance), shape.blocks
    for _ in range(steps):
        sparsities = next_sparsities(sparsities, importance, sparsity / steps, amplitude)
        targets = zip(shape.blocks, blocks, sparsities, strict=True)
        blocks = tuple(layer_target(shape, *target) for target in targets)
    return shape.with_blocks(list(blocks)).parameters


def _uniform(number: Printed, claims: Claims) -> Statement:
    steps = claims.sparsity.steps
    budget = budget_of(number, amplitude=0, steps=steps)
    assert budget.blocks is not None, "amplitude 0 is exact"
    shape = shape_of(number.model_id)
    dense, block = shape.blocks[0], budget.blocks[0]
    fact = lies_within(number.value, budget.minimum, budget.minimum)
    return Statement(
        "At amplitude 0 Table 8's count follows from the architecture",
        f"Table 8: {as_printed(number)} at A = 0, {number.sparsity} %, {steps} steps.",
        (
            f"Every layer of {number.model} keeps {block.kv_heads} of {dense.kv_heads} kv heads "
            f"and {block.intermediate_size} of {dense.intermediate_size} neurons; in floats "
            f"{steps} steps do not add up to {number.sparsity} % exactly, which truncation may "
            f"turn into one neuron. {len(shape.blocks)}·{shape.block_parameters(block):,} + 2·"
            f"{shape.vocab_size}·{shape.hidden_size} + {shape.hidden_size} = {budget.minimum:,}.",
        ),
        holds(fact),
        f"Derived {billions(budget.minimum)}, printed {as_printed(number)}.",
    )


def _accumulated(numbers: list[Printed], claims: Claims) -> Statement:
    steps, rows, inside = claims.sparsity.steps, [], 0
    for number in numbers:
        shape, share = shape_of(number.model_id), number.sparsity / 100
        budget = budget_of(number, amplitude=number.amplitude, steps=steps)
        fact = within(number, budget)
        inside += fact
        layers = len(shape.blocks)
        line = [1 - 2 * index / (layers - 1) for index in range(layers)]
        pair = [1.0] * 2 + [-2 / (layers - 2)] * (layers - 2)
        examples = (
            billions(accumulated(shape, share, steps, number.amplitude or 0, importance))
            for importance in (line, pair)
        )
        possible = span(budget.minimum, budget.maximum)
        rows.append((number.amplitude, as_printed(number), possible, yes(fact), *examples))
    headers = ["A", "printed", "range", "inside", "I from 1 down to −1", "two layers at I = 1"]
    return Statement(
        "Table 8's counts lie within what the accumulating rule allows",
        "Table 8, Para. Num. at A > 0.",
        (
            "Rule (official code): s ← clamp(s + S/T − A·I, 0, 0.99) at each step. As the "
            "importances have mean 0, the mean of s is S as long as no layer is clamped; a layer "
            "at I > S/(T·A) stands still at 0 while the others go on, which takes the mean above "
            "S. The range takes all layers at I = −1 and all at I = 1. Two examples of importances "
            "that stay the same at every step: on a straight line, and with two layers that stand "
            "out from all others.",
            grid(headers, rows),
        ),
        Finding.OPEN if inside == len(numbers) else Finding.REFUTED,
        f"{inside} of {len(numbers)} printed counts lie in the range; which count is reached "
        "depends on the importances.",
    )


def _as_printed(numbers: list[Printed], claims: Claims) -> Statement:
    steps, rows, impossible = claims.sparsity.steps, [], []
    for number in numbers:
        shape, share = shape_of(number.model_id), number.sparsity / 100
        amplitude = number.amplitude or 0
        plain = budget_of(number, amplitude=amplitude, steps=steps, sparsity_rule="printed")
        tight = printed_bounds(shape, share, steps, amplitude)
        fact = lies_within(number.value, *tight)
        if not fact:
            impossible.append(f"{as_printed(number)} at A = {amplitude:g}")
        spans = (span(plain.minimum, plain.maximum), span(*tight))
        rows.append((f"{amplitude:g}", as_printed(number), *spans, yes(fact)))
    headers = ["A", "printed", "each layer free", "importances of mean 0", "possible"]
    conclusion = "Every printed count is possible."
    if impossible:
        conclusion = f"Impossible under Eq. 6 as printed: {', '.join(impossible)}."
    return Statement(
        "Table 8's counts can come from Eq. 6 as printed",
        f'"{claims.sparsity.words}" ({claims.sparsity.source}); Table 8, Para. Num. at A > 0.',
        (_spell_printed(numbers[-1], steps), grid(headers, rows)),
        holds(not impossible),
        conclusion,
    )


def _spell_printed(number: Printed, steps: int) -> str:
    """Write the arithmetic of the bound out."""
    share, amplitude = number.sparsity / 100, number.amplitude or 0
    step = share / steps
    shape = shape_of(number.model_id)
    block, layers = shape.blocks[0], len(shape.blocks)
    tight = printed_bounds(shape, share, steps, amplitude)
    excess = max(0.0, amplitude - step / 2)
    heads = layer_target(shape, block, block, share + amplitude).kv_heads
    neurons = int(layers * block.intermediate_size * (1 - share - excess)) - layers
    return (
        f"At the last step a layer's sparsity is S − A·I with I in [−1, 1]: for S = {share:g} and "
        f"A = {amplitude:g} between {share - amplitude:g} and {share + amplitude:g}, far from the "
        "clamps at 0 and 0.99, so clamping does not matter. What an earlier step removed does not "
        f"come back, but it was S − S/T + A = {share - step + amplitude:g} at most. With "
        "importances of mean 0, even if they turn round from one step to the next, the mean "
        f"sparsity of the layers ends at S + max(0, A − S/2T) = {share + excess:g} at most. Each "
        f"layer then keeps {heads} kv heads or more, all together "
        f"{layers}·{block.intermediate_size}·{1 - share - excess:g} − {layers} = "
        f"{neurons:,} neurons or more ({layers} for truncation): {tight.minimum:,} parameters at "
        "least."
    )


def _average(numbers: list[Printed], claims: Claims) -> Statement:
    """Turn the counts into mean sparsities."""
    rows, off = [], []
    for number in numbers:
        shape, share = shape_of(number.model_id), number.sparsity / 100
        removed = (shape.parameters - number.value * 1e9) / _prunable(shape)
        if abs(removed - share) > _slack(shape) + HALF_DIGIT / _prunable(shape):
            off.append(f"A = {number.amplitude:g} ({removed:.1%})")
        rows.append((f"{number.amplitude:g}", as_printed(number), f"{removed:.2%}"))
    headers = ["A", "printed", "share of the prunable decoder weights removed"]
    first, slack = numbers[0], _slack(shape_of(numbers[0].model_id))
    conclusion = "Every printed count stands for the intended sparsity."
    if off:
        conclusion = f"Farther from {first.sparsity} % than rounding explains: {', '.join(off)}."
    return Statement(
        "The averaged sparsity is the intended one at every amplitude",
        f'"{claims.sparsity.average_words}" ({claims.sparsity.source}); Table 8, Para. Num.',
        (
            "Removed: (dense − printed) / (decoder weights without norms). Rounding to whole kv "
            f"heads moves it by one head per layer at most, that is {slack:.1%}.",
            grid(headers, rows),
        ),
        holds(not off),
        conclusion,
    )


def _prunable(shape: ModelShape) -> int:
    """Count the decoder weights without norms."""
    return shape.decoder_parameters - 2 * shape.hidden_size * len(shape.blocks)


def _slack(shape: ModelShape) -> float:
    """Return the share of them in one kv head, with its query heads, of every layer."""
    head = shape.block_parameters(BlockShape(1, 0)) - 2 * shape.hidden_size
    return len(shape.blocks) * head / _prunable(shape)
