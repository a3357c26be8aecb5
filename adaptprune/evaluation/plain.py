"""Scoring without packing: every text by itself, through the model's own forward pass.

Texts of one length share a pass, so that none is padded: where positions or frequencies depend on
the longest text of a pass, each text still gets its own. A pass begins in a fresh state.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import torch

from adaptprune.evaluation.forward import Scores, log_softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptprune.evaluation.forward import Budget, Precision
    from adaptprune.evaluation.freshstate import FreshState
    from adaptprune.evaluation.packing import Request

logger = logging.getLogger(__name__)


def score_plainly(
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    requests: Sequence[Request],
    scores: Scores,
    state: FreshState,
    budget: Budget,
    precision: Precision = "float32",
    progress: Callable[[int, int], None] = lambda tokens, requests: None,
) -> None:
    """Fill the slots of requests.

    Args:
        logits_of: the model's forward pass: token ids [rows, length] to logits [rows, length,
            vocabulary].
        requests: what is scored.
        scores: receives the scores.
        state: of the model before any text.
        budget: tokens of a pass; one text may be longer.
        precision: of the softmax.
        progress: told the computed tokens and finished requests after each pass.
    """
    ordered = sorted(requests, key=lambda request: (len(request.inputs), request.inputs))
    for length, alike in itertools.groupby(ordered, key=lambda request: len(request.inputs)):
        texts = [list(same) for _, same in itertools.groupby(alike, key=lambda r: r.inputs)]
        while texts:
            rows = max(1, budget.batch // length)
            taken = texts[:rows]
            inputs = torch.tensor([same[0].inputs for same in taken], device=scores.greedy.device)
            state.restore()
            try:
                logits = logits_of(inputs)
                for row, same in zip(logits, taken, strict=True):
                    for request in same:
                        _score(row, request, scores, precision)
            except torch.OutOfMemoryError:
                if len(taken) == 1:
                    raise
                budget.batch = length * (len(taken) // 2)
                torch.cuda.empty_cache()
                logger.warning("out of memory: %d tokens at once from now on", budget.batch)
                continue
            texts = texts[rows:]
            progress(inputs.numel(), sum(map(len, taken)))
    state.restore()


def _score(logits: torch.Tensor, request: Request, scores: Scores, precision: Precision) -> None:
    """Score one request from the logits of its text, [length, vocabulary]."""
    found = log_softmax(logits[-len(request.scored) :], precision)
    wanted = torch.tensor(request.scored, device=found.device)
    slots = slice(request.slot, request.slot + len(request.scored))
    scores.log_probabilities[slots] = found.gather(-1, wanted[:, None])[:, 0].float()
    scores.greedy[slots] = found.argmax(dim=-1) == wanted
