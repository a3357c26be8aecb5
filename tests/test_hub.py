"""Fetching from a hub, call by call; what commands make of its faults is in test_hub_faults.py."""

from __future__ import annotations

import json
import logging
import shutil
import time
import types
from typing import TYPE_CHECKING, Any

import datasets
import pytest
from hub_client import forget, point_to
from hub_datasets import write_datasets
from hub_models import write_models
from loopback_hub import Fault, LoopbackHub

from adaptprune.data.hub_splits import Split, fetch_split, hub_folder
from adaptprune.data.texts import HubCorpus, corpora, fetch_documents, read_texts
from adaptprune.errors import UserError
from adaptprune.evaluation.catalog import load_task
from adaptprune.files import hub_client as hub
from adaptprune.files.atomic import read_json
from adaptprune.files.manifest import verify_folder
from adaptprune.models.catalogue import locate
from adaptprune.models.checkpoint import load_model, load_tokenizer, revision
from adaptprune.models.fetch import commit_of, fetch_hub_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.hub, pytest.mark.xdist_group("lm_eval")]

LLAMA, SHARDED = "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B"
SHARD = "model-00002-of-00002.safetensors"
HELLASWAG = Split("Rowan/hellaswag", None, "validation")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    write_models(folder / "models")
    write_datasets(folder / "datasets")
    return folder


