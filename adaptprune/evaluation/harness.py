"""All tasks of one checkpoint in one process, through lm-eval, with our own result file."""

from __future__ import annotations

import logging
import platform
import random
from dataclasses import astuple, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from adaptprune.data.encoding import check_tokenizer
from adaptprune.errors import NumericalError, UserError
from adaptprune.evaluation import outcome
from adaptprune.evaluation.catalog import check_size, check_tasks, load_task
from adaptprune.evaluation.documents import (
    check_answers,
    first_line,
    in_one_line,
    rolling_texts,
)
from adaptprune.evaluation.outcome import Outcome, write_documents
from adaptprune.evaluation.perplexity import check_lengths, joined_tokens, token_perplexities
from adaptprune.evaluation.window import LIMIT, choose_window
from adaptprune.files.atomic import sha256_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lm_eval.api.task import Task
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from adaptprune.evaluation.forward import Precision

__all__ = ["EvaluationResult", "TaskSelection", "check_tasks", "evaluate_checkpoint"]

logger = logging.getLogger(__name__)

SCHEMA = 1
SEED = 1234  # of few-shot sampling and all generators; lm-eval's own default
STOCK_BATCH = 16

Scorer = Literal["prefix", "stock"]
LongerLengths = Literal["refuse", "leave out"]


@dataclass(frozen=True)
class TaskSelection:
    """A task by lm-eval's name, the documents to take, and what must hold for it.

    Attributes:
        name: of a task.
        documents: indices into the task's documents, None for all of them.
        num_fewshot: examples in the prompt; None for what the task file says, else none.
        version: that lm-eval must give the task, None for any.
        available: how many documents the task must have, None for any number.
        group: what the task is pooled into with others, None for nothing.
    """

    name: str
    documents: list[int] | None = None
    num_fewshot: int | None = None
    version: str | int | float | None = None
    available: int | None = None
    group: str | None = None


