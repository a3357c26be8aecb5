"""The facts about benchmarks, against Table 6 of the paper and the lm-eval that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from adaptprune.errors import UserError
from adaptprune.evaluation.benchmarks import PerplexityTask, SuiteTask, benchmark_facts, find_facts
from adaptprune.evaluation.catalog import members_of, task_config
from adaptprune.evaluation.hubtasks import hub_source
from adaptprune.evaluation.suites import load_suite

if TYPE_CHECKING:
    from pathlib import Path

# One worker reads lm-eval's ten thousand task files, once.
pytestmark = pytest.mark.xdist_group("lm_eval")

# Table 6, row by row.
TABLE_6 = {
    "ARC-e": ("acc_norm", 0),
    "ARC-c": ("acc_norm", 0),
    "BoolQ": ("acc", 0),
    "HellaSwag": ("acc_norm", 0),
    "OBQA": ("acc_norm", 0),
    "PIQA": ("acc_norm", 0),
    "SIQA": ("acc", 0),
    "WinoGrande": ("acc", 0),
    "WikiText2": ("word_perplexity", 0),
    "BBH": ("exact_match", 3),
    "TruthfulQA": ("acc", 1),
    "AGIEval": ("acc_norm", 0),
    "MMLU": ("acc", 5),
}


def benchmarks() -> list[SuiteTask | PerplexityTask]:
    return list(load_suite("all-paper").benchmarks)


def by_name(name: str) -> SuiteTask | PerplexityTask:
    suites = [f"{kind}-sparse-paper" for kind in ("zero-shot", "knowledge", "gsm8k")]
    of_ast = [benchmark for suite in suites for benchmark in load_suite(suite).benchmarks]
    return next(one for one in [*benchmarks(), *of_ast] if one.task == name)


def test_all_of_table_6_is_there_and_nothing_else():
    rows = {b.title: (b.paper.metric, b.paper.shots) for b in benchmarks() if b.paper}
    assert rows == TABLE_6
    stated = {name for name, facts in benchmark_facts().items() if "paper" in facts}
    assert {benchmark.task for benchmark in benchmarks()} == stated


def test_what_is_run_is_what_table_6_says_or_a_stated_choice():
    for benchmark in benchmarks():
        assert benchmark.paper is not None
        agrees = (benchmark.metric, benchmark.shots) == (
            benchmark.paper.metric,
            benchmark.paper.shots,
        )
        assert agrees or benchmark.choice, benchmark.task
    departing = {b.task for b in benchmarks() if b.paper and b.shots != b.paper.shots}
    assert departing == {"truthfulqa"}


def test_a_departure_without_a_reason_is_refused():
    facts = find_facts("boolq") | {"shots": 5}
    with pytest.raises(pydantic.ValidationError, match="boolq departs from Table 6"):
        SuiteTask(**facts)
    assert SuiteTask(**facts, choice="to see what examples do").shots == 5


def test_the_sizes_of_groups_are_those_of_their_tasks():
    assert by_name("mmlu").documents == 14042
    assert by_name("bbh").documents == 6511
    assert by_name("truthfulqa").documents == 2 * 817
    assert len(by_name("mmlu").members) == 57
    assert len(by_name("bbh").members) == 27


def test_a_misspelt_benchmark_gets_the_nearest_name():
    with pytest.raises(UserError, match="unknown benchmark 'boolqq'; did you mean 'boolq'"):
        find_facts("boolqq")


@pytest.mark.parametrize("name", sorted(benchmark_facts()))
def test_facts_are_those_of_the_installed_lm_eval(name: str, cache: Path) -> None:
    benchmark = by_name(name)
    metric, _, filter_name = benchmark.metric.partition(",")
    for task, member in benchmark.tasks().items():
        config: dict[str, Any] = task_config(task)
        assert config["metadata"]["version"] == member.version
        assert metric in [entry["metric"] for entry in config["metric_list"]]
        filters = [entry["name"] for entry in config.get("filter_list") or []]
        assert filter_name in filters if filter_name else not filters
        # lm-eval lets nobody change the number of examples of a task that fixes it to none.
        assert config.get("num_fewshot") != 0 or benchmark.shots == 0
        source = hub_source(config | {"num_fewshot": benchmark.shots})
        assert source is not None
        assert source.split in ("test", "validation")
        assert benchmark.columns


def test_groups_have_the_tasks_of_lm_evals_groups(cache: Path) -> None:
    assert set(by_name("mmlu").members) == set(members_of("mmlu", None).tasks)
    assert set(by_name("bbh").members) == set(members_of("bbh", None).tasks)
    assert set(members_of("truthfulqa", None).tasks) == {
        *by_name("truthfulqa").members,
        "truthfulqa_gen",
    }
    generated = {"agieval_gaokao_mathcloze", "agieval_math"}
    assert set(members_of("agieval", None).tasks) - set(by_name("agieval").members) == generated
    assert members_of("mmlu", None).pooled
    assert not members_of("truthfulqa", None).pooled
    assert members_of("arc_easy", None).tasks == ["arc_easy"]


def test_examples_come_from_the_split_that_lm_eval_takes(cache: Path) -> None:
    mmlu = task_config("mmlu_anatomy")
    assert hub_source(mmlu | {"num_fewshot": 5}).splits == ["test", "dev"]
    assert hub_source(mmlu | {"num_fewshot": 0}).splits == ["test"]
    # Its examples are written in the task file.
    assert hub_source(task_config("bbh_cot_fewshot_snarks")).splits == ["test"]
    assert hub_source(task_config("boolq") | {"num_fewshot": 2}).splits == ["validation", "train"]


def test_a_group_that_changes_its_tasks_in_place_is_refused(cache: Path) -> None:
    with pytest.raises(UserError, match="changes its tasks in place"):
        members_of("openllm", None)
