"""The prefix scorer against lm-eval's own model, on tiny random models."""

import logging
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from adaptprune import modeling
from adaptprune.evaluation.forward import TreeRunner
from adaptprune.evaluation.scorer import PrefixScorer

WINDOW = 24
VOCABULARY = 40
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,  # logits far enough apart that a wrong mask shows
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<s>": 0, **{f"w{index}": index for index in range(1, VOCABULARY)}}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<s>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>", unk_token="<s>"
    )


def tiny_model(family: str = "llama", **changes):
    classes = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "mistral": (MistralConfig, MistralForCausalLM),
        "gemma2": (Gemma2Config, Gemma2ForCausalLM),
    }
    config_class, model_class = classes[family]
    torch.manual_seed(0)
    return model_class(config_class(**{**SHAPE, **changes})).eval()


def both(model) -> tuple[PrefixScorer, HFLM]:
    tokenizer = tiny_tokenizer()
    ours = PrefixScorer(model, tokenizer, max_length=WINDOW)
    # Stock's shortcut for one-token continuations (logits_cache) mixes up requests that split the
    # same tokens in different places, e.g. (1 2 | 3) and (1 | 2 3), so it is no reference here.
    stock = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        max_length=WINDOW,
        batch_size=8,
        logits_cache=False,
    )
    return ours, stock


def assert_equal_scores(scorers: tuple[PrefixScorer, HFLM], pairs) -> None:
    requests = [((str(pair), ""), *pair) for pair in pairs]
    ours, stock = (s._loglikelihood_tokens(requests, disable_tqdm=True) for s in scorers)
    np.testing.assert_allclose([x for x, _ in ours], [x for x, _ in stock], atol=1e-4)
    assert [flag for _, flag in ours] == [flag for _, flag in stock]


@pytest.fixture(scope="module")
def llama():
    return both(tiny_model())


@pytest.fixture(scope="module", params=["llama", "llama-eager", "qwen2", "mistral"])
def scorers(request):
    family, _, attention = request.param.partition("-")
    changes = {"sliding_window": 32} if family == "mistral" else {}
    model = tiny_model(family, **changes)
    if attention:
        model.set_attn_implementation(attention)
    return both(model)


tokens = st.integers(1, 3)
shared = st.lists(st.lists(tokens, min_size=1, max_size=30), min_size=1, max_size=3)
tails = st.lists(tokens, max_size=6)
endings = st.lists(tokens, min_size=1, max_size=6)


@st.composite
def tries(draw):
    """Requests over few stems: cut anywhere, continued anyhow, repeated, longer than the window."""
    stems = draw(shared)
    count = draw(st.integers(1, 12))
    pairs = []
    for _ in range(count):
        stem = draw(st.sampled_from(stems))
        context = stem[: draw(st.integers(1, len(stem)))] + draw(tails)
        pairs.append((context, draw(endings)))
    return pairs + pairs[: draw(st.integers(0, 2))]


@settings(deadline=None, max_examples=60)
@given(tries(), st.sampled_from([1, 8, 64]), st.sampled_from([8, 40, 256]))
def test_any_trie_scores_as_stock(llama, pairs, row, batch):
    llama[0].budget.row, llama[0].budget.batch = min(row, batch), batch
    assert_equal_scores(llama, pairs)


