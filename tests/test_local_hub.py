"""All of Table 6 from a folder that stands for the hub, through lm-eval's own tasks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from hub_rows import MEMBERS, ROWS, write_hub

from adaptprune.data.hub_rows import read_split
from adaptprune.data.texts import read_texts
from adaptprune.errors import UserError
from adaptprune.evaluation import harness
from adaptprune.evaluation.catalog import load_task
from adaptprune.evaluation.stage import Selection, fetch_suite
from adaptprune.evaluation.suites import load_suite

pytestmark = pytest.mark.xdist_group("lm_eval")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def whole(hub: Path, cache_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation of a random model on the whole of every benchmark."""
    output = tmp_path_factory.mktemp("whole") / "evaluation.json"
    finished = subprocess.run(
        call(output, hub),
        env=environment(cache_folder),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    return output


def environment(cache: Path) -> dict[str, str]:
    root = Path(__file__).parent
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    paths = {"PYTHONPATH": f"{root.parent}:{root}", "ADAPTPRUNE_CACHE": str(cache)}
    return {**os.environ, **offline, **paths}


def call(output: Path, hub: Path, *options: str) -> list[str]:
    """Return the call of the command line, on facts of the folder's size."""
    script = (
        "import sys; from adaptprune.evaluation import benchmarks; "
        "from hub_rows import small_facts; "
        "facts = small_facts(benchmarks.benchmark_facts()); "
        "benchmarks.benchmark_facts = lambda: facts; from adaptprune.cli import main; main()"
    )
    return [
        *(sys.executable, "-c", script, "evaluate", "--model", "tiny-llama"),
        *("--suite", "all-paper", "--local-data", str(hub), "--output", str(output), *options),
        # BBH generates 1,024 tokens, as many as the model sees.
        *("--max-length", "2048"),
    ]


@pytest.mark.workflow
def test_every_benchmark_of_table_6_is_measured_whole(whole: Path) -> None:
    content = json.loads(whole.read_text())
    assert content["status"] == "ok"
    for benchmark in load_suite("all-paper").benchmarks:
        numbers = content["results"][benchmark.task]
        assert numbers[benchmark.metric] is not None, benchmark.task
        count = len(MEMBERS.get(benchmark.task, [benchmark.task])) * ROWS
        assert numbers["n"] == count
        asked = content["conditions"]["tasks"][benchmark.task]
        assert asked["num_fewshot"] == benchmark.shots


@pytest.mark.workflow
def test_a_group_is_the_mean_over_the_documents_of_its_tasks(whole: Path) -> None:
    results = json.loads(whole.read_text())["results"]
    documents = pd.read_parquet(whole.with_suffix(".parquet"))
    for group, metric in (("truthfulqa", "acc"), ("agieval", "acc_norm"), ("mmlu", "acc")):
        scores = documents[documents["task"].isin(MEMBERS[group]) & (documents["metric"] == metric)]
        assert len(scores) == 2 * ROWS
        assert results[group][metric] == pytest.approx(scores["value"].mean())
        assert results[group][f"{metric}_stderr"] == pytest.approx(
            scores["value"].std(ddof=1) / len(scores) ** 0.5
        )


@pytest.mark.workflow
def test_killed_for_real_it_goes_on_and_ends_the_same(
    whole: Path,
    hub: Path,
    small: Any,
    command: Any,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "evaluation.json"
    partial = tmp_path / "evaluation.json.partial"
    running = subprocess.Popen(
        call(output, hub),
        env=environment(cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # After the eight single tasks comes a group whose generation takes a while.
    deadline = time.monotonic() + 300
    while len(list(partial.glob("*.json"))) < 8 and running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = len(list(partial.glob("*.json")))
    assert kept >= 8
    assert not output.exists()

    measured = []
    measure = harness._measure

    def record(model: Any, selection: Any, *rest: Any) -> Any:
        measured.append(selection.name)
        return measure(model, selection, *rest)

    monkeypatch.setattr(harness, "_measure", record)
    status, _, errors = command(*call(output, hub)[3:])
    assert status == 0, errors
    tasks = Selection(suite="all-paper").tasks_to_run()
    assert measured == [task.name for task in tasks][kept:]
    assert not partial.exists()
    assert output.with_suffix(".parquet").read_bytes() == whole.with_suffix(".parquet").read_bytes()
    ours, theirs = (json.loads(path.read_text()) for path in (output, whole))
    for key in ("provenance", "sha256"):
        del ours[key], theirs[key]
    assert ours == theirs


def test_a_smaller_run_draws_documents_over_all_tasks_of_a_group(small: Any) -> None:
    tasks = Selection(suite="all-paper", documents_per_task=4).tasks_to_run()
    of_mmlu = [task for task in tasks if task.group == "mmlu"]
    assert sum(len(task.documents or []) for task in of_mmlu) == 4
    assert all(0 <= index < ROWS for task in of_mmlu for index in task.documents or [])
    assert [task.num_fewshot for task in of_mmlu] == [5, 5]
    one = Selection(suite="all-paper", documents_per_task=1).tasks_to_run()
    assert len([task for task in one if task.group == "mmlu"]) == 1


def test_the_data_of_a_suite_are_checked_without_the_hub(
    small: Any, hub: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    assert fetch_suite("all-paper", hub)["data"] == "local"


def test_documents_are_processed_once(
    hub: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, calls = datasets.Dataset.map, []
    monkeypatch.setattr(
        datasets.Dataset, "map", lambda *a, **k: calls.append(1) or process(*a, **k)
    )
    task = load_task("hellaswag", None, local_data=hub)
    first = [dict(task.eval_docs[index]) for index in range(ROWS)]
    assert first == [dict(row) for row in task.eval_docs]
    assert "query" in first[0]
    assert len(calls) == 1


def test_a_wrong_count_is_one_line(hub: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"task arc_easy: has 3 documents, its full set has 2376"):
        fetch_suite("commonsense-paper", hub)


@pytest.fixture
def broken(hub: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hub, tmp_path / "broken"))


ARC = "allenai/ai2_arc/ARC-Easy/test.jsonl"


def test_a_missing_file_is_named_with_its_columns(broken: Path, cache: Path) -> None:
    (broken / ARC).unlink()
    with pytest.raises(UserError) as caught:
        load_task("arc_easy", None, local_data=broken)
    message = str(caught.value)
    assert str(broken / ARC) in message
    assert "question, choices.text, choices.label, answerKey" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.pop("answerKey"), "no column 'answerKey'"),
        (lambda row: row["choices"].pop("text"), "no column 'choices.text'"),
        (lambda row: row.update(choices=["a nest", "a kettle"]), "no column 'choices.text'"),
    ],
)
def test_a_malformed_file_is_named_with_its_columns(
    broken: Path, cache: Path, change: Any, said: str
) -> None:
    rows = [json.loads(line) for line in (broken / ARC).read_text().splitlines()]
    for row in rows:
        change(row)
    (broken / ARC).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"expected question, choices\.text") as caught:
        load_task("arc_easy", None, local_data=broken)
    assert said in str(caught.value)
    assert str(broken / ARC) in str(caught.value)


def test_a_row_that_lacks_a_value_is_named(broken: Path, cache: Path) -> None:
    lines = (broken / ARC).read_text().splitlines()
    row = json.loads(lines[1])
    row["answerKey"] = None
    (broken / ARC).write_text("\n".join([lines[0], json.dumps(row), lines[2]]))
    with pytest.raises(UserError, match=r"test\.jsonl: row 2 has no 'answerKey'"):
        load_task("arc_easy", None, local_data=broken)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no rows"),
        ("[1]\n", "line 1 is not a JSON object"),
        ('{"question"\n', "line 1 is not a JSON object"),
        ('{"question": 1}\n{"question": ["a"]}\n', "not a table"),
    ],
)
def test_a_file_that_holds_no_rows_is_refused(broken: Path, content: str, said: str) -> None:
    (broken / ARC).write_text(content)
    with pytest.raises(UserError, match=said):
        read_split(broken, "allenai/ai2_arc", "ARC-Easy", "test", ["question"])