@pytest.fixture
def served(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub(root) as running:
        point_to(running, tmp_path / "home", monkeypatch)
        yield running
    forget()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "llama@main"


def fetch(target: Path, name: str = LLAMA) -> None:
    fetch_hub_model(name, "main", target)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def commit_id(served: LoopbackHub, repository: str) -> str:
    commit = served.commit(repository)
    assert commit is not None
    return commit.id


# Models


def test_a_model_is_of_one_commit_which_is_recorded(served: LoopbackHub, target: Path) -> None:
    fetch(target)
    manifest = read_json(target / "manifest.json")
    commit = commit_id(served, f"models/{LLAMA}")
    assert commit_of(target) == manifest["commit"] == commit
    assert manifest["repository"] == LLAMA
    assert names(target.parent) == {target.name, f".{target.name}.lock"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(verify_folder(target))
    assert load_tokenizer(target)("a bird")["input_ids"]


def test_the_hash_of_a_model_does_not_know_where_it_is_from(
    served: LoopbackHub, target: Path
) -> None:
    fetch(target)
    before, manifest = revision(target), read_json(target / "manifest.json")
    (target / "manifest.json").write_text(json.dumps({"files": manifest["files"]}))
    assert revision(target) == before


@pytest.mark.parametrize("lost", ["model.safetensors.index.json", "manifest.json"])
def test_a_folder_that_lost_a_file_is_fetched_again(
    served: LoopbackHub, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    folder = locate(SHARDED)
    before = revision(folder)
    (folder / lost).unlink()
    served.stop()
    forget()
    with pytest.raises(UserError, match="cannot be reached"):
        locate(SHARDED)
    served.start()
    assert locate(SHARDED) == folder
    assert revision(folder) == before
    load_model(folder)


@pytest.mark.parametrize("name", ["notes.txt", "model.safetensors"])
@pytest.mark.parametrize("published", [False, True], ids=["of-the-user", "fetched-before"])
def test_what_is_not_the_suite_s_is_not_replaced(
    served: LoopbackHub, target: Path, name: str, published: bool
) -> None:
    if published:  # and incomplete now, with a file of the user's among the others
        fetch(target, SHARDED)
        (target / SHARD).unlink()
    target.mkdir(parents=True, exist_ok=True)
    (target / name).write_text("years of work")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    served.requests.clear()
    with pytest.raises(UserError, match=rf"holds '{name}', which this suite did not write there"):
        fetch(target, SHARDED)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert not [request for request in served.requests if "/resolve/" in request.path]


def test_a_file_where_a_model_belongs_is_not_replaced(served: LoopbackHub, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_text("years of work")
    with pytest.raises(UserError, match="is no folder"):
        fetch(target)
    assert target.read_text() == "years of work"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("model.safetensors", times=1, method="GET", cut=5000),
        Fault("model.safetensors", times=1, method="GET", truncate=5000),
        Fault("/resolve/", times=1, drop=True),
        Fault("/api/models", times=1, drop=True),
        Fault("/tree/", times=1, status=503),
        Fault("/resolve/", times=1, status=429, headers={"Retry-After": "0"}),
        Fault("/large/", times=1, status=502),
    ],
    ids=lambda fault: f"{fault.match}-{fault.status or ('drop' if fault.drop else 'short')}",
)
def test_what_passes_is_tried_again_with_a_line(
    served: LoopbackHub, target: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    served.faults = [fault]
    caplog.set_level(logging.WARNING)
    fetch(target)
    original = served.root / "models" / LLAMA / "1" / "model.safetensors"
    assert (target / "model.safetensors").read_bytes() == original.read_bytes()
    said = [line for line in caplog.messages if "attempt 2 of" in line or "resume" in line]
    assert len(said) == 1, caplog.messages


def test_the_pause_that_the_hub_asks_for_is_kept(
    served: LoopbackHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(hub, "time", types.SimpleNamespace(sleep=waited.append))
    served.faults = [Fault("/tree/", times=2, status=429, headers={"Retry-After": "7"})]
    fetch(target)
    assert waited == [7, 7]
    shutil.rmtree(target)
    limit = {"RateLimit": '"api";r=0;t=40', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    served.faults = [Fault("/tree/", times=1, status=429, headers=limit)]
    fetch(target)
    assert waited[2:] == [41]
    shutil.rmtree(target)
    served.faults = [Fault("/tree/", times=None, status=429, headers={"Retry-After": "900"})]
    with pytest.raises(UserError, match="status 429 after 1 attempts"):
        fetch(target)


def test_a_token_that_the_hub_does_not_know(
    served: LoopbackHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.gated = [f"models/{LLAMA}"]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=rf"model {LLAMA}: .*status 401; the hub wants a token"):
        fetch(target)
    assert len(served.requests) < 20, "a refusal is no reason to ask again"


def test_a_revision_that_is_not_there(served: LoopbackHub, target: Path) -> None:
    with pytest.raises(UserError, match=rf"model {LLAMA}@v9: .*status 404; check .* revision"):
        fetch_hub_model(LLAMA, "v9", target)


def test_mobilellm_is_fetched_with_a_tokenizer_that_loads(
    served: LoopbackHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(target, "facebook/MobileLLM-125M")
    assert "tokenizer.model" in names(target)
    assert not {"pytorch_model.bin", "modeling_mobilellm.py"} & names(target)
    assert load_tokenizer(target)("a bird")["input_ids"]
    load_model(target)


def test_a_tokenizer_that_cannot_be_loaded_is_told_with_the_librarys_words(
    served: LoopbackHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("the reader needs `sentencepiece`\nand more")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    with pytest.raises(UserError, match=r"no loadable tokenizer \(the reader needs `sentencep"):
        fetch(target)
    assert not target.exists()


# Without network


def test_a_hub_that_is_away_is_told_in_seconds(
    served: LoopbackHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_task("hellaswag", None)  # lm-eval's index is slow to make
    shutil.rmtree(hub_folder())
    served.stop()
    forget()
    began = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached \(.*refused.*adaptprune prefetch"):
        fetch(target)
    with pytest.raises(UserError, match=r"Rowan/hellaswag, split validation: the hub at .* cannot"):
        load_task("hellaswag", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids .*adaptprune prefetch"):
        fetch(target)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids"):
        read_texts("slimpajama")
    assert time.monotonic() - began < 10
    served.start()


def test_a_hub_that_does_not_answer_is_given_up(
    served: LoopbackHub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ANSWER_S", 0.2)
    served.faults = [Fault("^/$", times=None, delay=1.0)]
    with pytest.raises(UserError, match=r"no answer within"):
        fetch(target)
    assert not hub.answers()
    served.faults.clear()
    assert hub.answers()


# Data sets


def test_a_split_is_what_datasets_reads(served: LoopbackHub, tmp_path: Path) -> None:
    for split in (
        HELLASWAG,
        Split("allenai/ai2_arc", "ARC-Easy", "test"),
        Split("yahma/alpaca-cleaned", None, "train"),
        Split("teknium/OpenHermes-2.5", None, "train"),
    ):
        file = fetch_split(tmp_path / "to", split)
        assert file == split.stem(tmp_path / "to").with_suffix(".parquet")
        expected = datasets.load_dataset(
            split.dataset, split.configuration, split=split.name, cache_dir=tmp_path / "theirs"
        )
        found = datasets.Dataset.from_parquet(str(file), cache_dir=tmp_path / "ours")
        assert found.features == expected.features
        assert found.to_list() == expected.to_list()
        origin = read_json(file.with_name(f"{file.name}.origin.json"))
        assert origin["commit"] == commit_id(served, f"datasets/{split.dataset}")
        assert [path.name for path in file.parent.glob(".*.part")] == []


def test_a_split_is_all_that_is_fetched_of_a_data_set(served: LoopbackHub, tmp_path: Path) -> None:
    fetch_split(tmp_path, HELLASWAG)
    large = [request.path for request in served.requests if request.path.startswith("/large/")]
    assert len(large) == 1
    assert "validation" in large[0]


def test_a_wrong_byte_of_a_card_is_noticed(served: LoopbackHub, tmp_path: Path) -> None:
    served.faults = [Fault(r"README\.md$", times=None, method="GET", flip=True)]
    with pytest.raises(UserError, match=r"Rowan/hellaswag.*not those of the hub's hash"):
        fetch_split(tmp_path, HELLASWAG)
    assert not list(tmp_path.rglob("validation.parquet"))
    served.faults.clear()
    fetch_split(tmp_path, HELLASWAG)


def test_an_unknown_split_or_configuration_is_one_line(served: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown split 'dev'.*validation"):
        fetch_split(tmp_path, Split("Rowan/hellaswag", None, "dev"))
    with pytest.raises(UserError, match=r"BuilderConfig 'ARC-Middle' not found"):
        fetch_split(tmp_path, Split("allenai/ai2_arc", "ARC-Middle", "test"))
    with pytest.raises(UserError, match=r"data set birds/none, split test: .*check the name"):
        fetch_split(tmp_path, Split("birds/none", None, "test"))


@pytest.mark.parametrize("status", [401, 404])
def test_every_failure_of_a_data_set_is_one_line(
    served: LoopbackHub, tmp_path: Path, status: int
) -> None:
    served.faults = [Fault("/large/", times=None, status=status)]
    with pytest.raises(UserError, match=rf"Rowan/hellaswag.*status {status}") as caught:
        fetch_split(tmp_path, HELLASWAG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "split", "content", "said"),
    [
        ("O1-OPEN/OpenO1-SFT", "train", b'{"a": 1\n{', "ArrowInvalid: JSON parse error"),
        ("Rowan/hellaswag", "validation", b"no parquet", "ArrowInvalid: Parquet magic bytes"),
    ],
)
def test_why_a_file_cannot_be_read_is_told(
    served: LoopbackHub,
    root: Path,
    tmp_path: Path,
    dataset: str,
    split: str,
    content: bytes,
    said: str,
) -> None:
    """The hub's own bytes are no rows: `datasets` alone says "an error occurred"."""
    served.root = tmp_path / "root"
    shutil.copytree(root / "datasets" / dataset, served.root / "datasets" / dataset)
    for file in (served.root / "datasets" / dataset).rglob("*.*"):
        if file.suffix in (".jsonl", ".parquet"):
            file.write_bytes(content)
    with pytest.raises(
        UserError, match=rf"data set {dataset}, .*cannot be read .*{said}"
    ) as caught:
        fetch_split(tmp_path / "hub", Split(dataset, None, split))
    assert "\n" not in str(caught.value)


def test_once_fetched_a_task_asks_nothing(served: LoopbackHub) -> None:
    first = load_task("arc_easy", None)
    assert served.requests
    served.requests.clear()
    forget()
    again = load_task("arc_easy", None)
    assert served.requests == []
    assert list(again.eval_docs) == list(first.eval_docs)


# Texts

SLIMPAJAMA = "cerebras/SlimPajama-627B"


def corpus(name: str, documents: int) -> HubCorpus:
    found = corpora()[name]
    assert isinstance(found, HubCorpus)
    return found.model_copy(update={"documents": documents})


def test_of_slimpajama_no_more_is_read_than_is_said(served: LoopbackHub, tmp_path: Path) -> None:
    file = fetch_documents(corpus("slimpajama", 40), tmp_path / "a.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["document"] for line in lines] == [str(number) for number in range(40)]
    origin = read_json(tmp_path / "a.jsonl.origin.json")
    large = [request.path for request in served.requests if request.path.startswith("/large/")]
    # Sixteen documents a file: three files, and no file twice.
    assert len(large) == len(set(large)) == len(origin["files"]) == 3
    assert origin["documents"] == 40
    listed = [request.path for request in served.requests if "/tree/" in request.path]
    assert not [path for path in listed if "train" in path or "test" in path]


def test_the_documents_are_those_that_datasets_streams(served: LoopbackHub, tmp_path: Path) -> None:
    file = fetch_documents(corpus("slimpajama", 100), tmp_path / "a.jsonl")
    rows = datasets.load_dataset(SLIMPAJAMA, split="validation", streaming=True).take(100)
    expected = [row["text"] for row in rows]
    assert [json.loads(line)["text"] for line in file.open()] == expected
    table = fetch_documents(corpus("slimpajama", 100), tmp_path / "b.parquet")
    assert datasets.Dataset.from_parquet(str(table), cache_dir=tmp_path)["text"][:] == expected
