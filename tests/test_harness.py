"""Evaluation of a tiny model on local tasks: numbers, conditions, documents, failures, resuming."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adaptprune.errors import UserError
from adaptprune.evaluation import catalog, harness
from adaptprune.evaluation.harness import EvaluationResult, TaskSelection, evaluate_checkpoint
from adaptprune.files.atomic import write_json

WORDS = ["<s>", "the", "a", "cat", "dog", "sat", "ran", "on", "mat", "hill", "red", "blue", "big"]

UTILS = """
import datasets, json
from pathlib import Path

def load(file, **_):
    path = Path(__file__).parent / file
    if not path.is_file():
        raise FileNotFoundError(f"no data set at {path}")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
"""
TASK = """
task: {name}
custom_dataset: !function utils.load
dataset_kwargs: {{file: {file}}}
test_split: test
output_type: {kind}
doc_to_text: "{text}"
doc_to_target: "{target}"
{extra}
metadata: {{version: 3}}
"""
CHOICE = {
    "kind": "multiple_choice",
    "text": "{{question}}",
    "target": "{{gold}}",
}
BOTH_METRICS = "doc_to_choice: choices\nmetric_list: [{metric: acc}, {metric: acc_norm}]"
PERPLEXITIES = (
    "metric_list: [{metric: word_perplexity}, {metric: byte_perplexity}, {metric: bits_per_byte}]"
)
GENERATION = (
    "metric_list: [{metric: exact_match}]\ngeneration_kwargs: {until: ['the'], max_gen_toks: 4}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write tasks: two of choices, one of texts, one of generation, one without data."""
    folder = tmp_path_factory.mktemp("tasks")
    generator = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(generator.choice(WORDS[1:], count))

    questions = [
        {"question": words(8), "choices": [words(2), words(1), words(3)], "gold": index % 3}
        for index in range(12)
    ]
    texts = [{"text": words(count)} for count in (5, 40, 12)]
    for name, rows in (("questions", questions), ("texts", texts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "utils.py").write_text(UTILS)
    tasks = {
        "tiny_choice": {**CHOICE, "file": "questions.jsonl", "extra": BOTH_METRICS},
        "tiny_acc": {
            **CHOICE,
            "file": "questions.jsonl",
            "extra": "doc_to_choice: choices\nmetric_list: [{metric: acc}]\n"
            "num_fewshot: 2\nfewshot_split: test",
        },
        "tiny_text": {
            "kind": "loglikelihood_rolling",
            "file": "texts.jsonl",
            "text": "",
            "target": "{{text}}",
            "extra": PERPLEXITIES,
        },
        "tiny_generate": {
            "kind": "generate_until",
            "file": "questions.jsonl",
            "text": "{{question}}",
            "target": "{{choices[0]}}",
            "extra": GENERATION,
        },
        "tiny_absent": {**CHOICE, "file": "absent.jsonl", "extra": BOTH_METRICS},
    }
    for name, fields in tasks.items():
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, **fields))
    return folder


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<s>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="<s>", unk_token="<s>"
    )


def make_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def run(folder, tokenizer):
    model = make_model()

    def run(*tasks, **options) -> EvaluationResult:
        selections = [TaskSelection(t) if isinstance(t, str) else t for t in tasks]
        options = {"max_length": 32, "include_path": folder} | options
        return evaluate_checkpoint(options.pop("model", model), tokenizer, selections, **options)

    return run


@pytest.fixture(scope="module")
def whole(run) -> EvaluationResult:
    return run("tiny_choice", "tiny_acc", "tiny_text", "tiny_generate")


def scores(result: EvaluationResult, task: str, metric: str) -> pd.Series:
    documents = result.outcome.documents
    chosen = documents[(documents["task"] == task) & (documents["metric"] == metric)]
    return chosen.set_index("document")["value"]


