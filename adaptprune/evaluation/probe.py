"""Does a model read a packed tree as it reads each text alone? Tried before anything is scored.

A probe lies beyond every length that the config or a module states and that the window reaches: a
sliding or local window, the switch of a rotary type, a chunk. Within these lengths a model can
treat a packed row like a text, and beyond them otherwise.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adaptprune.evaluation.forward import Budget, Scores, TreeRunner
from adaptprune.evaluation.packing import Request, plan
from adaptprune.evaluation.plain import score_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel

    from adaptprune.evaluation.freshstate import FreshState

# A tree that is not understood is wrong by whole nats. Rounding stays far below, though a sliced
# model, which has no normalised stream, has shown 0.002 nats in float32.
TOLERANCE = {torch.float32: 0.005, torch.float16: 0.1, torch.bfloat16: 0.5}
#: A threshold that takes longer texts to cross is not probed: the mask of a row is their square.
LONGEST_PROBE = 8192
#: How families name lengths at which something changes.
_LENGTH_NAME = re.compile(r"window|position|chunk|local|context|seq_len|n_ctx|block_size|span")
_STEM, _TAIL = 8, 8  # tokens that all branches share, and what follows the last threshold


def why_not_packed(
    model: PreTrainedModel,
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    state: FreshState,
    window: int,
) -> str | None:
    """Return why a model cannot be scored in packed trees, or None where it can.

    Args:
        model: a decoder-only model.
        logits_of: its forward pass, see ``score_plainly``.
        state: of the model before any text.
        window: tokens that it is shown at most.
    """
    attention = model.config._attn_implementation
    if attention not in ("eager", "sdpa"):
        return f"its attention implementation {attention!r} takes no tree mask"
    name, crossed = last_threshold(model, window)
    if crossed > LONGEST_PROBE:
        return f"its {name} ({crossed}) takes too long a probe to cross"
    try:
        difference = _difference(model, logits_of, state, window, crossed)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # models' code raises anything for arguments it does not expect
        return f"its forward pass refuses a tree ({type(error).__name__}: {error})"
    if difference <= TOLERANCE.get(model.dtype, 1e-3):
        return None
    beyond = f" beyond its {name} ({crossed})" if crossed else ""
    return f"its own forward pass differs from the tree by {difference:.2g} nats on a probe{beyond}"


def last_threshold(model: PreTrainedModel, window: int) -> tuple[str, int]:
    """Return the largest length below the window at which a model may change, with its name.

    Returns:
        The name in words and the length; 0 where the window crosses none.
    """
    stated = [*_stated_lengths(model.config.to_dict())]
    for module in model.modules():
        stated += _stated_lengths(vars(module))
    crossed = [(length, name) for name, length in stated if 1 < length < window]
    length, name = max(crossed, default=(0, ""))
    return name.replace("_", " ").strip(), length


def _stated_lengths(content: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Yield the numbers under names of lengths, in whatever they are nested."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _stated_lengths(value, str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _stated_lengths(value, name)
    elif type(content) is int and _LENGTH_NAME.search(name):
        yield name, content


def probe_requests(vocabulary: int, window: int, threshold: int) -> list[Request]:
    """Return texts whose tree has what trees can have: deep and early forks, and strangers.

    Args:
        vocabulary: token ids are below it.
        window: no text is longer.
        threshold: the longest text goes beyond it.
    """
    generator = np.random.default_rng(0)
    length = min(max(threshold, _STEM) + _TAIL, window)
    long = generator.integers(vocabulary, size=length).tolist()
    stem = long[: min(_STEM, length // 2)]
    other = generator.integers(vocabulary, size=length - len(stem)).tolist()
    texts = [
        long,
        [*long[:-2], (long[-2] + 1) % vocabulary],  # a fork at the end: a long prefix is kept
        [*stem, *other],  # a fork at the beginning: far from the stem in the row
        [*stem, *other[: max(1, len(stem) // 2)]],
        other[: len(stem)],  # a stranger
    ]
    requests, slot = [], 0
    for text in texts:
        count = min(len(text), _TAIL)
        scored = generator.integers(vocabulary, size=count).tolist()
        requests.append(Request(tuple(text), tuple(scored), slot))
        slot += count
    return requests


def _difference(
    model: PreTrainedModel,
    logits_of: Callable[[torch.Tensor], torch.Tensor],
    state: FreshState,
    window: int,
    threshold: int,
) -> float:
    """Return by how many nats trees differ from each text alone, all in one row or with prefixes.

    Where the texts alone give NaN, and the trees too, the model is broken, which is no difference:
    its own NaN is what is to be reported.
    """
    words: Any = model.get_input_embeddings()
    requests = probe_requests(words.weight.shape[0], window, threshold)
    slots = sum(len(request.scored) for request in requests)
    total = sum(len(request.inputs) for request in requests)
    alone = Scores.empty(slots, model.device)
    score_plainly(logits_of, requests, alone, state, Budget(row=1, batch=1))
    expected = alone.log_probabilities
    largest = 0.0
    for capacity, overhead, row in ((total, total, total), (1, 0, 8)):
        runner = TreeRunner(model, Budget(row, row), Scores.empty(slots, model.device))
        try:
            runner.run(plan(requests, capacity, overhead))
        finally:
            state.restore()
        difference = (runner.scores.log_probabilities - expected).abs().max().item()
        if math.isnan(difference):
            difference = 0.0 if expected.isnan().any() else math.inf
        largest = max(largest, difference)
    return largest
