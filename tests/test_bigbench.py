"""Data of the offline suite: questions read right, prose in parts that share nothing."""

from __future__ import annotations

import io
import itertools
import json
import random
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from adaptprune.data import bigbench
from adaptprune.data.bigbench import (
    RUN_WORDS,
    build,
    distinct_texts,
    document_id,
    ensure_local_data,
    local_data_directory,
    normalised_words,
    split_of,
)
from adaptprune.data.bigbench_tasks import (
    distractor_rows,
    lettered_rows,
    plausibility_rows,
    scored_rows,
)
from adaptprune.errors import UserError
from adaptprune.files.atomic import sha256_file
from adaptprune.files.releases import Release

if TYPE_CHECKING:
    from pathlib import Path


def _prose(seed: int, words: int = 80) -> str:
    draw = random.Random(f"prose {seed}")
    return " ".join(f"w{draw.randrange(10**6)}" for _ in range(words))


def _runs(text: str) -> set[tuple[str, ...]]:
    words = normalised_words(text)
    return {tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1)}


def _assert_apart(texts: list[str]) -> set[tuple[str, ...]]:
    seen: set[tuple[str, ...]] = set()
    for text in texts:
        assert seen.isdisjoint(_runs(text))
        seen |= _runs(text)
    return seen


def test_kept_texts_share_no_run_of_words() -> None:
    base = _prose(0, 200)
    words = base.split()
    overlapping = [
        base,
        base.upper().replace(" ", " , "),
        " ".join(words[:120]),
        " ".join(words[100:] + _prose(1).split()),
        _prose(2),
    ]
    kept = distinct_texts(overlapping)
    assert len(kept) == 2
    assert _prose(2) in kept
    _assert_apart(kept)


def test_order_of_texts_does_not_matter() -> None:
    words = _prose(0, 400).split()
    texts = [" ".join(words[start : start + 90]) for start in range(0, 300, 7)]
    kept = distinct_texts(texts)
    random.Random(0).shuffle(texts)
    assert distinct_texts(texts) == kept
    assert len(kept) > 1


def test_text_of_a_task_is_left_out_of_the_prose() -> None:
    question = " ".join(_prose(0).split()[20:40])
    assert distinct_texts([_prose(0), _prose(1)], excluded=[question]) == [_prose(1)]


def test_short_texts_are_left_out() -> None:
    assert distinct_texts([_prose(0, bigbench.LEAST_WORDS - 1)]) == []
    assert distinct_texts([_prose(0, bigbench.LEAST_WORDS)]) != []


def test_split_follows_the_words_alone() -> None:
    text = _prose(0)
    changed = text.upper().replace(" ", ",  ")
    assert split_of(document_id(text)) == split_of(document_id(changed))
    counts = {"calibration": 0, "perplexity": 0, "training": 0}
    for seed in range(4000):
        counts[split_of(document_id(f"document {seed}"))] += 1
    assert counts["calibration"] == pytest.approx(400, abs=80)
    assert counts["perplexity"] == pytest.approx(200, abs=60)


def test_scored_rows_use_the_prefixes_of_the_task() -> None:
    examples = [
        {"input": " Why? ", "target_scores": {"b ": 0, "a": 1.0}},
        {"input": "Which?", "target_scores": {"a": 1, "b": 1}},
    ]
    assert list(scored_rows({"examples": examples})) == [
        {"prompt": "Q: Why?\nA:", "choices": ["b", "a"], "gold": 1}
    ]
    prefixes = {
        "task_prefix": "Answer.",
        "example_input_prefix": "\nAsk: ",
        "example_output_prefix": "\nSay: ",
    }
    (row,) = scored_rows({"examples": examples, **prefixes})
    assert row["prompt"] == "Answer.\nAsk: Why?\nSay:"


def _given(context: str, right: str, *wrong: str) -> dict[str, Any]:
    text = f"{context} \nQuestion: What is it? \nCorrect Answer: {right}"
    return {"input": text, "target": list(wrong)}


def test_distractor_rows() -> None:
    examples = [
        _given("Context: It rains.", "rain.", "sun.", "rain.", "snow."),
        _given("Fact: rain is wet.", "rain.", "sun."),
        _given("Fact: rain is wet.", "None of the above choices .", "sun."),
        _given("Fact: rain is wet.", "(A) rain.", "sun."),
        _given("Fact: rain is wet.", "rain.", *"abcd"),
        {"input": "no question", "target": ["a"]},
    ]
    first, second = distractor_rows({"examples": examples})
    assert first["prompt"] == "Context: It rains.\nQuestion: What is it?\nAnswer:"
    assert second["prompt"] == "Question: What is it?\nAnswer:"
    assert sorted(first["choices"]) == ["rain.", "snow.", "sun."]
    assert first["choices"][first["gold"]] == "rain."


def test_place_of_the_right_answer_varies() -> None:
    examples = [_given("Fact: x.", f"right {i}.", "a.", "b.", "c.") for i in range(400)]
    places = [row["gold"] for row in distractor_rows({"examples": examples})]
    assert all(places.count(place) == pytest.approx(100, abs=40) for place in range(4))