CASES = {
    "choices of one token": [([5, 6, 7], [choice]) for choice in (1, 2, 3)],
    "nothing shared": [([start], [1, 2, 3]) for start in range(4, 10)],
    "context longer than the window": [
        (list(range(1, 36)), [1, 2]),
        (list(range(1, 36)), [1, 2, 3]),
        (list(range(5, 36)), [1]),
    ],
    "continuation as long as the window": [([1], list(range(1, WINDOW + 1)))],
    "identical requests": [([1, 2, 3], [4, 5])] * 3,
    "one continuation begins another": [([1, 2], [3]), ([1, 2], [3, 4]), ([1, 2], [3, 4, 5])],
    "the ending is shared, the context differs": [([1, 2, x], [7, 8, 9]) for x in (3, 4)],
    "a preamble for many": [
        ([*range(1, 15), doc], [choice]) for doc in range(20, 30) for choice in (1, 2)
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_scores_as_stock(scorers, case):
    assert scorers[0].stock_reason is None
    assert_equal_scores(scorers, CASES[case])


def test_kept_prefixes_score_as_stock(scorers, monkeypatch):
    monkeypatch.setattr("adaptprune.evaluation.scorer.FORWARD_OVERHEAD", 0)
    monkeypatch.setattr(scorers[0].budget, "row", 1)
    for pairs in CASES.values():
        assert_equal_scores(scorers, pairs)


def test_rolling_windows_are_those_of_stock(scorers):
    texts = [" ".join(f"w{1 + (7 * i) % 39}" for i in range(n)) for n in (3, 24, 25, 70)]
    requests = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
    ours, stock = (s.loglikelihood_rolling(requests, disable_tqdm=True) for s in scorers)
    np.testing.assert_allclose(ours, stock, atol=1e-4)


def test_text_requests_go_through_the_tree(scorers):
    pairs = [("", "w3 w4"), ("w1 w2", " w3"), ("w1 w2", " w4 w5")]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    ours, stock = (s.loglikelihood(requests, disable_tqdm=True) for s in scorers)
    np.testing.assert_allclose([x for x, _ in ours], [x for x, _ in stock], atol=1e-4)
    assert [flag for _, flag in ours] == [flag for _, flag in stock]


def test_same_requests_give_the_same_bits_and_shuffled_ones_nearly(llama):
    generator = np.random.default_rng(0)
    pairs = [
        (generator.integers(1, 5, 10).tolist(), generator.integers(1, 5, 3).tolist())
        for _ in range(50)
    ]
    requests = [(None, *pair) for pair in pairs]
    first, second = (llama[0]._loglikelihood_tokens(requests, True) for _ in range(2))
    assert first == second
    alone = [llama[0]._loglikelihood_tokens([request], True)[0] for request in requests]
    np.testing.assert_allclose([x for x, _ in first], [x for x, _ in alone], atol=1e-4)


def test_token_scores_add_up_and_cover_each_token(llama):
    pairs = [([1, 2], [3, 4, 5]), ([1], [2])]
    scored = llama[0].score_tokens(pairs)
    totals = llama[0]._loglikelihood_tokens([(None, *pair) for pair in pairs], True)
    assert [len(values) for values, _ in scored] == [3, 1]
    for (values, greedy), (total, flag) in zip(scored, totals, strict=True):
        assert values.sum() == pytest.approx(total, abs=1e-5)
        assert greedy.all() == flag
    assert llama[0].score_tokens([]) == []


def test_answers_are_remembered_for_texts_only(llama):
    class Hook(CacheHook):
        def __init__(self):
            self.seen = []

        def add_partial(self, attr, req, res):
            self.seen.append((attr, req, res))

    llama[0].set_cache_hook(Hook())
    answers = llama[0]._loglikelihood_tokens([(("a", "b"), [1], [2]), (None, [1], [3])], True)
    assert llama[0].cache_hook.seen == [("loglikelihood", ("a", "b"), answers[0])]
    llama[0].set_cache_hook(CacheHook(None))


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_bar_is_shown_on_a_terminal_unless_disabled(
    llama, capsys, monkeypatch, terminal
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    requests = [(None, [1, 2], [3]), (None, [1, 2], [4])]
    llama[0]._loglikelihood_tokens(requests, disable_tqdm=True)
    assert "Scoring" not in capsys.readouterr().err
    llama[0]._loglikelihood_tokens(requests)
    assert ("2/2 requests" in capsys.readouterr().err) == terminal


def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch):
    scorer, stock = both(tiny_model())
    scorer.budget.batch = scorer.budget.row = 64
    forward = TreeRunner._forward

    def limited(self, trees, prefix, keep=False):
        if sum(len(tree) for row in trees for tree in row) > 20:
            raise torch.OutOfMemoryError
        return forward(self, trees, prefix, keep)

    monkeypatch.setattr(TreeRunner, "_forward", limited)
    assert_equal_scores((scorer, stock), [([start, 2, 3, 4], [1, 2]) for start in range(4, 30)])
    assert scorer.budget.batch == 16
    with pytest.raises(torch.OutOfMemoryError):
        scorer.score_tokens([(list(range(1, 23)), [1])])


def test_a_kept_prefix_that_has_no_room_goes_in_halves(monkeypatch):
    scorer, stock = both(tiny_model())
    scorer.budget.batch = scorer.budget.row = 24
    forward, kept = TreeRunner._forward, []

    def limited(self, trees, prefix, keep=False):
        if keep and sum(len(tree) for row in trees for tree in row) > 6:
            raise torch.OutOfMemoryError
        kept.append(keep)
        return forward(self, trees, prefix, keep)

    monkeypatch.setattr(TreeRunner, "_forward", limited)
    monkeypatch.setattr("adaptprune.evaluation.scorer.FORWARD_OVERHEAD", 0)
    beginning = list(range(3, 21))  # 18 tokens: 9 and 9, then 4 and 5 of each
    requests = [([*beginning, token, token + 1], [1, 2]) for token in range(21, 29, 2)]
    requests.append((beginning[:3], beginning[3:12]))  # scored within the prefix
    assert_equal_scores((scorer, stock), requests)
    assert sum(kept) == 4

    def never(self, trees, prefix, keep=False):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(TreeRunner, "_forward", never)
    with pytest.raises(torch.OutOfMemoryError):
        scorer.score_tokens(requests)


def heterogeneous_model():
    blocks = [
        {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 20},
        {"down_proj_bias": True, "o_proj_bias": True},
        {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 40},
    ]
    torch.manual_seed(0)
    config = modeling.AdaptPruneLlamaConfig(**SHAPE, head_dim=8, blocks=blocks)
    return modeling.AdaptPruneLlamaForCausalLM(config).eval()


def sliced_model():
    config = modeling.SlicedLlamaConfig(
        **SHAPE, head_dim=8, sliced_width=24, sliced_norm_epsilon=1e-6
    )
    torch.manual_seed(0)
    model = modeling.SlicedLlamaForCausalLM(config).eval()
    with torch.no_grad():  # shortcuts are not among what transformers initialises
        for layer in model.model.layers:
            torch.nn.init.orthogonal_(layer.attn_shortcut)
            torch.nn.init.orthogonal_(layer.mlp_shortcut)
    return model


@pytest.mark.parametrize("make", [heterogeneous_model, sliced_model])
def test_pruned_models_score_as_stock(make, monkeypatch):
    scorers = both(make())
    assert scorers[0].stock_reason is None
    monkeypatch.setattr("adaptprune.evaluation.scorer.FORWARD_OVERHEAD", 0)
    for row in (1, 256):
        scorers[0].budget.row = row
        for pairs in CASES.values():
            assert_equal_scores(scorers, pairs)


def test_a_model_without_trees_is_scored_by_stock_and_says_why(caplog):
    with caplog.at_level(logging.WARNING):
        scorers = both(tiny_model("mistral", sliding_window=8))
    assert "sliding window" in scorers[0].stock_reason
    assert "sliding window" in caplog.text
    assert_equal_scores(scorers, CASES["a preamble for many"])


def test_capped_logits_are_scored_in_trees_as_stock_scores_them():
    scorers = both(tiny_model("gemma2", head_dim=8, final_logit_softcapping=2.0))
    assert scorers[0].stock_reason is None
    for pairs in CASES.values():
        assert_equal_scores(scorers, pairs)


def test_a_model_that_ignores_the_mask_is_found_out():
    model = tiny_model()
    inner = model.model.forward

    def deaf(*args, attention_mask=None, **kwargs):
        return inner(*args, **kwargs)

    model.model.forward = deaf
    assert "differs from the tree" in both(model)[0].stock_reason


def test_a_broken_model_reports_its_nan():
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    scorer, _ = both(model)
    assert scorer.stock_reason is None
    assert np.isnan(scorer.score_tokens([([1], [2])])[0][0]).all()


def test_an_empty_continuation_is_refused(llama):
    with pytest.raises(ValueError, match="cannot be scored"):
        llama[0].score_tokens([([1], [])])