def test_choices_have_both_metrics_and_standard_errors_of_the_mean(whole):
    numbers = whole.to_json()["results"]["tiny_choice"]
    assert list(numbers) == ["acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "n"]
    for metric in ("acc", "acc_norm"):
        values = scores(whole, "tiny_choice", metric)
        assert numbers[metric] == pytest.approx(values.mean())
        assert numbers[f"{metric}_stderr"] == pytest.approx(values.std(ddof=1) / math.sqrt(12))
    assert numbers["n"] == 12


def test_a_task_without_acc_norm_says_so(whole):
    numbers = whole.to_json()["results"]["tiny_acc"]
    assert numbers["acc"] is not None
    assert numbers["acc_norm"] is numbers["acc_norm_stderr"] is None


def test_perplexity_comes_from_the_stored_parts(whole):
    numbers = whole.to_json()["results"]["tiny_text"]
    total = scores(whole, "tiny_text", "log_likelihood").sum()
    words, size = (scores(whole, "tiny_text", unit).sum() for unit in ("words", "bytes"))
    assert words == 57
    assert numbers == {
        "word_perplexity": pytest.approx(math.exp(-total / words)),
        "byte_perplexity": pytest.approx(math.exp(-total / size)),
        "bits_per_byte": pytest.approx(-total / size / math.log(2)),
        "n": 3,
    }


def test_generation_tasks_run_too(whole):
    numbers = whole.to_json()["results"]["tiny_generate"]
    assert set(numbers) == {"exact_match", "exact_match_stderr", "n"}


def test_stock_gives_the_same_numbers_under_its_own_name(run, whole):
    stock = run("tiny_choice", "tiny_acc", "tiny_text", "tiny_generate", scorer="stock")
    ours, theirs = whole.to_json(), stock.to_json()
    assert ours["conditions"]["scorer"] == "prefix"
    assert theirs["conditions"]["scorer"] == "stock"
    assert ours["conditions"]["tasks"] == theirs["conditions"]["tasks"]
    for task, numbers in theirs["results"].items():
        assert ours["results"][task].keys() == numbers.keys()
        for metric, value in numbers.items():
            assert ours["results"][task][metric] == (value and pytest.approx(value, rel=1e-5))


def test_conditions_say_what_was_asked(whole):
    conditions = whole.to_json()["conditions"]
    assert (conditions["dtype"], conditions["device"], conditions["max_length"]) == (
        "float32",
        "cpu",
        32,
    )
    assert set(conditions["versions"]) == {"lm_eval", "transformers", "torch", "python"}
    asked = conditions["tasks"]["tiny_choice"]
    assert (asked["version"], asked["num_fewshot"], asked["n"]) == (3, 0, 12)
    shots = conditions["tasks"]["tiny_acc"]
    assert shots["num_fewshot"] == 2
    assert shots["hash"] != asked["hash"]
    assert shots["documents_hash"] == asked["documents_hash"]


def test_selected_documents_are_those_of_the_full_set(run, whole):
    part = run(TaskSelection("tiny_choice", [7, 2, 11]))
    values = scores(part, "tiny_choice", "acc")
    assert list(values.index) == [2, 7, 11]
    assert (values == scores(whole, "tiny_choice", "acc").loc[[2, 7, 11]]).all()
    tasks = [result.to_json()["conditions"]["tasks"]["tiny_choice"] for result in (part, whole)]
    assert tasks[0]["documents_hash"] != tasks[1]["documents_hash"]


def test_a_limit_takes_the_first_documents(run):
    assert list(scores(run("tiny_choice", limit=4), "tiny_choice", "acc").index) == [0, 1, 2, 3]
    one = run("tiny_choice", limit=1).to_json()["results"]["tiny_choice"]
    assert one["acc_stderr"] is None


@pytest.mark.parametrize("documents", [[], [12], [-1]])
def test_documents_that_do_not_exist_are_refused(run, documents):
    with pytest.raises(UserError, match=r"tiny_choice: documents must lie in 0\.\.11"):
        run(TaskSelection("tiny_choice", documents))


def test_missing_data_is_named_before_anything_is_scored(run, monkeypatch):
    monkeypatch.setattr(harness, "_measure", None)
    with pytest.raises(UserError, match=r"tiny_absent.*absent\.jsonl"):
        run("tiny_choice", "tiny_absent")


def test_numbers_that_are_not_finite_fail_the_evaluation_and_name_the_place(run):
    broken = make_model()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    result = run("tiny_choice", model=broken)
    content = result.to_json()
    assert content["status"] == "failed"
    assert content["reason"] == "task tiny_choice, document 0: log-likelihood is nan"
    assert content["results"] == {}
    json.dumps(content, allow_nan=False)
    assert run("tiny_text", model=broken).to_json()["status"] == "failed"


def test_an_infinite_perplexity_fails_the_evaluation(run):
    extreme = make_model()
    with torch.no_grad():
        extreme.lm_head.weight.mul_(1e6)
    content = run("tiny_text", model=extreme).to_json()
    assert content["status"] == "failed"
    assert "tiny_text" in content["reason"]


def write(result: EvaluationResult, folder: Path) -> list[bytes]:
    write_json(folder / "result.json", result.to_json())
    result.write_documents(folder / "result.parquet")
    return [(folder / name).read_bytes() for name in ("result.json", "result.parquet")]


def test_a_killed_evaluation_goes_on_and_ends_in_the_same_bytes(run, whole, tmp_path, monkeypatch):
    partial = tmp_path / "result.json.partial"
    tasks = ("tiny_choice", "tiny_acc", "tiny_text", "tiny_generate")
    measure = harness._measure
    asked = []

    def until_the_third(model, selection, *rest):
        asked.append(selection.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure(model, selection, *rest)

    monkeypatch.setattr(harness, "_measure", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        run(*tasks, partial=partial, model_hash="one")
    resumed = run(*tasks, partial=partial, model_hash="one")
    assert asked == ["tiny_choice", "tiny_acc", "tiny_text", "tiny_text", "tiny_generate"]
    assert write(resumed, tmp_path) == write(whole, tmp_path)


def test_kept_tasks_of_other_weights_or_altered_ones_are_not_used(run, tmp_path, monkeypatch):
    run("tiny_choice", partial=tmp_path, model_hash="one")
    asked = []
    measure = harness._measure
    monkeypatch.setattr(harness, "_measure", lambda *args: asked.append(1) or measure(*args))
    run("tiny_choice", partial=tmp_path, model_hash="one")
    assert not asked
    run("tiny_choice", partial=tmp_path, model_hash="two")
    assert len(asked) == 1
    for file in tmp_path.glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-9])
    run("tiny_choice", partial=tmp_path, model_hash="one")
    assert len(asked) == 2
    for file in tmp_path.glob("*.json"):
        file.write_text(file.read_text()[:-9])
    run("tiny_choice", partial=tmp_path, model_hash="one")
    assert len(asked) == 3


def test_a_failed_result_is_written_like_any_other(tmp_path):
    result = EvaluationResult.failed("the checkpoint failed")
    assert result.to_json()["conditions"] is None
    write(result, tmp_path)
    assert pd.read_parquet(tmp_path / "result.parquet").empty


@pytest.fixture
def stock_names(monkeypatch):
    names = {"arc_easy": "arc/arc_easy.yaml", "mmlu": None}
    monkeypatch.setattr(catalog, "_stock_names", lambda: names)


@pytest.mark.usefixtures("stock_names")
def test_names_are_checked_with_the_nearest_offered(folder):
    harness.check_tasks(["tiny_choice", "arc_easy", "mmlu"], folder)
    with pytest.raises(UserError, match="unknown task 'tiny_choise'; did you mean 'tiny_choice'"):
        harness.check_tasks(["tiny_choise"], folder)
    with pytest.raises(UserError, match="did you mean 'arc_easy'"):
        harness.check_tasks(["arc_eazy"], None)
    with pytest.raises(UserError, match="given twice"):
        harness.check_tasks(["arc_easy", "arc_easy"], None)
    with pytest.raises(UserError, match="no task"):
        harness.check_tasks([], None)


def test_local_names_need_no_index_of_lm_eval(folder, monkeypatch):
    monkeypatch.setattr(catalog, "_stock_names", lambda: pytest.fail("read lm-eval's index"))
    harness.check_tasks(["tiny_choice", "tiny_text"], folder)


def test_a_broken_task_file_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("task: [unclosed")
    with pytest.raises(UserError, match=r"bad\.yaml: not a task file"):
        harness.check_tasks(["x"], tmp_path)


def write_task(folder: Path, rows: list[dict], **fields) -> None:
    (folder / "utils.py").write_text(UTILS)
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {"name": "mine", "file": "mine.jsonl", **CHOICE, "extra": BOTH_METRICS} | fields
    (folder / "mine.yaml").write_text(TASK.format(**fields))


FINE = {"question": "the cat", "choices": ["sat", "ran"], "gold": 0}
TEXT = {"kind": "loglikelihood_rolling", "text": "", "target": "{{text}}", "extra": PERPLEXITIES}


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (
            [FINE, FINE | {"choices": ["sat", "the " * 33]}],
            {},
            "task mine, document 1: the choice .* has 33 tokens, the window 32",
        ),
        (
            [FINE, FINE | {"choices": ["sat", ""]}],
            {"extra": "doc_to_choice: choices\nmetric_list: [{metric: acc}]"},
            "task mine, document 1: the choice ' ' adds no token",
        ),
        (
            [FINE, FINE | {"choices": ["sat", ""]}],
            {},
            "task mine: a choice of document 1 is empty, and acc_norm divides by its length",
        ),
        (
            [FINE, FINE | {"choices": "sat"}],
            {"extra": "doc_to_choice: '{{choices[5]}}'\nmetric_list: [{metric: acc}]"},
            "task 'mine': its data cannot be loaded",
        ),
        ([{"text": ""}], TEXT, "task mine, document 0: the text is empty"),
        ([{"text": ""}, {"text": " "}], TEXT, "task mine, document 0: the text is empty"),
        (
            [FINE],
            {"extra": BOTH_METRICS + "\nprocess_results: !function utils.process"},
            "task mine: cannot be scored (.*no number of this document)",
        ),
        (
            [{"text": "the cat"}],
            TEXT | {"extra": PERPLEXITIES + "\nprocess_results: !function utils.without_words"},
            "task mine: a metric divides by zero words or bytes",
        ),
    ],
)
def test_what_cannot_be_scored_is_one_line(run, tmp_path, rows, fields, message):
    write_task(tmp_path, rows, **fields)
    with (tmp_path / "utils.py").open("a") as stream:
        stream.write(
            "def process(doc, results): raise RuntimeError('no number\\nof this document')\n"
            "def without_words(doc, results): return {'word_perplexity': (results[0], 0)}\n"
        )
    with pytest.raises(UserError, match=message):
        run("mine", include_path=tmp_path)


