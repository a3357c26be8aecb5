"""Token perplexity over fixed windows against a plain computation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from test_scorer import WINDOW, tiny_model, tiny_tokenizer

from adaptprune.errors import NumericalError, UserError
from adaptprune.evaluation.perplexity import check_lengths, cut_windows, token_perplexities
from adaptprune.evaluation.scorer import PrefixScorer

if TYPE_CHECKING:
    from typing import Any

TEXTS = [" ".join(f"w{1 + (7 * i + 3 * t) % 37}" for i in range(15 + t)) for t in range(4)]


@pytest.fixture(scope="module")
def language_model() -> Any:
    return PrefixScorer(tiny_model(), tiny_tokenizer(), max_length=WINDOW)


def plain_perplexity(language_model: Any, tokens: list[int], length: int) -> float:
    total, count = 0.0, 0
    for start in range(0, len(tokens) - length + 1, length):
        window = torch.tensor([tokens[start : start + length]])
        with torch.no_grad():
            loss = language_model.model(input_ids=window, labels=window).loss
        total += loss.item() * (length - 1)
        count += length - 1
    return math.exp(total / count)


def test_windows_by_hand() -> None:
    assert cut_windows(range(10), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert cut_windows(range(8), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert cut_windows(range(3), 4) == []


def test_several_lengths_agree_with_plain_forward_passes(language_model: Any) -> None:
    tokens = language_model.tok_encode("\n\n".join(TEXTS), add_special_tokens=False)
    found = token_perplexities(language_model, TEXTS, [4, 16, WINDOW])
    assert list(found) == [
        "token_perplexity_4",
        "token_perplexity_16",
        f"token_perplexity_{WINDOW}",
    ]
    for length in (4, 16, WINDOW):
        expected = plain_perplexity(language_model, tokens, length)
        assert found[f"token_perplexity_{length}"] == pytest.approx(expected, rel=1e-5)


def test_common_beginnings_are_computed_once(language_model: Any) -> None:
    before = language_model.work.tokens
    token_perplexities(language_model, TEXTS, [8, 16])
    both = language_model.work.tokens - before
    token_perplexities(language_model, TEXTS, [16])
    alone = language_model.work.tokens - before - both
    # Half of the windows of 8 tokens begin a window of 16.
    assert both < 1.6 * alone


@pytest.mark.parametrize("length", [0, 1, 2049])
def test_impossible_lengths_are_refused(length: int) -> None:
    with pytest.raises(UserError, match=rf"at {length} tokens: the length must lie in 2..2048"):
        check_lengths([128, length], 2048)


def test_too_short_texts_are_refused(language_model: Any) -> None:
    with pytest.raises(UserError, match="at 24 tokens: the texts have only 2 tokens"):
        token_perplexities(language_model, ["w1 w2"], [24])


def test_a_broken_model_is_a_numerical_failure(
    language_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        language_model, "_loglikelihood_tokens", lambda requests: [(math.nan, False)] * 99
    )
    with pytest.raises(NumericalError, match="at 4 tokens is nan"):
        token_perplexities(language_model, TEXTS, [4])
