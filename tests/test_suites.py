"""Suites and their task files: closed declarations, stable subsets, no hub for local tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pydantic
import pytest

from adaptprune.data import bigbench
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import (
    PerplexityTask,
    Suite,
    SuiteTask,
    list_suites,
    load_suite,
    subset,
)

if TYPE_CHECKING:
    from pathlib import Path

TASK = SuiteTask(task="t", title="T", metric="acc", chance=0.5, documents=1000)


@pytest.mark.parametrize("name", list_suites())
def test_suite_is_well_formed(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    names = [benchmark.task for benchmark in suite.benchmarks]
    assert len(set(names)) == len(names) >= len(suite.tasks)


def test_offline_suite_has_every_local_task() -> None:
    suite = load_suite("commonsense-offline")
    assert {task.task for task in suite.tasks} == {
        f"bigbench_local_{name}" for name in bigbench.TASKS
    }
    assert len(suite.tasks) == 7
    assert next(task for task in suite.tasks if "social_iqa" in task.task).documents == 1954


def test_paper_suite_has_the_tasks_and_metrics_of_the_paper() -> None:
    suite = load_suite("commonsense-paper")
    assert {task.task: task.metric for task in suite.tasks} == {
        "arc_easy": "acc_norm",
        "arc_challenge": "acc_norm",
        "hellaswag": "acc_norm",
        "openbookqa": "acc_norm",
        "piqa": "acc_norm",
        "social_iqa": "acc",
        "winogrande": "acc",
    }
    assert suite.perplexity.task == "wikitext"


def test_sparse_paper_suite_scores_by_plain_accuracy() -> None:
    suite = load_suite("zero-shot-sparse-paper")
    assert {task.task: task.documents for task in suite.tasks} == {
        "boolq": 3270,
        "rte": 277,
        "hellaswag": 10042,
        "winogrande": 1267,
        "arc_easy": 2376,
        "arc_challenge": 1172,
        "openbookqa": 500,
    }
    assert {task.metric for task in suite.tasks} == {"acc"}
    assert all(task.paper is None or task.paper.metric == "acc" for task in suite.tasks)
    known = {score.tasks[0]: score for score in suite.dense["meta-llama/Llama-2-7b-hf"].scores}
    assert known["hellaswag"].metric == "acc"
    assert abs(known["hellaswag"].value - 0.5718) < known["hellaswag"].band


def test_altered_benchmark_keeps_its_other_facts() -> None:
    (plain,) = (t for t in load_suite("commonsense-paper").tasks if t.task == "hellaswag")
    (altered,) = (t for t in load_suite("zero-shot-sparse-paper").tasks if t.task == "hellaswag")
    assert altered == plain.model_copy(update={"metric": "acc", "paper": None})


def test_misspelt_suite_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match="did you mean 'commonsense-paper'"):
        load_suite("commonsense-papers")


def test_misspelt_key_of_a_suite_is_refused() -> None:
    suite = load_suite("commonsense-paper").model_dump()
    with pytest.raises(pydantic.ValidationError, match="sede"):
        Suite(**suite, sede=1)


def test_subset_is_seeded_sorted_and_not_the_first() -> None:
    chosen = subset(TASK, 1000, 50, seed=1)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 50
    assert chosen[-1] > 500
    assert subset(TASK, 1000, 50, seed=1) == chosen
    assert subset(TASK, 1000, 50, seed=2) != chosen
    assert subset(TASK.model_copy(update={"task": "u"}), 1000, 50, seed=1) != chosen


def test_subset_is_the_same_on_every_python() -> None:
    # Written down once: these documents are part of every stored result.
    assert subset(TASK, 1000, 5, seed=1) == [159, 175, 270, 367, 711]


def test_larger_subset_contains_the_smaller() -> None:
    assert set(subset(TASK, 1000, 30, seed=1)) < set(subset(TASK, 1000, 200, seed=1))


def test_subset_of_everything() -> None:
    everything = PerplexityTask(
        task="p", title="P", metric="word_perplexity", documents=10, convention="per word"
    )
    assert subset(everything, 10, None, seed=1) == list(range(10))
    assert subset(everything, 10, 99, seed=1) == list(range(10))


@pytest.mark.parametrize("count", [0, -1])
def test_empty_subset_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"cannot evaluate {count} documents"):
        subset(TASK, 1000, count, seed=1)


def _local_data(folder: Path) -> None:
    (folder / "tasks").mkdir(parents=True)
    (folder / "prose").mkdir()
    question = {"document": 0, "prompt": "Q: Why?\nA:", "choices": ["no", "yes"], "gold": 1}
    for name in bigbench.TASKS:
        (folder / "tasks" / f"{name}.jsonl").write_text(json.dumps(question) + "\n")
    prose = {"document": "a", "source": "s", "text": "Two  words\u2028and é."}
    (folder / "prose" / "perplexity.jsonl").write_text(json.dumps(prose) + "\n")


SCRIPT = """
import json, sys
from lm_eval.tasks import TaskManager
manager = TaskManager(
    include_path="adaptprune/evaluate/tasks",
    include_defaults=False,
    metadata={"local_data": sys.argv[1]},
)
names = [name for name in manager.all_tasks if name.startswith("bigbench_local_")]
loaded = manager.load(names)["tasks"]
found = {}
for name, task in loaded.items():
    document = task.test_docs()[0]
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        found[name] = [task.doc_to_target(document), task.process_results(document, [-1.0])]
    else:
        results = task.process_results(document, [(-1.4, True), (-1.5, False)])
        found[name] = [task.doc_to_text(document), task.doc_to_choice(document), results]
print(json.dumps(found, default=str))
"""


def test_task_files_read_local_data_without_the_hub(tmp_path: Path) -> None:
    _local_data(tmp_path / "data")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    found = json.loads(answer.stdout)
    suite = load_suite("commonsense-offline")
    assert set(found) == {*(task.task for task in suite.tasks), suite.perplexity.task}
    text, results = found.pop(suite.perplexity.task)
    assert text == "Two  words\u2028and é."
    assert results == {
        "word_perplexity": [-1.0, 4],
        "byte_perplexity": [-1.0, 20],
        "bits_per_byte": [-1.0, 20],
    }
    for prompt, choices, scores in found.values():
        assert prompt == "Q: Why?\nA:"
        assert choices == ["no", "yes"]
        # The right choice is less likely than the other, but more likely per character.
        assert (scores["acc"], scores["acc_norm"]) == (0.0, 1.0)