def test_a_window_of_token_perplexity_beyond_the_text_is_refused_before_scoring(run, monkeypatch):
    monkeypatch.setattr(harness, "_measure", lambda *_: pytest.fail("something was scored"))
    tasks = ("tiny_choice", TaskSelection("tiny_text", documents=[0]))
    with pytest.raises(UserError, match="at 16 tokens: the texts have only 5 tokens"):
        run(*tasks, token_lengths=(4, 16))


def test_windows_of_token_perplexity_beyond_the_model_s_are_refused_or_left_out(run):
    with pytest.raises(UserError, match=r"at 400 tokens: the length must lie in 2\.\.64"):
        run("tiny_text", token_lengths=(4, 400), max_length=None)
    asked = {"token_lengths": (4, 400), "max_length": None, "longer_lengths": "leave out"}
    found = run("tiny_text", **asked).outcome.results["tiny_text"]
    assert "token_perplexity_4" in found
    assert "token_perplexity_400" not in found


def test_the_window_is_that_of_the_model_unless_another_is_given(run):
    def window(**options):
        return run("tiny_text", **options).to_json()["conditions"]["max_length"]

    assert window(max_length=None) == 64
    assert window(max_length=None, window_limit=20) == 20
    assert window(max_length=80) == 80


def test_another_precision_is_a_condition(run):
    conditions = run("tiny_text").to_json()["conditions"]
    stock = run("tiny_text", precision="stock").to_json()["conditions"]
    assert stock == conditions | {"scorer_precision": "stock", "tasks": conditions["tasks"]}


def test_a_tokenizer_that_does_not_fit_is_refused_before_any_data_are_read(folder, monkeypatch):
    monkeypatch.setattr(harness, "load_task", lambda *_, **__: pytest.fail("data were read"))
    words = Tokenizer(WordLevel({"the": 0, "cat": 40}, unk_token="the"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="the", eos_token="the")
    with pytest.raises(UserError, match=r"token id 40 .* rows for 0\.\.12"):
        evaluate_checkpoint(
            make_model(), tokenizer, [TaskSelection("tiny_choice")], include_path=folder
        )


def test_a_document_that_was_picked_out_is_named_by_its_own_number(run, tmp_path):
    write_task(tmp_path, [*[FINE] * 4, FINE | {"choices": ["sat", "the " * 33]}])
    with pytest.raises(UserError, match="task mine, document 4: the choice"):
        run(TaskSelection("mine", documents=[1, 4]), include_path=tmp_path)


def test_a_model_without_memory_is_one_line(run, monkeypatch):
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("no room for 9 GB")

    monkeypatch.setattr(harness, "_language_model", exhausted)
    with pytest.raises(UserError, match=r"cannot be scored \(OutOfMemoryError: no room for 9 GB"):
        run("tiny_text")