def test_lettered_rows() -> None:
    examples = [
        {"input": "Question: Why is  (A) it so. (B) it not?", "target": ["B."]},
        {"input": "Question: Why?  (A) so. (B) not?", "target": ["E."]},
        {"input": "Question: Why?  (A)  (B) not?", "target": ["B."]},
    ]
    assert list(lettered_rows({"examples": examples})) == [
        {"prompt": "Question: Why is\nAnswer:", "choices": ["it so", "it not"], "gold": 1}
    ]


def test_plausibility_rows() -> None:
    plausible = {"examples": [{"input": "S: s. \nQ?", "target": ["now.", "soon."]}]}
    implausible = {"examples": [{"input": "S: s. \nQ?", "target": list("abcde")}]}
    (row,) = plausibility_rows(plausible, implausible)
    assert row["prompt"] == "S: s.\nQ?\nAnswer:"
    assert sorted(row["choices"]) == ["a", "b", "c", "now."]
    assert row["choices"][row["gold"]] == "now."


def _sdist(path: Path, without: str = "") -> None:
    """Write an archive with every folder that is read, each with a few examples."""
    passages = [_prose(seed) for seed in range(60)]
    folders: dict[str, list[dict[str, Any]]] = {
        folder: [{"input": "Q? ", "target_scores": {"a": 1, "b": 0}}]
        for name in ("social_iqa", "step_inference", "goal_inference")
        for folder in bigbench.TASKS[name].folders
    }
    (science,) = bigbench.TASKS["science"].folders
    folders[science] = [{"input": "Question: Why? (A) a (B) b?", "target": ["A."]}]
    for name, source in bigbench.TASKS.items():
        for folder in source.folders:
            folders.setdefault(folder, [_given("Fact: x.", f"yes {name}.", "no.")])
    for folder in itertools.chain(*bigbench.PROSE.values()):
        folders[folder] = [
            {"input": f"Passage: {text} \nQuestion: What?", "target": []} for text in passages
        ]
    for folder in bigbench.FURTHER_PROSE["multirc"]:
        first, second = _prose(70, 30), _prose(71, 30)
        texts = (f"Sent 1: {first}.Sent 2: {second}.", f"Sent 1: {passages[0]}")
        folders[folder] = [{"input": f"Paragraph- {text} \nQuestion: What?"} for text in texts]
    for folder in bigbench.FURTHER_PROSE["ropes"]:
        text = f"{_prose(72)} \nParagraph: {_prose(73)}"
        folders[folder] = [{"input": f"Background Paragraph: {text} \nQuestion: What?"}]
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as container:
        for folder, examples in folders.items():
            if folder == without:
                continue
            content = json.dumps({"examples": examples}).encode()
            entry = tarfile.TarInfo(f"bigbench-1.0.0/bigbench/benchmark_tasks/{folder}/task.json")
            entry.size = len(content)
            container.addfile(entry, io.BytesIO(content))


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    path = bigbench.RELEASE.path
    _sdist(path)
    monkeypatch.setattr(bigbench, "RELEASE", Release("bigbench", path.name, sha256_file(path)))
    return path


def test_local_data_are_built_once_and_verified(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ensure_local_data()
    assert folder == local_data_directory()
    texts = []
    for split in bigbench.SHARES:
        rows = [json.loads(line) for line in (folder / "prose" / f"{split}.jsonl").open()]
        assert all(split_of(row["document"]) == split for row in rows)
        texts += [row["text"] for row in rows]
    assert sorted(texts) == sorted(_prose(seed) for seed in range(60))
    assert {path.stem for path in (folder / "tasks").iterdir()} == set(bigbench.TASKS)
    further = [json.loads(line) for line in (folder / "prose" / "further.jsonl").open()]
    # A passage that is in the first prose is not in the further one.
    assert {row["source"]: row["text"] for row in further} == {
        "multirc": f"{_prose(70, 30)}. {_prose(71, 30)}.",
        "ropes": f"{_prose(72)} {_prose(73)}",
    }

    monkeypatch.setattr(bigbench, "build", None)
    archive.unlink()
    assert ensure_local_data() == folder
    with (folder / "tasks" / "social_iqa.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(UserError, match=r"social_iqa\.jsonl: has"):
        ensure_local_data()


def test_same_archive_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        build(archive, tmp_path / name)
    for file in (tmp_path / "a").rglob("*.jsonl"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_archive_that_lacks_a_task(tmp_path: Path) -> None:
    path = tmp_path / "sdist" / "a.tar.gz"
    _sdist(path, without="social_iqa")
    with pytest.raises(UserError, match="holds no task social_iqa"):
        build(path, tmp_path / "a")


@pytest.mark.model
def test_real_data_are_apart() -> None:
    folder = ensure_local_data()
    rows = {
        path.stem: [json.loads(line) for line in path.open()] for path in folder.rglob("*.jsonl")
    }
    assert len(rows["social_iqa"]) == 1954
    prose = [row["text"] for part in (*bigbench.SHARES, "further") for row in rows[part]]
    runs = _assert_apart(prose)
    for task in bigbench.TASKS:
        for row in rows[task]:
            assert all(runs.isdisjoint(_runs(text)) for text in (row["prompt"], *row["choices"]))
    words = {
        split: sum(len(row["text"].split()) for row in rows[split]) for split in bigbench.SHARES
    }
    assert words["calibration"] > 200_000
    assert words["perplexity"] > 60_000