@dataclass
class EvaluationResult:
    """All scores of a checkpoint, or why there are none.

    Attributes:
        outcome: scores, conditions per task, per-document scores.
        conditions: what all tasks share; None for a failed evaluation.
        reason: why the evaluation failed, None where it did not.
    """

    outcome: Outcome = field(default_factory=Outcome)
    conditions: dict[str, Any] | None = None
    reason: str | None = None

    @classmethod
    def failed(cls, reason: str) -> EvaluationResult:
        """Return the result of an evaluation that gave no trustworthy numbers."""
        return cls(reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the per-document scores, ready for JSON."""
        conditions = self.conditions and self.conditions | {"tasks": self.outcome.conditions}
        return {
            "schema": SCHEMA,
            "status": "ok" if self.reason is None else "failed",
            "reason": self.reason,
            "results": self.outcome.results,
            "conditions": conditions,
        }

    def write_documents(self, path: Path) -> None:
        """Write the per-document scores (see `outcome.COLUMNS`) as parquet, atomically."""
        write_documents(path, self.outcome.documents)


def evaluate_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: list[TaskSelection],
    *,
    include_path: Path | None = None,
    local_data: Path | None = None,
    max_length: int | None = None,
    window_limit: int = LIMIT,
    batch_tokens: int | None = None,
    limit: int | None = None,
    token_lengths: Sequence[int] = (),
    longer_lengths: LongerLengths = "refuse",
    scorer: Scorer = "prefix",
    precision: Precision = "float32",
    partial: Path | None = None,
    model_hash: str = "",
) -> EvaluationResult:
    """Evaluate a model on tasks.

    Args:
        model: on its device, in its dtype.
        tokenizer: its tokenizer.
        tasks: what to evaluate.
        include_path: folder of task files besides lm-eval's own; its names take precedence.
        local_data: folder that stands for the hub's data sets, see `hubdata`; None for the hub.
        max_length: window in tokens; None for the smaller of ``window_limit`` and the model's.
        window_limit: tokens at most where no window is given.
        batch_tokens: tokens per forward pass, None for automatic.
        limit: the first N documents of each task (of its selected ones where some are selected).
        token_lengths: window lengths at which rolling tasks get a token perplexity besides.
        longer_lengths: what becomes of those beyond the window: refused, or left out.
        scorer: with shared prefixes, or lm-eval's own.
        precision: of the softmax: float32, or ``stock`` for the model's dtype as lm-eval has it.
        partial: folder that keeps finished tasks; an evaluation that was killed goes on from
            there. The caller removes it once the result is written.
        model_hash: tells checkpoints apart in ``partial``.

    Returns:
        The scores; a failed result where a log-likelihood or a metric is not finite.

    Raises:
        UserError: an unknown task, documents that do not exist, data that cannot be had, a task
            that is not the one that was meant, or text that cannot be scored.
    """
    check_tasks([task.name for task in tasks], include_path)
    words: Any = model.get_input_embeddings()
    check_tokenizer(tokenizer, words.weight.shape[0], "begin or end")
    max_length = choose_window(model, max_length, window_limit)
    if longer_lengths == "leave out":
        token_lengths = [length for length in token_lengths if length <= max_length]
    check_lengths(token_lengths, max_length)
    # All data first: what is missing is told before hours of scoring.
    loaded = []
    for task in tasks:
        built = load_task(
            task.name, include_path, num_fewshot=task.num_fewshot, local_data=local_data
        )
        with in_one_line(built):
            _check_task(task, built, max_length, complete=limit is None)
            chosen = chosen_documents(task, built, limit)
            check_answers(built, chosen)
            if token_lengths and built.OUTPUT_TYPE == "loglikelihood_rolling":
                joined_tokens(tokenizer, rolling_texts(built, chosen), max(token_lengths))
        loaded.append((task, built))
    try:
        language_model = _language_model(
            model, tokenizer, max_length, batch_tokens, scorer, precision
        )
    except UserError:
        raise
    except Exception as error:  # of the model's code, which is run here for the first time
        raise UserError(f"the model cannot be scored ({first_line(error)})") from error
    conditions: dict[str, Any] = {
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "max_length": max_length,
        "scorer": "stock" if getattr(language_model, "stock_reason", scorer) else "prefix",
        "versions": {
            "lm_eval": version("lm-eval"),
            "transformers": version("transformers"),
            "torch": version("torch").partition("+")[0],
            "python": platform.python_version(),
        },
    }
    if precision == "stock":
        conditions["scorer_precision"] = precision
    result = EvaluationResult(conditions=conditions)
    for number, (selection, built) in enumerate(loaded, start=1):
        asked = [astuple(selection), limit, list(token_lengths), model_hash, conditions]
        name = sha256_json(asked)
        measured = outcome.restore(partial, name) if partial else None
        logger.info("task %d of %d: %s", number, len(loaded), selection.name)
        if measured is None:
            try:
                measured = _measure(language_model, selection, built, limit, token_lengths)
            except NumericalError as error:
                return EvaluationResult.failed(str(error))
            if partial:
                outcome.save(partial, name, measured)
        result.outcome.add(measured)
    for group in dict.fromkeys(task.group for task in tasks if task.group):
        members = [task.name for task in tasks if task.group == group]
        result.outcome.add(outcome.pool(group, members, result.outcome))
    return result


def _check_task(selection: TaskSelection, built: Task, max_length: int, *, complete: bool) -> None:
    """Refuse a task of another version or size, or one that the window has no room for.

    Raises:
        UserError: says what differs.
    """
    if selection.version is not None and str(built.VERSION) != str(selection.version):
        raise UserError(
            f"task {selection.name}: lm-eval {version('lm-eval')} has version {built.VERSION}, the "
            f"suite was written for {selection.version}; install the lm-eval of constraints.txt"
        )
    available = len(built.eval_docs)
    if not available:
        raise UserError(f"task {selection.name}: has no documents")
    if complete and selection.available is not None:
        check_size(selection.name, available, selection.available)
    if selection.documents is not None and not (
        selection.documents
        and 0 <= min(selection.documents) <= max(selection.documents) < available
    ):
        raise UserError(f"task {selection.name}: documents must lie in 0..{available - 1}")
    generated = (built.get_config("generation_kwargs") or {}).get("max_gen_toks", 0)
    if built.OUTPUT_TYPE == "generate_until" and generated >= max_length:
        raise UserError(
            f"task {selection.name}: generates up to {generated} tokens, which leaves no room for "
            f"the prompt in a window of {max_length}; give a larger max_length"
        )


def chosen_documents(selection: TaskSelection, built: Task, limit: int | None) -> list[int]:
    """Return the indices of a task's documents to evaluate, in the order of the data.

    lm-eval walks the data in that order and counts on indices that are unique.
    """
    if selection.documents is None:
        return list(range(len(built.eval_docs)))[:limit]
    return sorted(set(selection.documents))[:limit]


def _language_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    batch_tokens: int | None,
    scorer: Scorer,
    precision: Precision,
) -> HFLM:
    """Wrap a model for lm-eval."""
    if scorer == "prefix":
        from adaptprune.evaluation.scorer import PrefixScorer

        return PrefixScorer(
            model,
            tokenizer,
            max_length=max_length,
            batch_tokens=batch_tokens,
            precision=precision,
        )
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        max_length=max_length,
        batch_size=STOCK_BATCH,
        softmax_dtype=None if precision == "stock" else torch.float32,
    )


def _narrow(task: Task, chosen: list[int]) -> bool:
    """Leave only the chosen documents in a task's data, which lm-eval walks several times.

    Returns:
        Whether that was possible; not where other rows make documents or examples.
    """
    config = task.config
    split = config.test_split or config.validation_split
    if config.process_docs is not None or config.num_fewshot or split is None:
        return False
    task.dataset[split] = task.dataset[split].select(chosen)
    return True


def _measure(
    language_model: HFLM,
    selection: TaskSelection,
    built: Task,
    limit: int | None,
    token_lengths: Sequence[int],
) -> Outcome:
    """Run one task and summarise what lm-eval returns."""
    from lm_eval.evaluator import evaluate

    chosen = None
    if selection.documents is not None:
        chosen = chosen_documents(selection, built, limit)
    narrowed = chosen is not None and _narrow(built, chosen)
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    built.set_fewshot_seed(SEED)
    # Not `simple_evaluate`: for a model that exists already, what it adds is a description of the
    # host, gathered by seconds of child processes at every call.
    with in_one_line(built, chosen if narrowed else None):
        try:
            output = evaluate(
                lm=language_model,
                task_dict={"tasks": {built.task_name: built}, "groups": {}},
                limit=None if chosen else limit,
                samples={built.task_name: chosen} if chosen and not narrowed else None,
                bootstrap_iters=0,
                log_samples=True,
            )
        except OverflowError:  # exp of a mean that no float holds: a perplexity beyond 1e308
            raise NumericalError(f"task {selection.name}: perplexity is infinite") from None
        samples = output["samples"][built.task_name]
        if chosen and narrowed:
            for sample in samples:
                sample["doc_id"] = chosen[sample["doc_id"]]
        found = _summarise(output, built)
        if token_lengths and built.OUTPUT_TYPE == "loglikelihood_rolling":
            texts = [sample["target"] for sample in samples]
            found.results[built.task_name] |= token_perplexities(
                language_model, texts, token_lengths
            )
    return found


def _summarise(output: Any, task: Task) -> Outcome:
    """Turn lm-eval's output into an outcome."""
    name = task.task_name
    samples = output["samples"][name]
    outcome.check_finite(name, samples)
    documents = outcome.document_scores(name, samples)
    asked = outcome.task_conditions(samples, task.VERSION, task.get_config("num_fewshot"))
    try:
        means = outcome.means(output["results"][name], documents, asked["n"])
    except NumericalError as error:
        raise NumericalError(f"task {name}: {error}") from None
    return Outcome({name: means}, {name: asked}, documents)
