"""Table 7's parameter counts against those that follow from the architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.models.catalogue import shape_of
from adaptprune.papers.adapt_pruner.audit.budgets import (
    as_printed,
    budget_of,
    counts_of,
    span,
    within,
)
from adaptprune.papers.adapt_pruner.audit.flap import audit_floor
from adaptprune.pruning.registry import find_method
from adaptprune.report.statements import (
    Finding,
    Statement,
    billions,
    grid,
    holds,
    lies_within,
    yes,
)
from adaptprune.results.numerals import signed

if TYPE_CHECKING:
    from adaptprune.results.published import Printed

#: Channels of a head that the official FLAP takes for granted.
FLAP_HEAD_DIM = 128


def audit_counts(numbers: list[Printed]) -> list[Statement]:
    """Check every parameter count of Table 7."""
    flap = counts_of(numbers, 7, "flap")
    known: list[Printed] = []
    other: list[Printed] = []
    for number in flap:
        same = shape_of(number.model_id).head_dim == FLAP_HEAD_DIM
        (known if same else other).append(number)
    return [
        _llm_pruner(counts_of(numbers, 7, "llm-pruner")),
        _slicegpt(counts_of(numbers, 7, "slicegpt")),
        _larger_than_dense(counts_of(numbers, 7, "slicegpt")),
        _flap_range(known),
        audit_floor(other),
        _adapt_pruner(counts_of(numbers, 7, "adapt-pruner")),
    ]


def _exact(numbers: list[Printed], what: str) -> tuple[str, Finding, str]:
    """Set printed beside exact counts: a table, the finding, the conclusion."""
    rows, matches = [], 0
    for number in numbers:
        budget = budget_of(number)
        if budget.blocks is not None:
            block = budget.blocks[0]
            stays = f"{block.kv_heads} kv heads, {block.intermediate_size} neurons"
        else:
            stays = f"width {budget.width}"
        match = lies_within(number.value, budget.minimum, budget.minimum)
        matches += match
        derived = billions(budget.minimum)
        rows.append(
            (
                number.model,
                f"{number.sparsity} %",
                stays,
                as_printed(number),
                derived,
                yes(match),
            )
        )
    headers = ["model", "sparsity", f"{what} after pruning", "printed", "derived", "agrees"]
    conclusion = f"{matches} of {len(numbers)} printed counts agree with the derived ones."
    return grid(headers, rows), holds(matches == len(numbers)), conclusion


def _llm_pruner(numbers: list[Printed]) -> Statement:
    table, finding, conclusion = _exact(numbers, "each layer")
    return Statement(
        "LLM-Pruner's counts follow from cutting every layer at the sparsity",
        "Table 7, #Param. of LLM-Pruner.",
        (
            "Rule: every decoder layer is cut; of the k channels of a layer, those above "
            "int(channels · (1 − s)) go, in whole kv heads with their query heads (rounded down); "
            "int(neurons · (1 − s)) neurons stay. Norms count, tied embeddings count once.",
            _spell_uniform(numbers[0]),
            table,
        ),
        finding,
        conclusion,
    )


def _spell_uniform(number: Printed) -> str:
    """Write the arithmetic of one uniform cut out."""
    shape, share = shape_of(number.model_id), 1 - number.sparsity / 100
    budget = budget_of(number)
    assert budget.blocks is not None, "a uniform cut is exact"
    dense, block = shape.blocks[0], budget.blocks[0]
    size, hidden = shape.head_dim, shape.hidden_size
    channels, kv_width = dense.kv_heads * size, block.kv_heads * size
    tables = 1 if shape.tied else 2
    return (
        f"{number.model} at {number.sparsity} %: {dense.kv_heads} − ⌊({channels} − "
        f"int({channels}·{share:g})) / {size}⌋ = {block.kv_heads} kv heads, "
        f"int({dense.intermediate_size}·{share:g}) = {block.intermediate_size} neurons. One layer: "
        f"2·{hidden}·{kv_width * shape.queries_per_kv_head} + 2·{hidden}·{kv_width} + "
        f"3·{hidden}·{block.intermediate_size} + 2·{hidden} = {shape.block_parameters(block):,}. "
        f"{len(shape.blocks)} layers, embeddings {tables}·{shape.vocab_size}·{hidden}, final norm "
        f"{hidden}: {budget.minimum:,}."
    )


def _slicegpt(numbers: list[Printed]) -> Statement:
    table, finding, conclusion = _exact(numbers, "model")
    return Statement(
        "SliceGPT's counts follow from slicing the hidden size at the sparsity",
        "Table 7, #Param. of SliceGPT.",
        (
            "Rule: the width is int(hidden · (1 − s)), rounded down to a multiple of 8; norms are "
            "folded away, the head is untied and not sliced, and both shortcut matrices of every "
            "layer count.",
            _spell_sliced(numbers[0]),
            table,
        ),
        finding,
        conclusion,
    )


def _spell_sliced(number: Printed) -> str:
    """Write the arithmetic of one sliced model out."""
    shape = shape_of(number.model_id)
    width = budget_of(number).width
    assert width is not None, "a sliced model has a width"
    hidden, block, layers = shape.hidden_size, shape.blocks[0], len(shape.blocks)
    kv_width, neurons = block.kv_heads * shape.head_dim, block.intermediate_size
    query_width = kv_width * shape.queries_per_kv_head
    layer = width * (2 * query_width + 2 * kv_width + 3 * neurons) + 2 * width**2
    last = (hidden - width) * (neurons + width)
    total = layers * layer + last + shape.vocab_size * (width + hidden)
    return (
        f"{number.model} at {number.sparsity} %: width {width}. One layer: {width}·"
        f"(2·{query_width} + 2·{kv_width} + 3·{neurons}) + 2·{width}² = {layer:,}. The last layer "
        f"puts out {hidden} channels: {hidden - width}·({neurons} + {width}) = {last:,} more. "
        f"Embedding and head: {shape.vocab_size}·({width} + {hidden}). {layers} layers and these: "
        f"{total:,}."
    )


def _larger_than_dense(numbers: list[Printed]) -> Statement:
    rows, larger = [], []
    for number in numbers:
        shape = shape_of(number.model_id)
        change = number.value * 1e9 / shape.parameters - 1
        if change >= 0:
            larger.append(f"{number.model} at {number.sparsity} %")
        tied = "tied" if shape.tied else "untied"
        dense = billions(shape.parameters)
        rows.append(
            (
                number.model,
                tied,
                f"{number.sparsity} %",
                dense,
                as_printed(number),
                f"{signed(100 * change)}%",
            )
        )
    headers = ["model", "embeddings", "sparsity", "dense", "printed", "change"]
    conclusion = "Every printed count is below that of the dense model."
    if larger:
        conclusion = f"Larger than the dense model: {', '.join(larger)}."
    return Statement(
        "A model sliced by SliceGPT is smaller than the dense model",
        "Table 7: rows of SliceGPT at pruning ratios of 20, 40 and 60 %.",
        (
            _spell_untying(next((n for n in numbers if shape_of(n.model_id).tied), numbers[0])),
            grid(headers, rows),
        ),
        holds(not larger),
        conclusion,
    )


def _spell_untying(number: Printed) -> str:
    """Say what a sliced model has that the dense one has not."""
    shape, width = shape_of(number.model_id), budget_of(number).width
    assert width is not None, "a sliced model has a width"
    head, layers = shape.vocab_size * shape.hidden_size, len(shape.blocks)
    return (
        "A dense model with tied embeddings stores them once. The sliced one has a head of its "
        f"own and shortcuts: for {number.model} at {number.sparsity} %, {shape.vocab_size}·"
        f"{shape.hidden_size} = {head:,} and 2·{layers}·{width}² = {2 * layers * width**2:,} "
        f"parameters, {(head + 2 * layers * width**2) / shape.parameters:.1%} of the dense model."
    )


def _ranges(numbers: list[Printed]) -> tuple[str, list[Printed]]:
    """Set printed counts beside their ranges: a table, and those outside."""
    rows, outside = [], []
    for number in numbers:
        budget = budget_of(number)
        inside = within(number, budget)
        if not inside:
            outside.append(number)
        uniform = find_method("adapt-pruner").parse({"amplitude": 0})
        even = find_method("adapt-pruner").budget(
            shape_of(number.model_id), number.sparsity, uniform
        )
        rows.append(
            (
                number.model,
                f"{number.sparsity} %",
                as_printed(number),
                span(budget.minimum, budget.maximum),
                yes(inside),
                billions(even.minimum),
            )
        )
    headers = ["model", "sparsity", "printed", "range", "inside", "all layers alike"]
    return grid(headers, rows), outside


def _range_finding(numbers: list[Printed], outside: list[Printed]) -> tuple[Finding, str]:
    inside = len(numbers) - len(outside)
    conclusion = f"{inside} of {len(numbers)} printed counts lie in the range; "
    if not outside:
        return Finding.OPEN, conclusion + "which count within it is reached depends on the weights."
    names = ", ".join(f"{n.model} at {n.sparsity} %" for n in outside)
    return Finding.REFUTED, f"{conclusion}{names} cannot be reached."


def _flap_range(numbers: list[Printed]) -> Statement:
    table, outside = _ranges(numbers)
    first, cost = numbers[0], 4 * FLAP_HEAD_DIM // 3
    layers, block = len(shape_of(first.model_id).blocks), shape_of(first.model_id).blocks[0]
    units = layers * (block.kv_heads * cost + block.intermediate_size)
    return Statement(
        f"FLAP's counts of models with {FLAP_HEAD_DIM} channels per head lie within its budget",
        "Table 7, #Param. of FLAP.",
        (
            "Rule: heads and neurons of all layers are ranked in one list and cut to a budget in "
            f"which a head costs ⌊4·{FLAP_HEAD_DIM}/3⌋ = {cost} neurons; a head here is a kv head "
            "with its query heads. How the budget splits depends on the weights, and so does the "
            f"count. {first.model} at {first.sparsity} %: {layers}·({block.kv_heads}·{cost} + "
            f"{block.intermediate_size}) = {units:,} neurons' worth, of which "
            f"{units * first.sparsity / 100:,.0f} go. The last column is the count of a cut of all "
            "layers alike.",
            table,
        ),
        *_range_finding(numbers, outside),
    )


def _adapt_pruner(numbers: list[Printed]) -> Statement:
    table, outside = _ranges(numbers)
    return Statement(
        "Adapt-Pruner's counts in Table 7 lie within what its rule allows",
        "Table 7, #Param. of Adapt-Pruner; A = 0.02, the number of steps is not stated.",
        (
            "Rule (official code): s ← clamp(s + S/T − A·I, 0, 0.99) for each layer at each of T "
            "steps. The range takes all layers at I = −1 and all at I = 1, with T = 50. With "
            "A = 0.02 and S/T < 0.02 it spans everything from the smallest to the dense model, so "
            "it excludes little; the last column is the count at A = 0.",
            table,
        ),
        *_range_finding(numbers, outside),
    )
