"""What one task of one checkpoint gave: means with their standard errors, and every document."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.errors import NumericalError, UserError
from adaptprune.files.atomic import (
    atomic_file,
    read_sealed_json,
    sha256_file,
    sha256_json,
    write_sealed_json,
)

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ["task", "document", "document_hash", "metric", "value"]
# Metrics whose value for a document is (log-likelihood in nats, size of the document).
ROLLING = {"word_perplexity": "words", "byte_perplexity": "bytes", "bits_per_byte": "bytes"}

Numbers = dict[str, float | None]


@dataclass
class Outcome:
    """Scores of one or more tasks.

    Attributes:
        results: task or group to metric to number; ``n`` documents; ``…_stderr`` is the standard
            error of a mean over documents, None where the metric is no mean or n is 1.
        conditions: task or group to what was asked.
        documents: one row per document and metric, with the columns `COLUMNS`.
    """

    results: dict[str, Numbers] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    def add(self, other: Outcome) -> None:
        """Append the scores of other tasks."""
        self.results |= other.results
        self.conditions |= other.conditions
        frames = [frame for frame in (self.documents, other.documents) if len(frame)]
        self.documents = pd.concat(frames, ignore_index=True) if frames else self.documents


def write_documents(path: Path, documents: pd.DataFrame) -> None:
    """Write per-document scores as parquet, atomically."""
    typed = documents.astype({"document": "int64", "value": "float64"})
    with atomic_file(path) as temporary:
        typed.to_parquet(temporary, compression="zstd", index=False)


def save(folder: Path, name: str, outcome: Outcome) -> None:
    """Keep a finished task, so that an interrupted evaluation need not score it again."""
    documents = folder / f"{name}.parquet"
    write_documents(documents, outcome.documents)
    content = {"results": outcome.results, "conditions": outcome.conditions}
    seal = {"documents_sha256": sha256_file(documents)}
    write_sealed_json(folder / f"{name}.json", content | seal)


def restore(folder: Path, name: str) -> Outcome | None:
    """Return a kept task, or None where it is absent or not what was written."""
    record, documents = folder / f"{name}.json", folder / f"{name}.parquet"
    # The record is written last: without it, or with other documents, the task was cut short.
    if not (record.is_file() and documents.is_file()):
        return None
    try:
        content = read_sealed_json(record)
    except UserError:
        return None
    if content["documents_sha256"] != sha256_file(documents):
        return None
    return Outcome(content["results"], content["conditions"], pd.read_parquet(documents))


def check_finite(task: str, samples: list[dict[str, Any]]) -> None:
    """Refuse log-likelihoods that are not finite.

    Args:
        task: name for the message.
        samples: lm-eval's, one per document.

    Raises:
        NumericalError: names the task, the document and the value.
    """
    for sample in samples:
        for response, *_ in sample["resps"]:
            score = response[0] if isinstance(response, tuple) else response
            if isinstance(score, float) and not math.isfinite(score):
                raise NumericalError(
                    f"task {task}, document {sample['doc_id']}: log-likelihood is {score}"
                )


def task_conditions(
    samples: list[dict[str, Any]], version: str | int | float | None, num_fewshot: int | None
) -> dict[str, Any]:
    """Return what was asked of the model in one task, hashed from the requests themselves."""
    first = [sample for sample in samples if sample["filter"] == samples[0]["filter"]]
    documents = [(sample["doc_id"], sample["doc_hash"]) for sample in first]
    return {
        "version": version,
        "hash": sha256_json([_plain(sample["arguments"]) for sample in first]),
        "num_fewshot": num_fewshot,
        "documents_hash": sha256_json(documents),
        "n": len(first),
    }


def pool(group: str, members: list[str], outcome: Outcome) -> Outcome:
    """Return the numbers of a group of tasks: means over all their documents.

    A metric that not all of the tasks define is left out, and so are perplexities.

    Args:
        group: name of the group.
        members: names of its tasks.
        outcome: holds their scores.
    """
    documents = outcome.documents[outcome.documents["task"].isin(members)]
    parts = {"log_likelihood", *ROLLING.values()}
    numbers: Numbers = {}
    for metric, scores in documents.groupby("metric", sort=False):
        if metric in parts or scores["task"].nunique() < len(members):
            continue
        values = scores["value"].tolist()
        numbers[str(metric)] = statistics.fmean(values)
        numbers[f"{metric}_stderr"] = _standard_error(statistics.fmean(values), values)
    asked = [outcome.conditions[name] for name in members]
    shots = {task["num_fewshot"] for task in asked}
    versions = {str(task["version"]) for task in asked}
    conditions = {
        "version": versions.pop() if len(versions) == 1 else None,
        "hash": sha256_json([task["hash"] for task in asked]),
        "num_fewshot": shots.pop() if len(shots) == 1 else None,
        "documents_hash": sha256_json([task["documents_hash"] for task in asked]),
        "n": sum(task["n"] for task in asked),
    }
    return Outcome({group: _paired(numbers) | {"n": conditions["n"]}}, {group: conditions})


def _plain(value: Any) -> Any:
    """Return request arguments as JSON values: anything unusual by its representation."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def document_scores(task: str, samples: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per document and number.

    A metric of filtered answers is called ``metric,filter``, as lm-eval calls it.

    A perplexity is stored by its parts (``log_likelihood`` in nats, ``words``, ``bytes``), so that
    it can be computed for any set of documents. Metrics that are neither a number nor such a pair
    exist only for the whole task and are left out.
    """
    rows = []
    for sample in samples:
        scores: dict[str, float] = {}
        for metric in sample["metrics"]:
            value = sample[metric]
            if metric in ROLLING:
                scores["log_likelihood"], scores[ROLLING[metric]] = value
            elif isinstance(value, Real):
                scores[_metric_name(metric, sample["filter"])] = float(value)
        rows += [
            (task, sample["doc_id"], sample["doc_hash"], metric, value)
            for metric, value in scores.items()
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _metric_name(metric: str, filter_name: str) -> str:
    return metric if filter_name == "none" else f"{metric},{filter_name}"


def means(aggregated: dict[str, Any], documents: pd.DataFrame, n: int) -> Numbers:
    """Return the numbers of a task, as lm-eval aggregated them, with standard errors.

    Args:
        aggregated: lm-eval's, keyed ``metric,filter``.
        documents: per-document scores of the task.
        n: number of documents.

    Raises:
        NumericalError: a number is not finite.
    """
    values: dict[tuple[str, str], float] = {}
    for key, value in aggregated.items():
        metric, _, filter_name = key.partition(",")
        if filter_name and not metric.endswith("_stderr") and isinstance(value, Real):
            if not math.isfinite(value):
                raise NumericalError(f"{metric} is {value}")
            values[metric, filter_name] = float(value)
    found: Numbers = {}
    for (metric, filter_name), value in values.items():
        name = _metric_name(metric, filter_name)
        found[name] = value
        if metric not in ROLLING:
            found[f"{name}_stderr"] = _standard_error(
                value, documents.loc[documents["metric"] == name, "value"].tolist()
            )
    return _paired(found) | {"n": n}


def _paired(numbers: Numbers) -> Numbers:
    """Give acc its acc_norm, None where it is absent: readers need not ask which a task defines."""
    if "acc" in numbers:
        numbers.setdefault("acc_norm", None)
        numbers.setdefault("acc_norm_stderr", None)
    return numbers


def _standard_error(value: float, scores: list[float]) -> float | None:
    """Return the standard error where ``value`` is the mean of two or more scores."""
    if len(scores) < 2 or not math.isclose(statistics.fmean(scores), value, abs_tol=1e-9):
        return None
    return statistics.stdev(scores) / math.sqrt(len(scores))
