"""Every text is scored as the model reads it alone, whatever its positions depend on."""

import copy
import math

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoConfig, AutoModelForCausalLM

from adaptprune.errors import UserError
from adaptprune.evaluation.freshstate import FreshState
from adaptprune.evaluation.probe import last_threshold
from adaptprune.evaluation.scorer import PrefixScorer
from adaptprune.evaluation.window import choose_window, learned_positions
from adaptprune.models.catalogue import stated_window
from adaptprune.models.tiny import byte_tokenizer

WINDOW = 64
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 260,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "vocab_size": 260}
GPT |= {"initializer_range": 0.3}
LONG = {"rope_theta": 10000.0, "original_max_position_embeddings": 16, "factor": 4.0}
HEAD = {"head_dim": 8, "query_pre_attn_scalar": 8}
LOCAL = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
FACTORS = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}

#: Family, what differs from the small shape, and whether packing is right within the window.
FAMILIES = {
    "llama": ("llama", {}, True),
    "llama, linear": ("llama", {"rope_parameters": LONG | {"rope_type": "linear"}}, True),
    "llama, yarn": ("llama", {"rope_parameters": LONG | {"rope_type": "yarn"}}, True),
    "llama, llama3": (
        "llama",
        {
            "rope_parameters": LONG
            | {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        },
        True,
    ),
    "llama, dynamic": (
        "llama",
        {
            "max_position_embeddings": 16,
            "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
        },
        False,
    ),
    "llama, longrope": (
        "llama",
        {"rope_parameters": LONG | FACTORS | {"rope_type": "longrope"}},
        False,
    ),
    "phi3, longrope": (
        "phi3",
        {
            "original_max_position_embeddings": 16,
            "rope_parameters": LONG | FACTORS | {"rope_type": "longrope"},
        },
        False,
    ),
    "longrope beyond the window": (
        "llama",
        {
            "rope_parameters": LONG
            | FACTORS
            | {"rope_type": "longrope", "original_max_position_embeddings": 64}
        },
        True,
    ),
    "mistral, sliding": ("mistral", {"sliding_window": 40}, False),
    "mistral, window as long": ("mistral", {"sliding_window": 64}, True),
    "qwen2, some layers sliding": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
        False,
    ),
    "gemma2": ("gemma2", HEAD | LOCAL, False),
    "gemma3": ("gemma3_text", HEAD | LOCAL, False),
    "gpt_neo": (
        "gpt_neo",
        {
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 16,
        },
        False,
    ),
    "gpt2": ("gpt2", GPT, None),
    "gptj": ("gptj", GPT | {"rotary_dim": 4}, None),
    "opt": ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}, None),
    "bloom": ("bloom", {"n_layer": 2, "n_head": 4}, False),
    "falcon, alibi": ("falcon", {"alibi": True, "new_decoder_architecture": False}, False),
    "gpt_neox": ("gpt_neox", {}, None),
    "cohere": ("cohere", {"logit_scale": 0.1}, None),
    "granite": ("granite", {"logits_scaling": 4.0}, None),
    "starcoder2": ("starcoder2", {"sliding_window": 16}, False),
    "llama4, chunks": (
        "llama4_text",
        {
            "head_dim": 8,
            "attention_chunk_size": 16,
            "num_local_experts": 2,
            "intermediate_size_mlp": 48,
        },
        False,
    ),
    "mixtral": ("mixtral", {"num_local_experts": 2}, None),
    "mamba": ("mamba", {"state_size": 4}, False),
}


def make_model(family, changes):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SHAPE, **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def requests():
    """Contexts and continuations of all lengths, of which many begin alike."""
    generator = np.random.default_rng(1)
    text = generator.integers(1, 250, 60).tolist()
    pairs = []
    for length in (3, 12, 20, 35, 55):
        for choice in (1, 2, 5):
            pairs.append((text[:length], generator.integers(1, 250, choice).tolist()))
        pairs.append((generator.integers(1, 250, length).tolist(), [7, 8, 9]))
    return pairs


def alone(model, context, continuation):
    """Return the score of a text that is the first a model sees."""
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        logits = fresh(torch.tensor([context + continuation])[:, :-1]).logits[0]
    scores = logits.log_softmax(-1)[-len(continuation) :]
    return scores.gather(1, torch.tensor(continuation)[:, None]).sum().item()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_text_is_scored_as_alone(name):
    family, changes, packed = FAMILIES[name]
    model = make_model(family, changes)
    wanted = [alone(model, *pair) for pair in requests()]
    scorer = PrefixScorer(model, byte_tokenizer(), max_length=WINDOW, batch_tokens=512)
    assert packed is None or packed == (scorer.stock_reason is None), scorer.stock_reason
    scored = scorer._loglikelihood_tokens([(None, *pair) for pair in requests()], True)
    np.testing.assert_allclose([score for score, _ in scored], wanted, atol=1e-3)