def test_a_parquet_file_that_is_none_is_refused(broken: Path) -> None:
    file = broken / "allenai/ai2_arc/ARC-Challenge/test.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"test\.parquet: not a table"):
        read_split(broken, "allenai/ai2_arc", "ARC-Challenge", "test", ["question"])


def test_a_row_of_another_shape_is_one_line(broken: Path, cache: Path) -> None:
    rows = [json.loads(line) for line in (broken / ARC).read_text().splitlines()]
    for row in rows:
        row["answerKey"] = "Z"
    (broken / ARC).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="task 'arc_easy': its data cannot be loaded"):
        load_task("arc_easy", None, local_data=broken)


def test_the_task_is_lm_evals_own_and_asks_the_same(hub: Path, cache: Path) -> None:
    task = load_task("hellaswag", None, local_data=hub)
    document = task.eval_docs[0]
    assert document["query"] == "Watching birds: A woman lifts her binoculars. The wren"
    assert task.doc_to_choice(document)[0] == "flies off."
    shots = load_task("mmlu_anatomy", None, num_fewshot=5, local_data=hub)
    prompt = shots.fewshot_context(shots.eval_docs[0], 5)
    assert prompt.count("Answer:") == 6


def test_tasks_of_generation_in_groups_by_name_run_too(hub: Path, cache: Path) -> None:
    task = load_task("agieval_math", None, local_data=hub)
    assert (task.OUTPUT_TYPE, len(task.eval_docs)) == ("generate_until", ROWS)


def test_calibration_text_is_read_from_the_folder(hub: Path) -> None:
    texts = read_texts("slimpajama", hub)
    assert len(texts) == 20
    assert texts[1].startswith("A heron stood by the pond, number 1.")
