"""The profile of the AST paper from a hub to its tables, and its tasks that are answered in words.

All is the real path but for less of everything; models and rows are made up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from hub_answers import stock_answers, tasks_answered_alike
from hub_machine import GATED, LESS, Machine
from loopback_hub import LoopbackHub

from adaptprune.cells import slug

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.hub, pytest.mark.xdist_group("hub_sparse")]

OPT, POST_NORM, GPT2, LLAMA = (
    *("facebook/opt-125m", "facebook/opt-350m"),
    *("openai-community/gpt2", "meta-llama/Llama-2-7b-hf"),
)
WINDOWS = {OPT: 2048, POST_NORM: 2048, GPT2: 1024, LLAMA: 4096}
ZERO_SHOT = {
    *("boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa"),
}
#: Recoveries that are trained, on this many tokens.
TRAINED = (
    *("ast-naive-opt-125m", "ast-naive-opt-350m", "ast-naive-gpt2-124m"),
    *("ast-naive-llama2-7b", "ast-boosted-llama2-7b"),
)
TOKENS = {"tokens": 1024, "sequence_length": 64, "batch": 4, "update_every": 2}
#: Two of the trainings draw their rows by domain.
LOADING = {"loading": {"every": 2, "held_out_rows": 2}}


def less(content: dict[str, Any]) -> dict[str, Any]:
    """Return the profile with less of everything: one model of each layout, few tokens."""
    recoveries = {name: dict(content["recoveries"][name]) for name in TRAINED}
    for recovery in recoveries.values():
        by_domain = LOADING if "loading" in recovery["overrides"] else {}
        recovery["overrides"] = recovery["overrides"] | TOKENS | by_domain
    changes = LESS | {
        "models": list(WINDOWS),
        "further_models": [],
        "sparsities": [50],
        "calibration": content["calibration"] | {"sequences": 16, "length": 64},
        "evaluation": content["evaluation"]
        | {
            "documents_per_task": 2,
            "perplexity_documents": 6,
            "rounding": {"bits": {"dense": [4], "ast-boosted*": [4]}},
        },
        "training": {"micro_batch": 4},
        "recoveries": recoveries,
    }
    return content | changes


def trim(file: Path, rows: tuple[str, ...], columns: tuple[str, ...]) -> None:
    """Leave some rows and columns of a table's grid in the profile of the paper."""
    content = yaml.safe_load(file.read_text())
    for axis, titles in (("rows", rows), ("columns", columns)):
        kept = [one for one in content[axis]["sparse-paper"] if one["title"] in titles]
        assert len(kept) == len(titles)
        content[axis]["sparse-paper"] = kept
    file.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def machine(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a clone whose profile asks for less, in front of a hub."""
    with LoopbackHub(repositories) as hub:
        hub.gated += GATED
        made = Machine(hub, tmp_path_factory.mktemp("machine"))
        made.make_clone()
        profile = made.clone / "config" / "sparse-paper.yaml"
        profile.write_text(yaml.safe_dump(less(yaml.safe_load(profile.read_text()))))
        tables = made.clone / "paper_tables" / "sparse_trainer"
        chosen = ("OPT 125M", "OPT 350M", "GPT2 124M")
        trim(tables / "ast_table1.yaml", ("Dense", "AST-Naive"), chosen)
        yield made


@pytest.fixture(scope="module")
def tables(machine: Machine) -> Path:
    """The results of Tables 1 and 3, of what was fetched before."""
    machine.prefetch("sparse-paper")
    fetched = len(machine.hub.requests)
    folder = machine.folder / "run"
    machine.snakemake(folder, "sparse-paper", "ast_table1", "ast_table3")
    assert machine.hub.requests[fetched:] == []
    return folder


@pytest.fixture(scope="module")
def knowledge(machine: Machine) -> Path:
    """The evaluation of dense LLaMA-2 on MMLU and MATH."""
    return evaluate(machine, LLAMA, "knowledge-sparse-paper")


@pytest.fixture(scope="module")
def tuned(machine: Machine) -> Path:
    """LLaMA-2 after LoRA of rank 64 on GSM8K's training set."""
    folder = machine.folder / "tuned"
    machine.adaptprune(
        *("recover", "--model", LLAMA, "--preset", "lora", "--data", "gsm8k"),
        *("--set", "rank=64", "--set", "sequence_length=128", "--set", "batch=4"),
        *("--threads", "1", "--output", str(folder)),
    )
    return folder


@pytest.fixture(scope="module")
def solved(machine: Machine, tuned: Path) -> Path:
    """The evaluation of the fine-tuned model on GSM8K."""
    return evaluate(machine, str(tuned), "gsm8k-sparse-paper")


def evaluate(machine: Machine, model: str, suite: str) -> Path:
    output = machine.folder / f"{suite}.json"
    machine.adaptprune(
        *("evaluate", "--model", model, "--suite", suite, "--documents-per-task", "3"),
        *("--perplexity-documents", "2", "--max-length", "4096", "--threads", "1"),
        *("--output", str(output)),
    )
    return output


def test_tables_have_numbers_of_every_layout(tables: Path) -> None:
    generated = tables / "paper_tables" / "generated" / "sparse-paper"
    results = tables / "results" / "runs" / "sparse-paper"
    first = pd.read_csv(results / "results-ast_table1.csv")
    third = pd.read_csv(results / "results-ast_table3.csv")
    rows = pd.concat([first, third])
    assert set(rows["model"]) == set(WINDOWS)
    assert set(rows["task"]) == {*ZERO_SHOT, "wikitext"}
    assert set(rows["method"]) == {"dense", "wanda", "ast"}
    for model, window in WINDOWS.items():
        lengths = {f"token_perplexity_{n}" for n in (1024, 2048, 4096) if n <= window}
        found = set(rows[rows["model"] == model]["metric"])
        assert {name for name in found if name.startswith("token_perplexity")} == lengths
        assert {name for name in found if name.startswith("awq4_token_perplexity")} == {
            f"awq4_{name}" for name in lengths
        }
    for name in ("ast_table1", "ast_table3"):
        printed = (generated / f"{name}.md").read_text()
        assert "AST-Naive" in printed
    assert "AST-Boosted" in (generated / "ast_table3.md").read_text()


def test_half_of_the_weights_are_gone_in_every_layout(tables: Path) -> None:
    records = tables.glob("results/runs/sparse-paper/cells/*/ast/50/*/s0/recovery.json")
    found = [json.loads(file.read_text()) for file in records]
    assert len(found) == len(TRAINED)
    for record in found:
        assert record["status"] == "ok"
        assert record["counts"]["pattern"] == "2:4"
        assert record["tokens"] == TOKENS["tokens"]


def test_llama_is_trained_on_the_domains_of_redpajama(tables: Path) -> None:
    cells = tables / "results/runs/sparse-paper/cells" / slug(LLAMA)
    (record,) = cells.glob("ast/50/ast-naive-llama2-7b/s0/recovery.json")
    assert json.loads(record.read_text())["conditions"]["data"]["name"] == "redpajama"
    last = json.loads(record.with_name("log.jsonl").read_text().splitlines()[-1])
    weights = [value for key, value in last.items() if key.startswith("weight/")]
    assert len(weights) == 7
    assert sum(weights) == pytest.approx(1)


def test_generated_answers_are_scored(knowledge: Path, solved: Path) -> None:
    results = json.loads(knowledge.read_text())["results"]
    assert {"mmlu", "minerva_math", "wikitext"} <= set(results)
    assert {"exact_match", "math_verify"} <= set(results["minerva_math"])
    assert results["minerva_math"]["n"] == 3
    answers = json.loads(solved.read_text())["results"]["gsm8k"]
    assert {"exact_match,strict-match", "exact_match,flexible-extract"} <= set(answers)


@pytest.fixture(scope="module")
def answers(
    machine: Machine, tables: Path, knowledge: Path, tuned: Path, solved: Path
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """The values of every document by us and by stock lm-eval, run by run."""
    runs: list[tuple[dict[str, Any], pd.DataFrame]] = []

    def add(model: str, ours: pd.DataFrame, shots: int | None, window: int) -> None:
        documents = {
            str(task): sorted({int(index) for index in rows["document"]})
            for task, rows in ours.groupby("task")
        }
        run = {"model": model, "tasks": documents, "shots": shots, "window": window}
        runs.append((run, ours))

    for model, window in WINDOWS.items():
        cell = tables / "results/runs/sparse-paper/cells" / slug(model) / "dense/0/none/s0"
        add(model, pd.read_parquet(cell / "documents.parquet"), None, window)
    asked = pd.read_parquet(knowledge.with_suffix(".parquet"))
    five = asked["task"].str.startswith("mmlu")
    add(LLAMA, asked[five], 5, 4096)
    add(LLAMA, asked[~five], None, 4096)
    add(str(tuned), pd.read_parquet(solved.with_suffix(".parquet")), 0, 4096)
    return stock_answers(machine, runs)


def test_every_document_is_answered_as_by_stock_lm_eval(
    answers: list[tuple[pd.DataFrame, pd.DataFrame]],
) -> None:
    compared = tasks_answered_alike(answers)
    assert ZERO_SHOT | {"wikitext", "gsm8k"} <= compared
    assert {task.split("_")[0] for task in compared} >= {"mmlu", "minerva"}
