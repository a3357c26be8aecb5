"""The documents of a task: what cannot be scored is named, with its task and its number."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lm_eval.api.task import Task

logger = logging.getLogger(__name__)

#: Metrics that divide a choice's log-likelihood by its length.
_BY_LENGTH = {"acc_norm", "acc_bytes"}


def check_answers(task: Task, chosen: Iterable[int]) -> None:
    """Refuse documents whose right answer is none of their choices, or with nothing to choose.

    lm-eval counts them as wrong; a label of -1 (hidden, as in many test splits) without a word.

    Args:
        task: built by lm-eval.
        chosen: indices of the documents that will be scored.

    Raises:
        UserError: names the document.
    """
    from lm_eval.api.task import ConfigurableTask

    if task.OUTPUT_TYPE != "multiple_choice" or not isinstance(task, ConfigurableTask):
        return
    documents: Any = task.eval_docs  # made anew at every call
    for index in chosen:
        try:
            reason = _wrong_choices(task, documents[index], f"document {index}")
        except Exception as error:  # a template or a function of the task file
            reason = f"the choices of document {index} cannot be made ({_line(error)})"
        if reason is not None:
            raise UserError(f"task {task.task_name}: {reason}")


def _wrong_choices(task: Any, document: Any, name: str) -> str | None:
    """Return what is wrong with the choices of a document of some name, or None."""
    choices = task.doc_to_choice(document)
    # Where the choices are beginnings of the text, its function says which one is right.
    ask = task.doc_to_text if task.multiple_input else task.doc_to_target
    answer: Any = ask(document)
    for right in answer if isinstance(answer, list) else [answer]:
        places = choices if isinstance(right, str) else range(len(choices))
        if right not in places:
            return f"the right answer of {name} is {right!r}, none of its {len(choices)} choices"
    by_length = _BY_LENGTH & set(task._metric_fn_list)
    if by_length and "" in choices:
        return f"a choice of {name} is empty, and {min(by_length)} divides by its length"
    return None


def rolling_texts(task: Any, chosen: Iterable[int]) -> list[str]:
    """Return the texts that a perplexity task scores, of some of its documents."""
    documents: Any = task.eval_docs
    return [str(task.doc_to_target(documents[index])) for index in chosen]


def scoring_error(task: Task, error: Exception) -> UserError:
    """Return in one line what stopped the scoring of a task; the rest goes to the debug log.

    Args:
        task: whose requests have been built, as far as that went.
        error: of lm-eval, a task's own code or torch.
    """
    logger.debug("scoring of %s", task.task_name, exc_info=error)
    requests = getattr(task, "_instances", None) or []
    empty = [request.doc_id for request in requests if not str(request.args[0]).strip()]
    if isinstance(error, ZeroDivisionError):
        named = f", document {empty[0]}: the text is empty" if empty else ""
        return UserError(f"task {task.task_name}{named}: a metric divides by zero words or bytes")
    return UserError(f"task {task.task_name}: cannot be scored ({_line(error)})")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
