"""Tokenizers that other people's folders hold, and the texts they are given."""

import json

import pytest
import torch
from byte_tokenizers import BEGIN, END, bytes_tokenizer
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tiny_models import tiny_model
from transformers import PreTrainedTokenizerFast

from adaptprune.data.encoding import added_ids, check_tokenizer, plain_batch
from adaptprune.errors import UserError
from adaptprune.evaluation.scorer import PrefixScorer
from adaptprune.files.jsonlines import read_rows


@pytest.mark.parametrize(
    ("settings", "need", "message"),
    [
        ({"template": "<s> <s> $A"}, "nothing", r"adds the begin token '<s>' 2 times"),
        ({"begin": None, "end": None}, "begin or end", "no begin or end token"),
        ({"end": None}, "end", r"no end-of-text token \(eos_token\)"),
        ({"extra": ["one", "two", "three"]}, "nothing", r"token id 260 \('three'\)"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(settings, need, message):
    with pytest.raises(UserError, match=message):
        check_tokenizer(bytes_tokenizer(**settings), 260, need)


@pytest.mark.parametrize(
    ("settings", "need"),
    [
        ({"begin": None, "end": None}, "nothing"),
        ({"begin": None}, "begin or end"),
        ({"template": "<s> $A </s>"}, "end"),
        ({"added": ["<pad1>", "<pad2>", "<pad3>"]}, "end"),  # no text but "<pad3>" makes their ids
    ],
)
def test_a_tokenizer_that_fits_is_taken(settings, need):
    check_tokenizer(bytes_tokenizer(**settings), 260, need)


def test_special_tokens_that_are_added_unasked_are_refused():
    tokenizer = bytes_tokenizer()
    plain = type(tokenizer).__call__

    class Stubborn(PreTrainedTokenizerFast):
        def __call__(self, texts, **_):
            return {"input_ids": [BEGIN, *plain(tokenizer, texts)["input_ids"]]}

    stubborn = Stubborn(tokenizer_object=tokenizer.backend_tokenizer, bos_token="<s>")
    with pytest.raises(UserError, match="adds the begin token '<s>' even where no special tokens"):
        check_tokenizer(stubborn, 260, "nothing")


def test_what_is_added_is_told_apart():
    assert added_ids(bytes_tokenizer("<s> $A </s>")) == ([BEGIN], [END])
    assert added_ids(bytes_tokenizer()) == ([], [])


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", vocabulary=260)


def request(kind, *arguments):
    return Instance(kind, {}, arguments, 0, metadata=("mine", 3, 1))


def test_an_appended_end_token_changes_no_score(model):
    plain, appending = (
        PrefixScorer(model, bytes_tokenizer(template), max_length=64)
        for template in ("<s> $A", "<s> $A </s>")
    )
    pairs = [request("loglikelihood", *pair) for pair in (("one", " two"), ("", "a"), ("b ", "c"))]
    texts = [request("loglikelihood_rolling", text) for text in ("one two", "<s>three")]
    assert appending.loglikelihood(pairs, True) == plain.loglikelihood(pairs, True)
    assert appending.loglikelihood_rolling(texts, True) == plain.loglikelihood_rolling(texts, True)
    strings = ["one", "<s>longer"]
    for ours, theirs in zip(
        appending.tok_batch_encode(strings), plain.tok_batch_encode(strings), strict=True
    ):
        # Without the begin token twice; lm-eval asks the first text of a batch alone.
        assert torch.equal(ours[0][-4:], theirs[0][-4:])
    stock = HFLM(pretrained=model, tokenizer=bytes_tokenizer("<s> $A"), max_length=64)
    for (ours, _), (theirs, _) in zip(
        appending.loglikelihood(pairs, True), stock.loglikelihood(pairs, True), strict=True
    ):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_special_token_without_a_row_is_named_where_a_text_spells_it_out(model):
    tokenizer = bytes_tokenizer(added=["<x>", "<y>", "<z>"])
    scorer = PrefixScorer(model, tokenizer, max_length=64)
    with pytest.raises(UserError, match=r"task mine, document 3: .* token id 260 .* 0\.\.259"):
        scorer.loglikelihood([request("loglikelihood", "one", " two <z>")], True)


def test_half_a_surrogate_pair_is_named():
    with pytest.raises(UserError, match=r"half a surrogate pair \(U\+D83D after 'broken '"):
        plain_batch(bytes_tokenizer(), ["fine", "broken \ud83d end"])


GOOD = '{"text": "a cat"}\n{"text": "caf\u00e9"}\n'


@pytest.mark.parametrize(
    "content",
    [
        GOOD.encode(),
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.replace("\n", "\n\n  \n").encode(),
        GOOD.strip().encode(),
    ],
)
def test_lines_are_read_however_they_were_saved(tmp_path, content):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    assert [row["text"] for _, row in read_rows(path)] == ["a cat", "caf\u00e9"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), r"mine\.jsonl: is UTF-16; save it as UTF-8"),
        (GOOD.encode("utf-16-be"), r"mine\.jsonl: line 1 is not a JSON object"),
        (GOOD.encode("latin-1"), r"mine\.jsonl: line 2 is not UTF-8 \(byte 0xe9 at column 14\)"),
        (b'\n{"text": "broken \\ud83d end"}\n', r"line 2 holds half a surrogate pair"),
        (b'{"text": "a"}\n["text"]\n', r"line 2 is not a JSON object"),
        (b'{"text": "a"\n', r"line 1 is not a JSON object"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path, content, message):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_rows(path))


def test_a_whole_surrogate_pair_is_one_character(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"text": "\U0001f600"}))
    assert list(read_rows(path)) == [(1, {"text": "\U0001f600"})]


@pytest.fixture(scope="module")
def misfit(tmp_path_factory):
    """Write a model folder whose tokenizer was made for more rows than the model has."""
    folder = tmp_path_factory.mktemp("misfit") / "model"
    tiny_model("llama", vocabulary=260).save_pretrained(folder)
    bytes_tokenizer(extra=["one", "two", "three"]).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "calibrate --dataset tiny-prose --seed 0 --sequences 4 --length 32",
        "score --method llm-pruner --sparsities 20 --seed 0 --calibration tiny-prose",
        "prune --method llm-pruner --sparsity 20 --seed 0 --calibration tiny-prose",
        "evaluate --suite commonsense-tiny",
        "recover --preset train --data tiny-prose --set sequence_length=32",
        "count-tokens --data tiny-prose",
        "sensitivity --suite commonsense-tiny --calibration tiny-prose",
    ],
)
def test_every_command_that_encodes_asks_the_tokenizer_first(command, tmp_path, misfit, line):
    output = tmp_path / "output"
    status, _, errors = command(*line.split(), "--model", misfit, "--output", output)
    assert status == 2
    assert errors.splitlines()[-1].startswith(f"error: {misfit}: its tokenizer makes token id 260")
    assert not output.exists()
