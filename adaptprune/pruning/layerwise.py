"""Layer by layer: the inputs that the pruned layers before give, and the rule applied to each."""

from __future__ import annotations

import itertools
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.errors import NumericalError
from adaptprune.models.anatomy import blocks_of, hooked, linears_of, stream_out, weight_shapes
from adaptprune.pruning.decisions import Masked
from adaptprune.pruning.masks import Mask

if TYPE_CHECKING:
    from adaptprune.models.anatomy import Linear
    from adaptprune.pruning.choice import Quirk
    from adaptprune.pruning.metrics import Rule
    from adaptprune.pruning.patterns import Pattern


@torch.no_grad()
def prune_weights(
    model: Any,
    tokens: torch.Tensor | None,
    rule: Rule,
    pattern: Pattern,
    sequential: Quirk = "official",
) -> tuple[Masked, list[dict[str, Any]]]:
    """Prune the linear layers of all decoder blocks, in place.

    Args:
        model: a causal language model whose family has an anatomy.
        tokens: calibration token ids [sequences, length]; None for a rule without statistics.
        rule: how one matrix is pruned.
        pattern: what it leaves.
        sequential: ``official`` takes the statistics of all linear layers of a block from one pass
            of the dense block; ``corrected`` prunes those that read one input before the inputs
            of the next are looked at.

    Returns:
        The decision, and a log of every linear layer.

    Raises:
        UserError: the family has no anatomy, or the pattern does not divide a row.
        NumericalError: a weight or an input is not finite.
    """
    pattern.check_rows(weight_shapes(model))
    decision, log = Masked(pattern, {}), []
    streams = None
    if rule.statistics is not None:
        assert tokens is not None, "statistics need calibration tokens"
        streams = Streams(model, tokens)
    for index in range(len(blocks_of(model))):
        groups = linears_of(model, index)
        for together in [groups] if sequential == "official" else [[group] for group in groups]:
            found = streams.observe(index, together, rule) if streams else [None] * len(together)
            for group, statistics in zip(together, found, strict=True):
                for linear in group:
                    log.append(_prune_linear(linear, rule, statistics, decision))
            del found, statistics  # of one layer at a time
        if streams:
            streams.advance(index)
    return decision, log


def _prune_linear(linear: Linear, rule: Rule, statistics: Any, decision: Masked) -> dict[str, Any]:
    """Prune one matrix in place, add it to the decision, and return its line of the log."""
    matrix = linear.matrix
    try:
        choice = rule.choose(matrix, statistics)
    except NumericalError as error:
        raise NumericalError(f"{linear.name}: {error}") from None
    if choice.weight is not None:
        matrix.copy_(choice.weight)
        decision.weights[linear.name] = matrix
    matrix.masked_fill_(choice.pruned, 0)
    mask = decision.masks[linear.name] = Mask.pack(~choice.pruned)
    return {"weight": linear.name, "weights": mask.weights, "kept": mask.kept, **choice.log}


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """Ends a forward pass whose rest is not needed."""


#: Tokens that pass a block together, where several sequences are that short.
_TOGETHER = 512
#: A product has the same last bits in one piece and in several if they are cut at its multiples.
_WHOLE = 16


class Streams:
    """The residual streams of the calibration sequences on their way through the blocks.

    Short sequences pass a block together. Statistics take in one after the other, as in the
    official codes: their running means depend on it in the last bits.

    Args:
        model: a causal language model.
        tokens: token ids [sequences, length].
    """

    def __init__(self, model: Any, tokens: torch.Tensor):
        self.model = model
        self.blocks = blocks_of(model)
        # What a block is given besides the stream depends on its kind (sliding attention, say) and
        # on the length alone, which is the same for all sequences.
        given = self._record(tokens[:1], len(self.blocks))
        self.arguments = [(positional, named) for _, positional, named in given]
        self.length = tokens.shape[1]
        together = 1 if self.length % _WHOLE else max(1, _TOGETHER // self.length)
        self.streams = [self._record(rows, 1)[0][0] for rows in tokens.split(together)]

    def _record(self, rows: torch.Tensor, count: int) -> list[tuple[torch.Tensor, tuple, dict]]:
        """Return what the first blocks are given: the stream, positional and named arguments."""
        given: list[tuple[torch.Tensor, tuple, dict]] = []

        def record(_: Any, positional: tuple, named: dict) -> None:
            named = dict(named)
            stream = positional[0] if positional else named.pop("hidden_states")
            given.append((stream, positional[1:], named))
            if len(given) == count:
                raise _Enough

        with suppress(_Enough), hooked(before=dict.fromkeys(self.blocks[:count], record)):
            self.model.base_model(input_ids=rows, use_cache=False)
        return given

    def _pass(self, index: int, stream: torch.Tensor) -> torch.Tensor:
        positional, named = self.arguments[index]
        output = self.blocks[index](stream, *positional, **named)
        return stream_out(output)

    def observe(self, index: int, groups: list[list[Linear]], rule: Rule) -> list[Any]:
        """Pass all sequences through a block; return the statistics of each group's inputs.

        A pass ends where the last group has its inputs.

        Args:
            index: of the block.
            groups: linear layers that read one input together.
            rule: whose statistics are gathered.
        """
        assert rule.statistics is not None, "a rule without statistics observes nothing"
        found = [rule.statistics(first.shape[1], first.matrix.device) for first, *_ in groups]
        calls = itertools.count(1)

        def add(statistics: Any, _: Any, inputs: tuple, __: dict) -> None:
            for sequence in inputs[0].flatten(0, -2).split(self.length):
                statistics.add(sequence)
            if next(calls) % len(groups) == 0:
                raise _Enough

        watched = {
            first.module: partial(add, statistics)
            for (first, *_), statistics in zip(groups, found, strict=True)
        }
        with hooked(before=watched):
            for stream in self.streams:
                with suppress(_Enough):
                    self._pass(index, stream)
        return found

    def pass_all(self, index: int) -> None:
        """Pass all sequences through a block, for those who watch its parts."""
        for stream in self.streams:
            self._pass(index, stream)

    def advance(self, index: int) -> None:
        """Move all streams behind a block, unless it is the last."""
        if index + 1 < len(self.blocks):
            for place, stream in enumerate(self.streams):
                self.streams[place] = self._pass(index, stream)
