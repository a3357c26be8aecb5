"""The dense gate: known scores, bands widened for subsets, and what a miss says."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
from cell_examples import EVALUATION, changed

from adaptprune.errors import UserError
from adaptprune.evaluation import dense_scores
from adaptprune.evaluation.dense import check_dense
from adaptprune.evaluation.suites import Suite, list_suites, load_suite
from adaptprune.files.atomic import write_sealed_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TASKS = [
    {"task": "a", "title": "A", "metric": "acc", "documents": 1000},
    {"task": "b", "title": "B", "metric": "acc_norm", "documents": 400},
]
TEXT = {
    **{"task": "text", "title": "Text", "metric": "word_perplexity", "documents": 10},
    "convention": "per word",
}


def suite(*scores: dict[str, Any]) -> Suite:
    return Suite(
        name="s",
        description="d",
        subset_seed=1,
        tasks=TASKS,
        perplexity=TEXT,
        dense={"m": {"source": "a model card", "scores": list(scores)}},
    )


def results(a: float = 0.5, b: float = 0.3, n: int = 10**6, text: float = 20.0) -> dict[str, Any]:
    return {
        "a": {"acc": a, "acc_norm": 0.9, "n": min(n, 1000)},
        "b": {"acc": 0.9, "acc_norm": b, "n": min(n, 400)},
        "text": {"word_perplexity": text, "n": min(n, 10)},
    }


def allowed(score: dict[str, Any], measured: dict[str, Any]) -> float:
    (check,) = check_dense(suite(score), "m", "ok", measured)
    return float(check["allowed"])


def test_a_full_set_must_lie_within_the_band_itself() -> None:
    score = {"tasks": ["a"], "value": 0.52, "band": 0.021}
    assert allowed(score, results()) == pytest.approx(0.021)
    with pytest.raises(UserError) as caught:
        check_dense(suite(score | {"band": 0.019}), "m", "ok", results())
    message = str(caught.value)
    for part in ("dense m", "a is 0.5000", "1000 documents", "0.5200", "0.0190", "a model card"):
        assert part in message
    assert "\n" not in message


def test_the_metric_is_the_one_that_is_shown() -> None:
    (check,) = check_dense(
        suite({"tasks": ["b"], "value": 0.3, "band": 0.01}), "m", "ok", results()
    )
    assert check["measured"] == pytest.approx(0.3)


def test_a_subset_is_allowed_three_standard_errors_more() -> None:
    score = {"tasks": ["a"], "value": 0.5, "band": 0.01}
    error = math.sqrt(0.25 * (1 / 100 - 1 / 1000))
    assert allowed(score, results(n=100)) == pytest.approx(0.01 + 3 * error)
    check_dense(suite(score), "m", "ok", results(a=0.65, n=100))
    with pytest.raises(UserError, match=r"a is 0\.6600"):
        check_dense(suite(score), "m", "ok", results(a=0.66, n=100))


def test_a_score_that_rests_on_a_subset_is_as_uncertain() -> None:
    score = {"tasks": ["a"], "value": 0.5, "band": 0.01, "documents": 250}
    error = math.sqrt(0.25 * (1 / 250 - 1 / 1000))
    assert allowed(score, results()) == pytest.approx(0.01 + 3 * error)


def test_an_average_is_surer_than_its_tasks() -> None:
    score = {"tasks": ["a", "b"], "value": 0.4, "band": 0.0}
    error = math.sqrt(0.24 * (1 / 50 - 1 / 1000) + 0.24 * (1 / 50 - 1 / 400)) / 2
    assert allowed(score, results(n=50)) == pytest.approx(3 * error)
    with pytest.raises(UserError, match="the mean of a, b is"):
        check_dense(suite(score), "m", "ok", results(a=0.8, n=50))


def test_a_perplexity_is_compared_on_the_full_text_alone() -> None:
    score = {"tasks": ["text"], "value": 25.0, "band": 1.0}
    assert check_dense(suite(score), "m", "ok", results(n=5)) == []
    with pytest.raises(UserError, match=r"text is 20\.0000"):
        check_dense(suite(score), "m", "ok", results())


def test_nothing_is_asked_of_an_unknown_model_and_a_failed_one_is_refused() -> None:
    score = {"tasks": ["a"], "value": 0.9, "band": 0.0}
    assert check_dense(suite(score), "other", "failed", {}) == []
    with pytest.raises(UserError, match="its evaluation failed"):
        check_dense(suite(score), "m", "failed", {})


def test_a_score_of_a_task_that_is_not_measured_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="not all of them in the suite"):
        suite({"tasks": ["c"], "value": 0.9, "band": 0.0})


@pytest.mark.parametrize("name", list_suites())
def test_the_suites_name_their_sources(name: str) -> None:
    for scores in load_suite(name).dense.values():
        assert len(scores.source) > 20
        assert all(score.band > 0 for score in scores.scores)


LLAMAS = ["meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.1-8B"]


@pytest.mark.parametrize("model", LLAMAS)
@pytest.mark.parametrize("name", ["commonsense-paper", "commonsense-boolq-paper", "all-paper"])
def test_the_paper_s_models_have_a_gate(name: str, model: str) -> None:
    """What is published passes; a model that guesses, or scores of another metric, do not."""
    suite = load_suite(name)
    known = suite.dense[model].scores
    assert len(known) >= 3
    assert all("published by" in (score.source or "") for score in known)
    sizes = {benchmark.task: benchmark.documents for benchmark in suite.benchmarks}
    measured = {
        score.tasks[0]: {score.metric: score.value, "n": sizes[score.tasks[0]]} for score in known
    }
    checks = check_dense(suite, model, "ok", measured)
    assert [check["tasks"][0] for check in checks] == [score.tasks[0] for score in known]
    for score in known:
        (task,) = score.tasks
        guessed = 1.5 * score.value if task == "wikitext" else 0.25
        with pytest.raises(UserError, match=rf"{task} is .* \(source: published by "):
            check_dense(
                suite, model, "ok", measured | {task: measured[task] | {score.metric: guessed}}
            )


def test_a_band_holds_the_figures_of_all_sources() -> None:
    for published in dense_scores._published():
        for score in published.scores:
            known = score.known(published.sources)
            for figure in score.figures.values():
                assert abs(figure - known.value) < known.band - 0.01
            assert known.band < 0.03 or score.metric == "word_perplexity"


def test_a_figure_without_a_source_is_refused() -> None:
    scores = [{"task": "a", "metric": "acc", "figures": {"paper": 0.5, "blog": 0.6}}]
    with pytest.raises(pydantic.ValidationError, match="figures are from"):
        dense_scores.PublishedScores(model="m", sources={"paper": "a paper"}, scores=scores)


def test_two_sources_by_hand() -> None:
    score = dense_scores.PublishedScore(task="a", metric="acc", figures={"x": 0.5, "y": 0.53})
    known = score.known({"x": "one", "y": "two", "z": "three"})
    assert known.value == pytest.approx(0.515)
    assert known.band == pytest.approx(0.015 + dense_scores.MARGIN)
    assert known.source == "published by one; two"
    text = dense_scores.PublishedScore(task="t", metric="word_perplexity", figures={"x": 10.0})
    assert text.known({"x": "one"}).band == pytest.approx(0.25)


def test_a_score_may_be_of_another_metric_than_the_shown_one() -> None:
    score = {"tasks": ["b"], "metric": "acc", "value": 0.9, "band": 0.01}
    (check,) = check_dense(suite(score), "m", "ok", results(b=0.3))
    assert check["measured"] == pytest.approx(0.9)


def test_older_declarations_keep_their_hash() -> None:
    """The workflow would evaluate again what is finished."""
    score = dense_scores.DenseScore(tasks=("a",), value=0.5, band=0.1)
    assert repr(score) == "DenseScore(tasks=('a',), value=0.5, band=0.1, documents=None)"


def gate(command: Callable[..., tuple[int, str, str]], folder: Path, score: float, *more: str):
    evaluation, output = folder / "evaluation.json", folder / "gate.json"
    measured = {"tiny_local_place": {"acc": score, "n": 60}}
    write_sealed_json(evaluation, changed(EVALUATION, results=measured))
    status, _, errors = command(
        *("gate", "--suite", "commonsense-tiny", "--model", "tiny-llama"),
        *("--evaluation", evaluation),
        *("--output", output, *more),
    )
    return status, errors, output


def test_the_command_stops_with_one_line_unless_told_otherwise(command, tmp_path: Path) -> None:
    status, errors, output = gate(command, tmp_path, 0.9)
    assert status == 2
    assert errors.startswith("error: dense tiny-llama: tiny_local_place is 0.9000 over 60")
    assert errors.count("\n") == 1
    assert not output.exists()

    status, errors, output = gate(command, tmp_path, 0.9, "--accept")
    assert status == 0, errors
    assert json.loads(output.read_text())["checks"] == []

    status, errors, output = gate(command, tmp_path, 0.27)
    assert status == 0, errors
    assert len(json.loads(output.read_text())["checks"]) == 1
