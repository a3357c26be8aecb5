"""The paper's profiles from a hub to the tables: fetched once, then without a single request.

All is the real path but what `hub_machine.LESS` says; models and rows are made up.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hub_answers import stock_answers, tasks_answered_alike
from hub_machine import GATED, Machine
from loopback_hub import LoopbackHub

from adaptprune.cells import slug

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.hub, pytest.mark.xdist_group("hub")]

ONE_B, THREE_B, EIGHT_B = (
    f"meta-llama/{name}" for name in ("Llama-3.2-1B", "Llama-3.2-3B", "Llama-3.1-8B")
)
METHODS = {"dense", "adapt-pruner", "llm-pruner", "flap", "slicegpt"}
COMMONSENSE = (
    *("arc_easy", "arc_challenge", "hellaswag", "openbookqa"),
    *("piqa", "social_iqa", "winogrande", "wikitext"),
)
KNOWLEDGE = ("bbh", "truthfulqa", "agieval", "mmlu")
NEW = "magnitude"  # compared with the others
#: Tables of a profile beside the first.
FURTHER = {"small": ("table7", "table8"), "paper": ("table2",)}
#: Cells that are computed once more without the hub; `make hub-whole` computes all of them.
AGAIN = ("*/dense/0", "*1B/adapt-pruner/20")
WHOLE = "ADAPTPRUNE_HUB_WHOLE" in os.environ


@pytest.fixture(scope="module")
def machine(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a clone, in front of a hub."""
    with LoopbackHub(repositories) as hub:
        hub.gated += GATED
        made = Machine(hub, tmp_path_factory.mktemp("machine"))
        made.make_clone()
        yield made


@pytest.fixture(scope="module")
def fetched(machine: Machine) -> int:
    """How many requests it takes to have everything of all profiles."""
    machine.prefetch("small", "small-table8", "paper", "paper-training")
    return len(machine.hub.requests)


@pytest.fixture(scope="module")
def small(machine: Machine, fetched: int) -> Path:
    """The results of `small`, with its comparison."""
    return run_profile(machine, "small", FURTHER["small"])


@pytest.fixture(scope="module")
def paper(machine: Machine, fetched: int) -> Path:
    """The results of `paper`, with its comparison."""
    return run_profile(machine, "paper", FURTHER["paper"])


@pytest.fixture(scope="module")
def recovered(machine: Machine, fetched: int) -> Path:
    """The evaluation of a model in MobileLLM's layout after Adapt-Accel."""
    return recover(machine, "recovered")


def recover(machine: Machine, name: str, *, offline: bool = False) -> Path:
    folder = machine.folder / name
    machine.adaptprune(
        *("recover", "--model", "facebook/MobileLLM-350M", "--preset", "adapt-accel"),
        *("--target-parameters", "100000", "--data", "paper", "--output", str(folder)),
        *("--calibration", "slimpajama", "--sequences", "8", "--threads", "1"),
        *("--set", "interleaves=2", "--set", "sequence_length=64", "--set", "batch=4"),
        offline=offline,
    )
    return evaluate(machine, str(folder), f"{name}.json", offline=offline)


@pytest.fixture(scope="module")
def knowledge(machine: Machine, fetched: int) -> Path:
    """The evaluation of the smallest LLaMA on the benchmarks of Tables 3 to 5."""
    return evaluate(machine, ONE_B, "knowledge.json")


@pytest.fixture(scope="module")
def offline(
    machine: Machine, small: Path, paper: Path, recovered: Path, knowledge: Path
) -> dict[str, Path]:
    """The same results once more, the hub away and the libraries told so."""
    machine.hub.stop()
    try:
        return {
            "small": run_again(machine, small),
            "paper": run_again(machine, paper),
            "recovered": recover(machine, "recovered-again", offline=True),
            "knowledge": evaluate(machine, ONE_B, "knowledge-again.json", offline=True),
        }
    finally:
        machine.hub.start()


