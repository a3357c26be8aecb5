"""Token perplexity over windows of a fixed length, the convention of most pruning papers.

lm-eval reports perplexity per word and per byte, each document scored whole. Pruning papers mostly
join all documents, cut the tokens into windows that know nothing of one another, and report
perplexity per token. The two differ by a large factor, and so do two window lengths, so each number
carries its length: ``token_perplexity_2048`` is never the same column as ``word_perplexity``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from adaptprune.data.encoding import plain_ids
from adaptprune.errors import NumericalError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval.models.huggingface import HFLM

#: Name of the metric, before the length.
METRIC = "token_perplexity_"
#: What stands between two documents.
SEPARATOR = "\n\n"


def cut_windows(tokens: Sequence[int], length: int) -> list[list[int]]:
    """Cut tokens into windows of exactly ``length``; what is left over at the end is dropped."""
    return [
        list(tokens[start : start + length]) for start in range(0, len(tokens) - length + 1, length)
    ]


def rounded_name(bits: int, metric: str) -> str:
    """Return what a metric is called of the model with weights of so many bits."""
    return f"awq{bits}_{metric}"


def check_lengths(lengths: Sequence[int], max_length: int) -> None:
    """Refuse window lengths that nothing can be predicted in or that the model does not see.

    Raises:
        UserError: naming the length and what is allowed.
    """
    for length in lengths:
        if not 2 <= length <= max_length:
            raise UserError(
                f"token perplexity at {length} tokens: the length must lie in 2..{max_length} "
                "(the evaluation's max_length)"
            )


def joined_tokens(tokenizer: Any, texts: Sequence[str], length: int) -> list[int]:
    """Return the token ids of all texts, joined.

    Args:
        tokenizer: of the model.
        texts: documents in order.
        length: of the longest window, which they must fill.

    Raises:
        UserError: they do not.
    """
    tokens = plain_ids(tokenizer, SEPARATOR.join(texts))
    if len(tokens) < length:
        raise UserError(
            f"token perplexity at {length} tokens: the texts have only {len(tokens)} tokens"
        )
    return tokens


def token_perplexities(
    language_model: HFLM, texts: Sequence[str], lengths: Sequence[int]
) -> dict[str, float]:
    """Score texts by every window length asked for, in one call, so that common work is shared.

    Args:
        language_model: lm-eval's, with or without shared prefixes.
        texts: documents in order.
        lengths: tokens of a window; its first token is not predicted.

    Returns:
        ``token_perplexity_LENGTH`` → exp of the mean negative log-likelihood (nats) of the
        predicted tokens.

    Raises:
        UserError: the texts do not fill the longest window.
        NumericalError: a perplexity is not finite.
    """
    tokens = joined_tokens(language_model.tokenizer, texts, max(lengths))
    windows = {length: cut_windows(tokens, length) for length in lengths}
    requests = [(None, window[:1], window[1:]) for cut in windows.values() for window in cut]
    scores = iter(language_model._loglikelihood_tokens(requests))
    found = {}
    for length, cut in windows.items():
        total = math.fsum(next(scores)[0] for _ in cut)
        try:
            perplexity = math.exp(-total / (len(cut) * (length - 1)))
        except OverflowError:
            perplexity = math.inf
        if not math.isfinite(perplexity):
            raise NumericalError(f"token perplexity at {length} tokens is {perplexity}")
        found[f"{METRIC}{length}"] = perplexity
    return found