def test_frequencies_that_grew_with_a_long_text_are_put_back():
    family, changes, _ = FAMILIES["llama, dynamic"]
    model = make_model(family, changes)
    state = FreshState(model)
    middle, long = torch.arange(1, 31)[None], torch.arange(1, 61)[None]
    with torch.no_grad():
        first = model(middle).logits
        model(long)
        grown = model(middle).logits
        state.restore()
        again = model(middle).logits
    assert (grown - first).abs().max() > 1e-2  # why the state must be put back
    assert torch.equal(again, first)


def test_a_probe_goes_beyond_what_the_window_reaches():
    model = make_model("mistral", {"sliding_window": 40})
    assert last_threshold(model, 64) == ("sliding window", 40)
    assert last_threshold(model, 40) == ("", 0)  # no text is longer: nothing is crossed
    lengths = []
    model.register_forward_pre_hook(
        lambda _, args, options: lengths.append((*args, *options.values())[0].shape[1]),
        with_kwargs=True,
    )
    PrefixScorer(model, byte_tokenizer(), max_length=40)
    assert max(lengths) == 16  # the probe of a model without thresholds stays short
    PrefixScorer(model, byte_tokenizer(), max_length=64)
    assert max(lengths) == 48


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"n_positions": 32}, 32),
        ({"text_config": {"max_position_embeddings": 16}, "n_ctx": 9}, 16),
        ({}, None),
    ],
)
def test_the_window_that_a_config_states(config, window):
    assert stated_window(config) == window


def test_the_default_window_is_the_smaller_of_limit_and_model():
    model = make_model("llama", {})
    assert choose_window(model, None) == 128
    assert choose_window(model, None, 100) == 100
    assert choose_window(model, 300) == 300  # rotary positions go on


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_learned_positions_end_where_their_table_ends(name):
    family, changes, _ = FAMILIES[name]
    model = make_model(family, changes)
    assert learned_positions(model) == choose_window(model, None) == 128
    with pytest.raises(UserError, match="max_length 129: the model has learned positions for 128"):
        choose_window(model, 129)
    scorer = PrefixScorer(model, byte_tokenizer(), max_length=choose_window(model, None))
    [(score, _)] = scorer._loglikelihood_tokens([(None, [1] * 200, [2] * 100)], True)
    assert math.isfinite(score)


def test_stock_precision_is_that_of_stock_in_bfloat16():
    model = make_model("llama", {}).bfloat16()
    tokenizer = byte_tokenizer()
    stock = HFLM(pretrained=model, tokenizer=tokenizer, max_length=WINDOW, batch_size=1)
    pairs = [(None, *pair) for pair in requests()]
    wanted = np.array([score for score, _ in stock._loglikelihood_tokens(pairs, True)])
    far = {}
    for precision in ("stock", "float32"):
        scorer = PrefixScorer(model, tokenizer, max_length=WINDOW, precision=precision)
        # By itself: in a tree a bfloat16 model's hidden states are rounded elsewhere.
        scorer.stock_reason = "to compare the softmax alone"
        scored = [scorer._loglikelihood_tokens([pair], True)[0][0] for pair in pairs]
        far[precision] = np.abs(np.array(scored) - wanted)
    assert far["stock"].max() == 0
    assert far["float32"].max() > 1e-3


def instance(*arguments, kind="loglikelihood"):
    return Instance(kind, {}, arguments, 0, metadata=("mine", 5, 1))


@pytest.fixture(scope="module")
def scorer():
    return PrefixScorer(make_model("llama", {}), byte_tokenizer(), max_length=WINDOW)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("one", ""), r"task mine, document 5: the choice '' adds no token"),
        (("", ""), r"task mine, document 5: the choice '' adds no token"),
        (("one", "x" * 65), r"task mine, document 5: the choice 'x+' has 65 tokens, the window 64"),
        (("one \ud83d", "two"), r"task mine, document 5: a text holds half a surrogate pair"),
    ],
)
def test_what_cannot_be_scored_is_named(scorer, pair, message):
    with pytest.raises(UserError, match=message):
        scorer.loglikelihood([instance("one", "two"), instance(*pair)], True)


def test_texts_that_are_all_empty_have_no_likelihood(scorer):
    with pytest.raises(UserError, match="task mine, document 5: the text is empty"):
        scorer.loglikelihood_rolling([instance("", kind="loglikelihood_rolling")], True)
    some = [instance(text, kind="loglikelihood_rolling") for text in ("", "words")]
    assert scorer.loglikelihood_rolling(some, True)[0] == 0  # as stock has it
