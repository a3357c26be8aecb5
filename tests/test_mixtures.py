"""Mixtures: the paper's sources in their real columns, shares, limits, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import pydantic
import pytest
import yaml
from hub_client import forget, point_to
from loopback_hub import LoopbackHub
from test_cli import refused
from training_rows import SYSTEM, answer, chat, question, split_file, write_training_hub

from adaptprune.data import training as training_data
from adaptprune.data.formats import Exchange, Instruction, Messages, PlainText, Question
from adaptprune.data.hub_rows import iterate_rows, split_stem
from adaptprune.data.mixtures import HubSource, Mixture, find_mixture, mixtures
from adaptprune.data.packing import Rows, encode, pack
from adaptprune.data.training import Domain, check_name, find_data
from adaptprune.errors import UserError
from adaptprune.evaluation.catalog import TASK_FOLDER, task_config
from adaptprune.files.declared import read_declared
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.results.published import Claims

if TYPE_CHECKING:
    from pathlib import Path

CLAIMS = "paper_tables/adapt_pruner/quoted/claims.yaml"

#: The document of row 1 of every source of the paper's mixture.
EXPECTED: dict[str, Any] = {
    "Open-Orca/OpenOrca": chat("", question(1), answer(1)),
    "allenai/WildChat-1M": chat(SYSTEM, question(1), answer(1), "Why?", "It is safe."),
    "lmsys/lmsys-chat-1m": chat(SYSTEM, question(1), answer(1)),
    "teknium/OpenHermes-2.5": chat("You know birds.", question(1), answer(1)),
    "HuggingFaceH4/ultrachat_200k": chat(SYSTEM, question(1), answer(1)),
    "openbmb/UltraInteract_sft": chat(SYSTEM, question(1), answer(1)),
    "O1-OPEN/OpenO1-SFT": chat(SYSTEM, question(1), answer(1)),
    "yahma/alpaca-cleaned": chat(question(1), "", answer(1)),
    "databricks/databricks-dolly-15k": chat(question(1), "Birds sleep.", answer(1)),
}


@pytest.mark.parametrize("parquet", [False, True])
def test_every_source_of_the_paper_is_read_in_its_own_columns(
    parquet: bool, tmp_path: Path
) -> None:
    data = find_data("paper", write_training_hub(tmp_path, parquet=parquet))
    assert data.cut == 1024
    found = {domain.name: list(domain.documents())[1] for domain in data.domains}
    assert found == EXPECTED
    assert all(len(list(domain.documents())) == 4 for domain in data.domains)


def test_the_papers_mixture_is_table_2(request: pytest.FixtureRequest) -> None:
    printed = read_declared(Claims, request.config.rootpath / CLAIMS).training_data.tokens
    assert [source.name for source in find_mixture("paper").domains] == list(printed)


def test_figure_4_takes_a_sixth_of_table_2_and_a_billion_tokens(tmp_path: Path) -> None:
    data = find_data("paper-interleaves", write_training_hub(tmp_path))
    prose, *chats = data.domains
    assert (prose.name, prose.tokens, prose.share) == ("cerebras/SlimPajama-627B", 10**9, 1)
    assert list(prose.documents())[2] == answer(2) * 20
    assert [domain.name for domain in chats] == list(EXPECTED)
    assert {domain.share for domain in chats} == {1 / 6}


def test_a_share_is_drawn_by_the_seed(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": f"{index}"}) + "\n" for index in range(3000)))

    def drawn(name: str = "a", seed: int = 1, **changes: Any) -> list[Any]:
        return list(Domain(name, file, PlainText(kind="text"), seed=seed, **changes).documents())

    sixth = drawn(share=1 / 6)
    assert 420 < len(sixth) < 580  # 500 expected, standard deviation 20
    assert drawn(share=1 / 6) == sixth
    assert drawn(share=1 / 6, seed=2) != sixth != drawn("b", share=1 / 6)
    assert drawn(share=1 / 6, samples=5) == sixth[:5]
    assert drawn(samples=2) == ["0", "1"]


def test_origins_of_one_collection_are_domains(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"source": "drop" if index % 3 else "quoref", "text": str(index)} for index in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapter = PlainText(kind="text")
    assert list(Domain("q", file, adapter, "quoref").documents()) == ["0", "3"]
    assert list(Domain("d", file, adapter, "drop").documents()) == ["1", "2", "4", "5"]
    named = {source.name: source for source in find_mixture("bigbench-domains").domains}
    assert all(source.kind == "corpus" and source.origin == name for name, source in named.items())
    assert len(named) > 1


def test_answers_alone_count_in_the_loss(tmp_path: Path) -> None:
    tokenizer, hub = byte_tokenizer(), write_training_hub(tmp_path / "hub")
    data = find_data("paper", hub)
    domains = {domain.name: domain.documents() for domain in data.domains}
    pack(domains, tokenizer, 16, tmp_path / "rows", data.cut)
    rows = Rows.open(tmp_path / "rows", seed=0)
    assert rows.domains == tuple(EXPECTED)
    first = rows.domain == rows.domains.index("O1-OPEN/OpenO1-SFT")
    heard = tokenizer.decode(rows.tokens[first][rows.counted[first]])
    spoken = "".join(f"<|im_start|>assistant\n{answer(i)}<|im_end|>\n<end>" for i in range(4))
    assert spoken.startswith(heard)
    assert len(spoken) - len(heard) < 16 + len("<end>") * 4


def test_a_chat_is_cut_and_ended() -> None:
    tokenizer = byte_tokenizer()
    ((ids, counted),) = encode([chat("s", "u" * 2000, "a")], tokenizer, cut=1024)
    assert (len(ids), len(counted), ids[-1]) == (1024, 1024, tokenizer.eos_token_id)
    assert not any(counted)


def test_other_roles_and_late_system_messages_are_not_heard() -> None:
    roles = ["user", "system", "tool", "assistant"]
    row = {"messages": [{"role": role, "content": role} for role in roles]}
    assert Messages(kind="messages").document(row) == chat(SYSTEM, "user", "assistant")
    assert Messages(kind="messages").document({"messages": []}) == chat(SYSTEM)


@pytest.mark.parametrize(
    ("dataset", "change", "message"),
    [
        ("Open-Orca/OpenOrca", {"response": ...}, r"train\.jsonl: no column 'response' \(has id"),
        ("lmsys/lmsys-chat-1m", {"conversation": ...}, "no column 'conversation.role'"),
        (
            "HuggingFaceH4/ultrachat_200k",
            {"messages": [{"from": "human", "value": "x"}]},
            r"train_sft\.jsonl: no column 'messages.role'",
        ),
    ],
)
def test_source_without_its_column_is_refused_before_anything_is_read(
    dataset: str, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    hub = write_training_hub(tmp_path)
    file = split_file(hub, dataset)
    rows = [json.loads(line) | change for line in file.read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if value is not ...} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    with pytest.raises(UserError, match=message):
        find_data("paper", hub)


def test_a_question_is_asked_as_lm_eval_asks_it() -> None:
    adapter = Question(kind="question", question="asked", answer="told")
    row = {"asked": "How many?", "told": "Two.\n#### 2"}
    assert adapter.document(row) == [
        ("Question: How many?\nAnswer:", False),
        (" Two.\n#### 2", True),
    ]
    (source,) = find_mixture("gsm8k").domains
    task = task_config("gsm8k", TASK_FOLDER)
    assert (source.repository, source.configuration) == (task["dataset_path"], "main")
    assert task["doc_to_text"] == "Question: {{question}}\nAnswer:"


def test_domains_of_a_data_set_of_the_hub(tmp_path: Path) -> None:
    stem = split_stem(tmp_path, "cerebras/SlimPajama-627B", None, "train")
    stem.parent.mkdir(parents=True)
    origins = [source.origin for source in find_mixture("redpajama").domains]
    rows = [
        {"text": f"{origin} {number}", "meta": {"redpajama_set_name": origin}}
        for number in range(2)
        for origin in origins
    ]
    stem.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    domains = find_data("redpajama", tmp_path).domains
    assert len(domains) == len(set(origins)) == 7
    for domain, origin in zip(domains, origins, strict=True):
        assert list(domain.documents()) == [f"{origin} 0", f"{origin} 1"]


def test_of_an_instruction_the_answer_alone_counts() -> None:
    adapter = Instruction(kind="instruction", instruction="task", input="about", output="answer")
    row = {"task": "Name {it}.", "about": "", "answer": "A lamp."}
    (prompt, asked), answer = adapter.document(row)
    assert prompt.endswith("request.\n\n### Instruction:\nName {it}.\n\n### Response:\n")
    assert (asked, answer) == (False, ("A lamp.", True))
    (prompt, _), _ = adapter.document(row | {"about": "a picture"})
    assert "### Input:\na picture\n\n### Response:" in prompt
    with pytest.raises(UserError, match="'about' holds no text"):
        adapter.document(row | {"about": None})
    (source,) = find_mixture("alpaca").domains
    assert isinstance(source.format, Instruction)  # type: ignore[union-attr]


def test_row_without_its_text_is_named(tmp_path: Path) -> None:
    file = split_file(write_training_hub(tmp_path), "O1-OPEN/OpenO1-SFT")
    file.write_text(file.read_text() + json.dumps({"instruction": "x", "output": None}) + "\n")
    adapter = Exchange(kind="exchange", user="instruction", assistant="output")
    with pytest.raises(UserError, match=r"train\.jsonl: row 5: 'output' holds no text"):
        list(Domain("o", file, adapter).documents())


def test_missing_file_names_the_columns_it_should_have(tmp_path: Path) -> None:
    hub = write_training_hub(tmp_path)
    split_file(hub, "yahma/alpaca-cleaned").unlink()
    with pytest.raises(UserError, match=r"train\.jsonl .*: no such file.*instruction, input, outp"):
        find_data("paper", hub)


def test_data_are_known_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown training data 'papper'; did you mean 'paper'"):
        check_name("papper")
    with pytest.raises(UserError, match=r"other\.jsonl: no such file"):
        find_data(str(tmp_path / "other.jsonl"))
    with pytest.raises(UserError, match="unknown mixture 'papr'; did you mean 'paper'"):
        find_mixture("papr")


def test_mixture_files_have_a_closed_schema() -> None:
    content = yaml.safe_load("""
        name: m
        note: n
        sources: [{name: a, kind: hub, repository: o/a, format: {kind: messages}}]
    """)
    assert Mixture.model_validate(content).domains[0].name == "a"
    wrong_source = content["sources"][0] | {"weight": 1}
    for wrong, key in (({"cuts": 1}, "cuts"), ({"sources": [wrong_source]}, "weight")):
        with pytest.raises(pydantic.ValidationError, match=key):
            Mixture.model_validate(content | wrong)
    twice = Mixture.model_validate(content | {"sources": content["sources"] * 2})
    with pytest.raises(UserError, match="mixture m: two sources are called a"):
        _ = twice.domains
    assert all(mixture.domains for mixture in mixtures().values())


def test_hash_follows_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = write_training_hub(tmp_path)
    before = find_data("paper", hub).describe()
    assert before == find_data("paper", hub).describe()
    other = find_mixture("paper").model_copy(update={"seed": 43})
    monkeypatch.setattr(training_data, "find_mixture", lambda name: other)
    assert find_data("paper", hub).describe() != before
    monkeypatch.undo()
    file = split_file(hub, "yahma/alpaca-cleaned")
    file.write_text(file.read_text().replace("tree 3", "tree 4"))
    assert find_data("paper", hub).describe() != before


def test_split_of_the_hub_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = split_file(write_training_hub(tmp_path / "rows"), "yahma/alpaca-cleaned").read_text()
    repository = tmp_path / "root" / "datasets" / "yahma" / "alpaca-cleaned" / "1"
    repository.mkdir(parents=True)
    (repository / "alpaca.jsonl").write_text(rows)
    source = HubSource(
        name="a",
        kind="hub",
        repository="yahma/alpaca-cleaned",
        format=Exchange(kind="exchange", user="instruction", assistant="output"),
    )
    with LoopbackHub(tmp_path / "root") as served:
        point_to(served, tmp_path / "home", monkeypatch)
        for folder in (None, tmp_path / "to"):
            file = training_data.fetch_source(source, folder)
            served.requests.clear()
            assert training_data.fetch_source(source, folder) == file
            assert served.requests == []
            assert list(iterate_rows(file, ["instruction"]))[1][1] == {"instruction": question(1)}
            assert pyarrow.parquet.read_schema(file).names == ["instruction", "output"]
        wrong = source.model_copy(update={"format": PlainText(kind="text"), "split": "train"})
        with pytest.raises(UserError, match="yahma/alpaca-cleaned: no column 'text' "):
            training_data.fetch_source(wrong, tmp_path / "wrong")
    forget()


def test_a_hub_that_may_not_be_asked_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    said = r"data set Open-Orca/OpenOrca, split train: .*HF_HUB_OFFLINE forbids"
    with pytest.raises(UserError, match=said):
        find_data("paper")


def test_mixture_is_trained_on_by_name(command: Any, tmp_path: Path) -> None:
    hub = write_training_hub(tmp_path / "hub")
    options = {"model": "tiny-llama", "preset": "train", "local-data": hub}
    words = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    sizes = ["--set", "sequence_length=32", "--set", "batch=4", "--set", "tokens=512"]
    for name in ("paper", "tiny-domains"):
        output = tmp_path / name
        status, _, errors = command("recover", "--data", name, "--output", output, *words, *sizes)
        assert status == 0, errors
        record = json.loads((output / "recovery.json").read_text())
        assert record["conditions"]["data"]["name"] == name
        assert record["tokens"] == 512
    split_file(hub, "Open-Orca/OpenOrca").unlink()
    call = command("recover", "--data", "paper", "--output", tmp_path / "no", *words, *sizes)
    assert "Open-Orca/OpenOrca/default/train.jsonl (or .parquet): no such file" in refused(call)
