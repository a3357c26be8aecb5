"""Generation by lm-eval's path, with cache and in padded batches, against greedy search without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm_eval.api.instance import Instance
from test_scorer import (
    SHAPE,
    VOCABULARY,
    heterogeneous_model,
    sliced_model,
    tiny_model,
    tiny_tokenizer,
)

from adaptprune import modeling
from adaptprune.evaluation.scorer import PrefixScorer

if TYPE_CHECKING:
    from collections.abc import Callable

NEW_TOKENS = 12
END = 0  # of a text, in the tiny tokenizer


def biased_model() -> Any:
    """What FLAP leaves: other widths per layer, and biases that make up for what was cut."""
    blocks = [
        {"intermediate_size": width, "down_proj_bias": True, "o_proj_bias": True}
        for width in (20, 48, 7)
    ]
    torch.manual_seed(1)
    config = modeling.AdaptPruneLlamaConfig(**SHAPE, head_dim=8, blocks=blocks)
    model = modeling.AdaptPruneLlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(0.5 * torch.randn_like(parameter))
    return model


def greedy_without_cache(model: Any, prompt: list[int]) -> list[int]:
    """Return the tokens that follow a prompt, computing everything again for each of them."""
    tokens = list(prompt)
    with torch.no_grad():
        while len(tokens) < len(prompt) + NEW_TOKENS:
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]
            if (best := int(logits.argmax())) == END:
                break
            tokens.append(best)
    return tokens[len(prompt) :]


@pytest.mark.parametrize("make", [tiny_model, heterogeneous_model, biased_model, sliced_model])
def test_generation_with_cache_is_greedy_search_without(make: Callable[[], Any]) -> None:
    model = make()
    model.generation_config.eos_token_id = END  # as a real checkpoint says it
    tokenizer = tiny_tokenizer()
    scorer = PrefixScorer(model, tokenizer, max_length=64, batch_size=4)
    generator = torch.Generator().manual_seed(0)
    # Of different lengths, so that the shorter ones of a batch are padded.
    prompts = [
        torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
        for length in (3, 17, 9, 1, 25, 6)
    ]
    settings = {"until": ["nothing says this"], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (tokenizer.decode(prompt), dict(settings)), index)
        for index, prompt in enumerate(prompts)
    ]
    found = scorer.generate_until(requests, disable_tqdm=True)
    wanted = [greedy_without_cache(model, prompt) for prompt in prompts]
    assert found == [tokenizer.decode(tokens) for tokens in wanted]
    assert len({tuple(tokens) for tokens in wanted}) > 1


def test_generation_stops_at_a_given_text() -> None:
    model, tokenizer = biased_model(), tiny_tokenizer()
    scorer = PrefixScorer(model, tokenizer, max_length=64)
    tokens = greedy_without_cache(model, [5, 6, 7])
    assert len(tokens) > 1
    stop = tokenizer.decode(tokens[1:2])
    settings = {"until": [stop], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    request = Instance("generate_until", {}, ("w5 w6 w7", settings), 0)
    (text,) = scorer.generate_until([request], disable_tqdm=True)
    assert text == tokenizer.decode(tokens).partition(stop)[0]