def run_again(machine: Machine, online: Path) -> Path:
    """Run a profile's targets without the hub, beside what was computed with it.

    What is made of cells is made anew, and so are the cells of `AGAIN`.
    """
    folder = machine.folder / f"{online.name}-offline"
    if not WHOLE:
        shutil.copytree(online, folder)
        for made in ("results/*.csv", "results/runs/*/results*.csv", "paper_tables/generated"):
            for path in folder.glob(made):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for cells in AGAIN:
            for path in folder.glob(f"results/runs/*/cells/{cells}"):
                shutil.rmtree(path)
    return run_profile(machine, online.name, FURTHER[online.name], offline=True)


def run_profile(
    machine: Machine, profile: str, tables: tuple[str, ...], *, offline: bool = False
) -> Path:
    """Run a profile's targets and compare another method with what they store."""
    folder = machine.folder / f"{profile}{'-offline' if offline else ''}"
    machine.snakemake(folder, profile, "table1", "report", "store", *tables, offline=offline)
    machine.snakemake(folder, profile, "compare", f"method={NEW}", offline=offline)
    return folder


def evaluate(machine: Machine, model: str, name: str, *, offline: bool = False) -> Path:
    output = machine.folder / name
    machine.adaptprune(
        *("evaluate", "--model", model, "--suite", "knowledge-paper", "--documents-per-task", "2"),
        *("--output", str(output), "--max-length", "2048", "--threads", "1"),
        offline=offline,
    )
    return output


def generated(folder: Path, profile: str, name: str) -> str:
    return (folder / "paper_tables" / "generated" / profile / name).read_text()


def results(folder: Path, profile: str, selection: str = "") -> pd.DataFrame:
    return pd.read_csv(folder / "results" / "runs" / profile / f"results{selection}.csv")


def test_small_ends_in_its_tables(small: Path) -> None:
    rows = results(small, "small")
    assert set(rows["method"]) == METHODS
    assert set(rows["task"]) == set(COMMONSENSE)
    assert set(rows["calibration"].dropna()) == {"slimpajama 16x64"}
    windows = {metric for metric in rows["metric"] if metric.startswith("token_perplexity")}
    assert windows == {"token_perplexity_128", "token_perplexity_2048"}
    assert "Adapt-Pruner" in generated(small, "small", "table1.md")
    assert "SliceGPT, corrected" in generated(small, "small", "table7.md")
    assert "Adapt-Pruner" in generated(small, "small", "report.html")


def test_table8_runs_in_the_profile_that_stands_in(small: Path) -> None:
    rows = results(small, "small-table8", "-table8")
    assert set(rows["task"]) == {*COMMONSENSE, "boolq"} - {"social_iqa"}
    assert set(rows["sparsity"]) == {0, 50}
    assert "A = 0.02" in generated(small, "small-table8", "table8.md")


def test_paper_runs_every_shape_of_model(machine: Machine, paper: Path) -> None:
    rows = results(paper, "paper")
    assert set(rows["model"]) == {ONE_B, THREE_B, EIGHT_B}
    for _, cells in rows.groupby("model"):
        assert set(cells["method"]) == METHODS
    configs = {
        model: json.loads((folder(machine, model) / "config.json").read_text())
        for model in (ONE_B, THREE_B, EIGHT_B)
    }
    assert {model: c["tie_word_embeddings"] for model, c in configs.items()} == {
        ONE_B: True,
        THREE_B: True,
        EIGHT_B: False,
    }
    assert all(config["rope_scaling"]["rope_type"] == "llama3" for config in configs.values())
    shards = {model: len(list(folder(machine, model).glob("*.safetensors"))) for model in configs}
    assert shards == {ONE_B: 1, THREE_B: 2, EIGHT_B: 4}


def folder(machine: Machine, model: str) -> Path:
    return machine.folder / "cache" / "models" / f"{slug(model)}@main"


