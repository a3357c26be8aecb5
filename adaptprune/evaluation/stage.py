"""The stage evaluate of one cell: a checkpoint in, scores of all its tasks out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.data.encoding import load_checked_tokenizer
from adaptprune.data.hub_splits import commits_of
from adaptprune.data.sources import ensure_source
from adaptprune.errors import NumericalError, UserError
from adaptprune.evaluation.catalog import (
    TASK_FOLDER,
    check_size,
    check_tasks,
    load_task,
    members_of,
)
from adaptprune.evaluation.outcome import Numbers
from adaptprune.evaluation.suitedata import fetch_suite_splits
from adaptprune.evaluation.suites import load_suite, subset
from adaptprune.files.atomic import remove_folder, write_sealed_json
from adaptprune.files.surroundings import expanded
from adaptprune.machine.provenance import Stopwatch
from adaptprune.models import checkpoint
from adaptprune.models.catalogue import locate, recorded_failure

if TYPE_CHECKING:
    from adaptprune.evaluation.benchmarks import Benchmark
    from adaptprune.evaluation.forward import Precision
    from adaptprune.evaluation.harness import EvaluationResult, LongerLengths, TaskSelection
    from adaptprune.models.runtime import Runtime

SCHEMA = 1
#: Given a model's folder and its tokenizer, returns further numbers by task, and their conditions.
Further = Callable[[Path, Any], tuple[dict[str, Numbers], dict[str, Any]]]


@dataclass(frozen=True)
class Selection:
    """What to evaluate: a suite's seeded subset, or lm-eval tasks by name.

    Args:
        suite: name of a suite, or None.
        tasks: lm-eval task names, where no suite is given.
        limit: the first N documents of each task, as lm-eval counts them.
        documents_per_task: size of the seeded subset of each task of a suite, None for all.
        perplexity_documents: the same for the suite's perplexity text.
        token_lengths: window lengths at which that text gets a token perplexity besides.
        longer_lengths: what becomes of those beyond the model's window.
    """

    suite: str | None = None
    tasks: list[str] = field(default_factory=list)
    limit: int | None = None
    documents_per_task: int | None = None
    perplexity_documents: int | None = None
    token_lengths: tuple[int, ...] = ()
    longer_lengths: LongerLengths = "refuse"

    def tasks_to_run(self) -> list[TaskSelection]:
        """Return the tasks with the documents to take of each.

        A smaller run takes a benchmark of several tasks as one: its documents are drawn from those
        of all its tasks, and a task of which none is drawn is not run.
        """
        if self.suite is None:
            return [task for name in self.tasks for task in _tasks_of(name)]
        suite = load_suite(self.suite)
        sizes: list[tuple[Benchmark, int | None]] = [
            (benchmark, self.documents_per_task) for benchmark in suite.tasks
        ]
        if suite.perplexity:
            sizes.append((suite.perplexity, self.perplexity_documents))
        return [
            task
            for benchmark, count in sizes
            for task in self._select(benchmark, count, suite.subset_seed)
        ]

    def texts(self) -> list[str]:
        """Return the tasks that measure perplexity.

        Raises:
            UserError: there are none.
        """
        text = load_suite(self.suite).perplexity if self.suite else None
        if text is None:
            raise UserError("rounded weights are judged by perplexity: give a suite with a text")
        return list(text.tasks())

    def _select(self, benchmark: Benchmark, count: int | None, seed: int) -> list[TaskSelection]:
        """Return the tasks of one benchmark with the documents to take of each."""
        from adaptprune.evaluation.harness import TaskSelection

        whole = count is None or count >= benchmark.documents or self.limit is not None
        chosen = None if whole else subset(benchmark, benchmark.documents, count, seed)
        selections = []
        first = 0
        for name, member in benchmark.tasks().items():
            last = first + member.documents
            own = None if chosen is None else [d - first for d in chosen if first <= d < last]
            first = last
            if own == []:
                continue
            group = benchmark.task if benchmark.members else None
            selections.append(
                TaskSelection(name, own, benchmark.shots, member.version, member.documents, group)
            )
        return selections


def _tasks_of(name: str) -> list[TaskSelection]:
    """Return the tasks behind an lm-eval name that was given by hand."""
    from adaptprune.evaluation.harness import TaskSelection

    check_tasks([name], TASK_FOLDER)
    members = members_of(name, TASK_FOLDER)
    return [TaskSelection(task, group=name if members.pooled else None) for task in members.tasks]


def fetch_suite(name: str, local_data: Path | None = None) -> dict[str, Any]:
    """Bring the documents of all tasks of a suite into the cache and say where they lie.

    Args:
        name: of the suite.
        local_data: folder that stands for the hub's data sets; nothing is fetched then, but all
            that is needed must be there.

    Raises:
        UserError: the suite is unknown or data cannot be had.
    """
    suite = load_suite(name)
    if suite.data != "hub":
        folder = ensure_source(suite.data)
        return {"suite": name, "data": folder.name, "revision": checkpoint.revision(folder)}
    files = [] if local_data else fetch_suite_splits(suite)
    for benchmark in suite.benchmarks:
        for task, member in benchmark.tasks().items():
            built = load_task(task, TASK_FOLDER, num_fewshot=benchmark.shots, local_data=local_data)
            check_size(task, len(built.eval_docs), member.documents)
    where = {"data": "local", "folder": str(local_data)} if local_data else {"data": "hub"}
    return {"suite": name, **where, "revision": None, "commits": commits_of(files)}


def kept_tasks(output: Path) -> Path:
    """Return the folder that keeps finished tasks until the output is written."""
    return output.with_name(f"{output.name}.partial")


@dataclass(frozen=True)
class Scoring:
    """How documents are scored.

    Args:
        max_length: window in tokens; None for the smaller of ``window_limit`` and the model's.
        window_limit: tokens at most where no window is given.
        batch_tokens: tokens per pass, None for automatic.
        precision: of the softmax, see ``harness.evaluate_checkpoint``.
        local_data: folder that stands for the hub's data sets, None for the hub.
    """

    max_length: int | None
    window_limit: int
    batch_tokens: int | None
    precision: Precision = "float32"
    local_data: Path | None = None


def evaluate_loaded(
    model: Any,
    tokenizer: Any,
    tasks: list[TaskSelection],
    selection: Selection,
    scoring: Scoring,
    *,
    partial: Path | None = None,
    model_hash: str = "",
) -> EvaluationResult:
    """Evaluate a model that is in memory.

    Args:
        model: on its device, in its dtype.
        tokenizer: its tokenizer.
        tasks: what ``selection.tasks_to_run()`` returned.
        selection: what to evaluate.
        scoring: how.
        partial: folder that keeps finished tasks, None to keep none.
        model_hash: tells checkpoints apart there.

    Raises:
        UserError: see ``harness.evaluate_checkpoint``.
    """
    from adaptprune.evaluation import harness

    return harness.evaluate_checkpoint(
        model,
        tokenizer,
        tasks,
        include_path=TASK_FOLDER,
        local_data=scoring.local_data,
        max_length=scoring.max_length,
        window_limit=scoring.window_limit,
        batch_tokens=scoring.batch_tokens,
        precision=scoring.precision,
        limit=selection.limit,
        token_lengths=selection.token_lengths,
        longer_lengths=selection.longer_lengths,
        partial=partial,
        model_hash=model_hash,
    )


def evaluate_stage(
    model: str,
    selection: Selection,
    scoring: Scoring,
    runtime: Runtime,
    output: Path,
    documents: Path,
    further: Further | None = None,
) -> None:
    """Evaluate a model and write its scores, and the scores of every document beside them.

    A checkpoint that failed to be pruned or trained fails here with the same reason.

    Args:
        model: id, folder or hub id.
        selection: what to evaluate.
        scoring: how its documents are scored.
        runtime: how to compute.
        output: JSON file of the scores.
        documents: parquet file of the per-document scores.
        further: measures more of the model, before its documents are scored.

    Raises:
        UserError: an unknown task or model, or data that cannot be had.
    """
    from adaptprune.evaluation import harness

    watch = Stopwatch()
    partial = kept_tasks(output)
    tasks = selection.tasks_to_run()
    check_tasks([task.name for task in tasks], TASK_FOLDER)
    place = expanded(Path(model))
    reason = recorded_failure(place)
    content: dict[str, Any] = {"schema": SCHEMA, "suite": selection.suite}
    content["made"] = checkpoint.made_by(place)
    if reason is not None:
        failed = harness.EvaluationResult.failed(reason)
        content |= failed.to_json()
        failed.write_documents(documents)
    else:
        runtime.apply()  # first: whatever makes a model that is not there could start CUDA
        folder = locate(model)
        tokenizer = load_checked_tokenizer(folder, "begin or end")
        content["model_hash"] = checkpoint.revision(folder)
        more: dict[str, Numbers] = {}
        asked: dict[str, Any] = {}
        try:
            if further is not None:
                more, asked = further(folder, tokenizer)
            result = evaluate_loaded(
                runtime.load(folder),
                tokenizer,
                tasks,
                selection,
                scoring,
                partial=partial,
                model_hash=content["model_hash"],
            )
        except NumericalError as error:
            result = harness.EvaluationResult.failed(str(error))
        for task, numbers in more.items() if result.reason is None else ():
            result.outcome.results[task] |= numbers
        content |= result.to_json() | asked
        result.write_documents(documents)
    write_sealed_json(output, content | {"provenance": watch.provenance()})
    remove_folder(partial)
