"""Forward passes over packed prefix trees: the mask, kept prefixes, projecting what is scored."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from transformers import DynamicCache

from adaptprune.evaluation.packing import pack, take_trees
from adaptprune.models.loss import logits_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from adaptprune.evaluation.packing import Group, Rows, Tree

logger = logging.getLogger(__name__)

# Keys and values of the tokens before a tree, per layer, each [1, kv heads, tokens, head_dim].
Prefix = list[tuple[torch.Tensor, torch.Tensor]]

#: Of the softmax: float32 whatever the model's dtype, or ``stock``, the dtype of the logits.
Precision = Literal["float32", "stock"]

PROJECTION_TOKENS = 512  # projected to the vocabulary at a time: bounds the memory of the logits


@dataclass
class Budget:
    """How much is computed at once.

    Attributes:
        row: tokens of one row; longer rows pay for attention between strangers, shorter ones for
            padding.
        batch: tokens of all rows of a forward pass; halved when memory runs out.
    """

    row: int
    batch: int

    def halve(self) -> None:
        """Make do with half the memory."""
        self.batch //= 2
        self.row = min(self.row, self.batch)


@dataclass
class Work:
    """What has been computed, in tokens (padding not among ``tokens``) and forward passes."""

    tokens: int = 0
    padding: int = 0
    projected: int = 0
    forwards: int = 0


def tree_mask(ends: torch.Tensor, known: int, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive attention mask of packed trees.

    Args:
        ends: one past the last descendant of each token, [rows, width].
        known: tokens of the prefix, which every token sees.
        dtype: of the model.

    Returns:
        [rows, 1, width, known + width], 0 where the query sees the key, else the most negative
        number (not minus infinity: a block of keys in which a query sees nothing must not be NaN).
    """
    rows, width = ends.shape
    index = torch.arange(width, device=ends.device)
    seen = (index[None, :] <= index[:, None]) & (index[None, :, None] < ends[:, None, :])
    mask = torch.zeros(rows, 1, width, known + width, dtype=dtype, device=ends.device)
    mask[:, 0, :, known:].masked_fill_(~seen, torch.finfo(dtype).min)
    return mask


def log_softmax(logits: torch.Tensor, precision: Precision) -> torch.Tensor:
    """Return log-probabilities over the last axis, in float32 or in the dtype of the logits."""
    # As stock does it: torch's float32 log_softmax is some 1e-5 nats too high per token on CPU,
    # which a more exact logsumexp would show as a difference on long texts.
    return torch.log_softmax(logits, dim=-1, dtype=None if precision == "stock" else torch.float32)


@dataclass
class Scores:
    """Flat arrays of scores on the model's device.

    Attributes:
        log_probabilities: float32 in nats, [slots].
        greedy: whether the scored token is the most probable one, [slots].
    """

    log_probabilities: torch.Tensor
    greedy: torch.Tensor

    @classmethod
    def empty(cls, slots: int, device: torch.device) -> Scores:
        """Return room for ``slots`` scores, none of which is known yet."""
        return cls(
            torch.full((slots,), math.nan, device=device),
            torch.zeros(slots, dtype=torch.bool, device=device),
        )


def halves(chain: Tree) -> tuple[Tree, Tree]:
    """Cut a chain of at least two tokens in the middle."""
    middle = len(chain) // 2
    first = chain.targets[:, 0] < middle
    front = replace(
        chain,
        tokens=chain.tokens[:middle],
        depths=chain.depths[:middle],
        ends=np.full(middle, middle),
        targets=chain.targets[first],
        requests=0,  # they count as finished with the other half
    )
    back = replace(
        chain,
        tokens=chain.tokens[middle:],
        depths=chain.depths[middle:],
        ends=chain.ends[middle:] - middle,
        targets=chain.targets[~first] - (middle, 0, 0),
    )
    return front, back