@pytest.mark.parametrize("profile", ["small", "paper"])
def test_a_further_method_is_compared(profile: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(profile)
    compared = folder / "results" / "runs" / profile / "compare" / NEW
    assert set(pd.read_csv(compared / "new.csv")["method"]) == {NEW}
    table = pd.read_csv(compared / "comparison.csv")
    assert set(table["baseline"]) == METHODS - {"dense"}


def test_table2_counts_the_nine_sources(paper: Path) -> None:
    table = generated(paper, "paper-training", "table2.md")
    for source in ("OpenOrca", "WildChat", "lmsys", "OpenHermes", "ultrachat", "UltraInteract"):
        assert source in table
    for source in ("OpenO1", "alpaca", "dolly"):
        assert source in table


def test_a_recovered_mobilellm_is_evaluated(machine: Machine, recovered: Path) -> None:
    record = json.loads((machine.folder / "recovered" / "recovery.json").read_text())
    assert record["status"] == "ok"
    assert record["params"] < 100000
    assert set(KNOWLEDGE) <= set(json.loads(recovered.read_text())["results"])


def test_after_prefetch_the_hub_is_asked_nothing(
    machine: Machine, fetched: int, small: Path, paper: Path, recovered: Path, knowledge: Path
) -> None:
    asked = [f"{request.method} {request.path}" for request in machine.hub.requests[fetched:]]
    assert asked == []


@pytest.mark.parametrize("profile", FURTHER)
def test_without_the_hub_all_is_the_same(
    profile: str, offline: dict[str, Path], request: pytest.FixtureRequest
) -> None:
    online, again = request.getfixturevalue(profile), offline[profile]
    computed = [
        *again.glob(f"results/runs/*/cells/{AGAIN[0]}/**/evaluation.json"),
        *again.glob(f"results/runs/*/cells/{AGAIN[1]}/**/evaluation.json"),
    ]
    assert len(computed) >= 3
    for file in computed:  # they were not copied
        assert file.stat().st_mtime > (online / file.relative_to(again)).stat().st_mtime, file
    found = [
        *again.glob("results/*.csv"),
        *again.glob("results/runs/*/results*.csv"),
        *again.glob(f"results/runs/{profile}/compare/{NEW}/comparison.csv"),
        *again.glob("paper_tables/generated/*/table*.*"),
    ]
    assert len(found) >= 7
    for file in found:
        if "provenance" not in file.name:  # it has times
            assert file.read_bytes() == (online / file.relative_to(again)).read_bytes(), file


def test_without_the_hub_a_recovery_is_the_same(recovered: Path, offline: dict[str, Path]) -> None:
    weights, again = (
        next(path.with_suffix("").glob("*.safetensors")).read_bytes()
        for path in (recovered, offline["recovered"])
    )
    assert weights == again
    assert scores(recovered) == scores(offline["recovered"])


def test_without_the_hub_the_benchmarks_are_the_same(
    knowledge: Path, offline: dict[str, Path]
) -> None:
    assert scores(knowledge) == scores(offline["knowledge"])


def scores(evaluation: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(evaluation.read_text())["results"]
    return found


@pytest.fixture(scope="module")
def answers(
    machine: Machine, paper: Path, knowledge: Path
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """The values of every document by us and by stock lm-eval, run by run."""
    runs: list[tuple[dict[str, Any], pd.DataFrame]] = []
    for model in (ONE_B, THREE_B, EIGHT_B):
        cell = paper / "results/runs/paper/cells" / slug(model) / "dense/0/none/s0"
        ours = pd.read_parquet(cell / "documents.parquet")
        runs.append(({"model": model, "tasks": documents(ours), "shots": None}, ours))
    ours = pd.read_parquet(knowledge.with_suffix(".parquet"))
    five = ours["task"].str.startswith("mmlu")
    for part, shots in ((ours[~five], None), (ours[five], 5)):
        runs.append(({"model": ONE_B, "tasks": documents(part), "shots": shots}, part))
    return stock_answers(machine, runs)


def documents(values: pd.DataFrame) -> dict[str, list[int]]:
    """Return the documents of each task."""
    return {
        str(task): sorted({int(index) for index in rows["document"]})
        for task, rows in values.groupby("task")
    }


def test_every_document_is_answered_as_by_stock_lm_eval(
    answers: list[tuple[pd.DataFrame, pd.DataFrame]],
) -> None:
    compared = tasks_answered_alike(answers)
    assert set(COMMONSENSE) <= set(compared)
    assert {task.split("_")[0] for task in compared} >= set(KNOWLEDGE)
