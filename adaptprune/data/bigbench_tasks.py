"""Multiple-choice questions out of BIG-bench, each kind of task read in its own way.

A row is ``{"prompt": str, "choices": [str, …], "gold": index of the right choice}``. The choices
are never listed in the prompt: each is scored by its likelihood after the prompt and one space.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GIVEN_ANSWER = re.compile(
    r"((?:Context|Fact):.*?)\s*\n\s*Question:\s*(.*?)\s*\n\s*Correct Answer:\s*(.*)", re.DOTALL
)
LETTER = re.compile(r"\(([A-H])\)")
UNFIT_CHOICE = re.compile(r"of the above|\([A-H]\)", re.IGNORECASE)

Row = dict[str, Any]


@dataclass(frozen=True)
class TaskSource:
    """Where a multiple-choice task comes from.

    Attributes:
        read: makes the rows out of the parsed ``task.json`` of each folder.
        folders: below BIG-bench's ``benchmark_tasks``.
        most_words: words of the longest prompt that is taken, None for all.
    """

    read: Callable[..., Iterator[Row]]
    folders: tuple[str, ...]
    most_words: int | None = None

    def takes(self, row: Row) -> bool:
        """Say whether a document has at least two choices and is not too long."""
        long = self.most_words is not None and len(row["prompt"].split()) > self.most_words
        return len(row["choices"]) > 1 and not long


def scored_rows(task: dict[str, Any]) -> Iterator[Row]:
    """Yield the documents of a task with scored choices, those with exactly one right answer.

    The prompt is BIG-bench's own zero-shot prompt (its prefixes, by default ``Q:`` and ``A:``)
    without the list of choices: a choice is scored by its likelihood after the prompt.
    """

    def setting(key: str, default: str) -> str:
        value = task.get(key)
        return default if value is None else str(value)

    before = setting("task_prefix", "") + setting("example_input_prefix", "\nQ: ")
    after = setting("example_output_prefix", "\nA: ")
    for example in task["examples"]:
        scores = example["target_scores"]
        best = [
            place for place, score in enumerate(scores.values()) if score == max(scores.values())
        ]
        if len(best) == 1:
            prompt = (before + example["input"].strip() + after).strip()
            choices = [choice.strip() for choice in scores]
            yield {"prompt": prompt, "choices": choices, "gold": best[0]}


def distractor_rows(task: dict[str, Any]) -> Iterator[Row]:
    """Yield the questions of a task that asks for wrong answers, given the right one.

    The wrong answers are those of the data set that the task was made from. Left out are documents
    whose choices speak of one another or were parsed wrongly upstream. A supporting fact is not
    shown, since it gives the answer away.
    """
    for example in task["examples"]:
        match = GIVEN_ANSWER.fullmatch(example["input"].strip())
        if match is None:
            continue
        context, question, right = match.groups()
        choices = [right, *example["target"]]
        if len(choices) > 4 or any(UNFIT_CHOICE.search(choice) for choice in choices):
            continue
        shown = f"{context}\n" if context.startswith("Context:") else ""
        yield _row(f"{shown}Question: {question}\nAnswer:", right, example["target"])


def lettered_rows(task: dict[str, Any]) -> Iterator[Row]:
    """Yield questions whose lettered choices stand in the input and whose target is a letter.

    Upstream ends each input with a question mark, in some in place of its last letter.
    """
    for example in task["examples"]:
        question, *parts = LETTER.split(example["input"].strip())
        letters, choices = parts[::2], [part.strip(" .?") for part in parts[1::2]]
        right = example["target"][0].strip(" .")
        if right in letters and all(choices) and len(set(choices)) == len(choices):
            prompt = f"{question.strip()}\nAnswer:"
            yield {"prompt": prompt, "choices": choices, "gold": letters.index(right)}


def plausibility_rows(*tasks: dict[str, Any]) -> Iterator[Row]:
    """Yield questions with one plausible and up to three implausible answers.

    Args:
        tasks: in turn one that asks for plausible answers, and one for implausible answers to
            the same questions.
    """
    for plausible, implausible in zip(tasks[::2], tasks[1::2], strict=True):
        wrong = {example["input"].strip(): example["target"] for example in implausible["examples"]}
        for example in plausible["examples"]:
            question = example["input"].strip()
            if question in wrong:
                prompt = question.replace(" \n", "\n")
                yield _row(f"{prompt}\nAnswer:", example["target"][0], wrong[question][:3])


def _row(prompt: str, right: str, wrong: list[str]) -> Row:
    """Return a document made of parts; where its right answer stands is a matter of its words."""
    choices = [c for c in dict.fromkeys(map(str.strip, wrong)) if c not in {"", right.strip()}]
    gold = int(hashlib.sha256(f"{prompt} {right}".encode()).hexdigest(), 16) % (len(choices) + 1)
    choices.insert(gold, right.strip())
    return {"prompt": prompt, "choices": choices, "gold": gold}


def task_rows(source: TaskSource, raw: dict[str, Any]) -> list[Row]:
    """Return the documents of a task, numbered."""
    rows = source.read(*(raw[folder] for folder in source.folders))
    kept = (row for row in rows if source.takes(row))
    return [{"document": number, **row} for number, row in enumerate(kept)]


#: The multiple-choice tasks by their names here.
TASKS = {
    "social_iqa": TaskSource(scored_rows, ("social_iqa",)),
    "step_inference": TaskSource(scored_rows, ("goal_step_wikihow/step_inference",)),
    "goal_inference": TaskSource(scored_rows, ("goal_step_wikihow/goal_inference",)),
    "science": TaskSource(
        lettered_rows, ("natural_instructions/subtask047_misc_answering_science_questions",)
    ),
    "qasc": TaskSource(
        distractor_rows, ("natural_instructions/subtask042_qasc_incorrect_option_generation",)
    ),
    "cosmosqa": TaskSource(
        distractor_rows,
        ("natural_instructions/subtask025_cosmosqa_incorrect_answer_generation",),
        most_words=70,  # the longer two thirds would take a quarter of the whole evaluation
    ),
    "mctaco": TaskSource(
        plausibility_rows,
        tuple(
            f"natural_instructions/subtask{number:03}_mctaco_{asked}_generation_{kind}"
            for first, kind in (
                (4, "event_duration"),
                (7, "transient_stationary"),
                (10, "event_ordering"),
                (13, "absolute_timepoint"),
                (16, "frequency"),
            )
            for number, asked in ((first, "answer"), (first + 1, "wrong_answer"))
        ),
    ),
}
