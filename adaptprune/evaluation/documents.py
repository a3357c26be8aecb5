"""The documents of a task: what cannot be scored is named, with its task and its number."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from adaptprune.errors import NumericalError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lm_eval.api.task import Task

logger = logging.getLogger(__name__)


class DocumentError(UserError):
    """What cannot be scored of one document.

    Args:
        task: its name.
        document: number of the document.
        reason: what is wrong.
    """

    def __init__(self, task: str, document: int, reason: str) -> None:
        """Put the place before the reason."""
        super().__init__(f"task {task}, document {document}: {reason}")
        self.task, self.document, self.reason = task, document, reason

    def numbered(self, numbers: Sequence[int] | None) -> DocumentError:
        """Return it with the number of the document in the whole data."""
        document = numbers[self.document] if numbers else self.document
        return DocumentError(self.task, document, self.reason)


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
            reason = f"the choices of document {index} cannot be made ({first_line(error)})"
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


@contextlib.contextmanager
def in_one_line(task: Task, numbers: Sequence[int] | None = None) -> Iterator[None]:
    """Tell in one line whatever stops the loading or scoring of a task.

    Args:
        task: built by lm-eval.
        numbers: of the documents in the whole data, where some have been picked out.

    Raises:
        UserError: names the task and, where it is known, the document.
        NumericalError: passed on.
    """
    try:
        yield
    except DocumentError as error:
        raise error.numbered(numbers) from None
    except (UserError, NumericalError):
        raise
    except Exception as error:  # of the task's own code, of its settings, of torch
        logger.debug("task %s", task.task_name, exc_info=error)
        raise _told(task, error, numbers) from error


def _told(task: Any, error: Exception, numbers: Sequence[int] | None) -> UserError:
    if not isinstance(error, ZeroDivisionError):
        return UserError(f"task {task.task_name}: cannot be scored ({first_line(error)})")
    reason = "a metric divides by zero words or bytes"
    for request in task.instances or []:
        if not str(request.args[0]).strip():
            empty = DocumentError(task.task_name, request.doc_id, f"the text is empty; {reason}")
            return empty.numbered(numbers)
    return UserError(f"task {task.task_name}: {reason}")


def first_line(error: Exception) -> str:
    """Return an error's class and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