@dataclass
class TreeRunner:
    """One walk through a plan that fills scores.

    Attributes:
        model: a causal language model.
        budget: shared between walks, so that what was learnt about memory is kept.
        scores: filled by the walk.
        precision: of the softmax.
        progress: told the computed tokens and finished requests after each forward pass.
    """

    model: PreTrainedModel
    budget: Budget
    scores: Scores
    precision: Precision = "float32"
    progress: Callable[[int, int], None] = lambda tokens, requests: None
    work: Work = field(default_factory=Work)

    def run(self, group: Group, prefix: Prefix | None = None) -> None:
        """Score a group whose parents' keys and values are ``prefix``."""
        if group.prefix is not None:
            prefix = self._keep(group.prefix, prefix)
        pending = sorted(group.trees, key=len)
        while pending:
            untouched = list(pending)
            rows = take_trees(pending, self.budget.row, self.budget.batch)
            fits, _ = self._try(rows, prefix, may_divide=len(rows) > 1 or len(rows[0]) > 1)
            if not fits:
                self.budget.halve()
                logger.warning("out of memory: %d tokens at once from now on", self.budget.batch)
                pending = untouched
        for inner in group.groups:
            self.run(inner, prefix)

    def _keep(self, chain: Tree, prefix: Prefix | None) -> Prefix | None:
        """Return a prefix made longer by a chain, which goes in two halves where it must."""
        fits, longer = self._try([[chain]], prefix, may_divide=len(chain) > 1, keep=True)
        if fits:
            return longer
        logger.warning("out of memory: a prefix of %d tokens goes in two halves", len(chain))
        for half in halves(chain):
            prefix = self._keep(half, prefix)
        return prefix

    def _try(
        self, rows: list[list[Tree]], prefix: Prefix | None, *, may_divide: bool, keep: bool = False
    ) -> tuple[bool, Prefix | None]:
        """Compute rows; say whether the memory was enough, and return the prefix to keep.

        Raises:
            torch.OutOfMemoryError: it was not, and there is nothing left to divide.
        """
        try:
            return True, self._forward(rows, prefix, keep)
        except torch.OutOfMemoryError:
            if not may_divide:
                raise
        # Outside of the handler, whose error holds the tensors of what was under way.
        torch.cuda.empty_cache()
        return False, None

    @torch.no_grad()
    def _forward(
        self, trees: list[list[Tree]], prefix: Prefix | None, keep: bool = False
    ) -> Prefix | None:
        """Compute rows of trees and score their targets; return the longer prefix if ``keep``."""
        rows = pack(trees)
        cache = None
        if prefix or keep:
            shape = (len(trees), -1, -1, -1)
            cache = DynamicCache((k.expand(shape), v.expand(shape)) for k, v in prefix or [])
        arguments: dict[str, Any] = {}
        if prefix or not rows.causal:
            known = prefix[0][0].shape[-2] if prefix else 0
            arguments["position_ids"] = self._tensor(rows.depths)
            arguments["attention_mask"] = tree_mask(
                self._tensor(rows.ends), known, self.model.dtype
            )
        hidden = self.model.base_model(
            input_ids=self._tensor(rows.tokens),
            past_key_values=cache,
            use_cache=cache is not None,
            **arguments,
        ).last_hidden_state
        self._score(hidden.flatten(0, 1), rows)
        self.work.forwards += 1
        self.work.tokens += rows.used
        self.work.padding += rows.tokens.size - rows.used
        self.progress(rows.used, rows.requests)
        if not (keep and cache):
            return None
        layers: list[Any] = cache.layers
        return [(layer.keys, layer.values) for layer in layers]

    def _score(self, hidden: torch.Tensor, rows: Rows) -> None:
        """Project the scored positions of ``hidden`` ([tokens, width]) and fill their slots."""
        targets = self._tensor(rows.targets)
        positions, which = torch.unique(targets[:, 0], return_inverse=True)
        order = torch.argsort(which, stable=True)
        targets, which = targets[order], which[order]
        bounds = range(0, len(positions), PROJECTION_TOKENS)
        for first in bounds:
            chosen = positions[first : first + PROJECTION_TOKENS]
            logits = logits_of(self.model, hidden[chosen])
            scores = log_softmax(logits, self.precision)
            best = scores.argmax(dim=-1)
            here = (which >= first) & (which < first + len(chosen))
            local, (_, token, slot) = which[here] - first, targets[here].T
            self.scores.log_probabilities[slot] = scores[local, token].float()
            self.scores.greedy[slot] = best[local] == token
        self.work.projected += len(positions)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        """Put a numpy array on the model's device."""
        return torch.from_numpy(array).to(self.model.device)
