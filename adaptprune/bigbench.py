"""Tasks and prose out of BIG-bench: the data of the offline suite, built once in the cache.

The sdist of BIG-bench 1.0.0 (Apache-2.0) is only read. From it come multiple-choice tasks and
English prose in three parts: for calibration, for perplexity and for training. No run of
``RUN_WORDS`` words is shared by two prose documents, or by a prose document and a task, so the
parts are disjoint by document and in what their documents say.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adaptprune.download import Release, members, release_file
from adaptprune.errors import UserError
from adaptprune.fetch import only_maker, verify_folder, write_manifest
from adaptprune.files import atomic_directory, cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

RELEASE = Release(
    project="bigbench",
    filename="bigbench-1.0.0.tar.gz",
    sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
)
BUILD = 2  # goes up with every change of what is written

Row = dict[str, Any]


@dataclass(frozen=True)
class TaskSource:
    """Where a multiple-choice task comes from.

    Attributes:
        read: makes the rows out of the parsed ``task.json`` of each folder.
        folders: below BIG-bench's ``benchmark_tasks``.
    """

    read: Callable[..., Iterator[Row]]
    folders: tuple[str, ...]


#: Passages that questions were asked about: source -> folders of BIG-bench that repeat them.
PROSE = {
    "quoref": (  # English Wikipedia
        "natural_instructions/subtask001_quoref_question_generation",
        "natural_instructions/subtask002_quoref_answer_generation",
    ),
    "drop": (  # English Wikipedia: history and reports of football games
        "natural_instructions/subtask026_drop_question_generation",
        "natural_instructions/subtask027_drop_answer_type_generation",
        "natural_instructions/subtask028_drop_answer_generation",
    ),
}
GIVEN_ANSWER = re.compile(
    r"((?:Context|Fact):.*?)\s*\n\s*Question:\s*(.*?)\s*\n\s*Correct Answer:\s*(.*)", re.DOTALL
)
LETTER = re.compile(r"\(([A-H])\)")
UNFIT_CHOICE = re.compile(r"of the above|\([A-H]\)", re.IGNORECASE)
PASSAGE = re.compile(r"Passage:(.*?)(?:\n\s*Question:.*)?", re.DOTALL)
RUN_WORDS = 13  # two texts that share so many words in a row are taken for one document
LEAST_WORDS = 50  # of a prose document

Split = Literal["calibration", "perplexity", "training"]
#: Percent of the documents in each part.
SHARES: dict[Split, int] = {"calibration": 10, "perplexity": 5, "training": 85}


def local_data_directory() -> Path:
    """Return where the data of this version lie in the cache, built or not."""
    return cache_directory() / f"bigbench-1.0.0-{BUILD}"


def ensure_local_data() -> Path:
    """Return the folder of tasks and prose, building it when absent, verified by its manifest.

    It holds ``tasks/<task>.jsonl`` and ``prose/<part>.jsonl``.

    Raises:
        UserError: the sdist cannot be had, or a file of the folder is missing or altered.
    """
    folder = local_data_directory()
    with only_maker(folder) as absent:
        if absent:
            archive = release_file(RELEASE)
            with atomic_directory(folder) as temporary:
                build(archive, temporary)
                write_manifest(temporary)
    verify_folder(folder)
    return folder


def build(archive: Path, folder: Path) -> None:
    """Write task and prose files from BIG-bench's sdist.

    Raises:
        UserError: the archive is unreadable or lacks one of the tasks.
    """
    needed = {folder for source in TASKS.values() for folder in source.folders}
    raw = _read_tasks(archive, needed.union(*PROSE.values()))
    tasks = {name: task_rows(source, raw) for name, source in TASKS.items()}
    for name, rows in tasks.items():
        _write_lines(folder / "tasks" / f"{name}.jsonl", rows)
    asked = (
        text for rows in tasks.values() for row in rows for text in (row["prompt"], *row["choices"])
    )
    passages = {
        passage: source
        for source, paths in PROSE.items()
        for path in paths
        for passage in _passages(raw[path])
    }
    parts: dict[Split, list[dict[str, str]]] = {split: [] for split in SHARES}
    for text in distinct_texts(passages, asked):
        identity = document_id(text)
        row = {"document": identity, "source": passages[text], "text": text}
        parts[split_of(identity)].append(row)
    for split, documents in parts.items():
        documents.sort(key=lambda row: row["document"])
        _write_lines(folder / "prose" / f"{split}.jsonl", documents)


def _read_tasks(archive: Path, folders: set[str]) -> dict[str, Any]:
    """Return the parsed ``task.json`` of the given folders, in one pass over the archive."""
    pattern = re.compile(r"[^/]+/bigbench/benchmark_tasks/(.+)/task\.json")

    def folder_of(name: str) -> str | None:
        match = pattern.fullmatch(name)
        return match.group(1) if match else None

    tasks: dict[str, Any] = {}
    for name, stream in members(archive, lambda name: folder_of(name) in folders):
        tasks[str(folder_of(name))] = json.load(stream)
    missing = sorted(folders - tasks.keys())
    if missing:
        raise UserError(f"{archive}: holds no task {missing[0]}")
    return tasks


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
    gold = int(document_id(f"{prompt} {right}"), 16) % (len(choices) + 1)
    choices.insert(gold, right.strip())
    return {"prompt": prompt, "choices": choices, "gold": gold}


def task_rows(source: TaskSource, raw: dict[str, Any]) -> list[Row]:
    """Return the documents of a task, numbered: those with at least two choices."""
    rows = source.read(*(raw[folder] for folder in source.folders))
    kept = (row for row in rows if len(row["choices"]) > 1)
    return [{"document": number, **row} for number, row in enumerate(kept)]


def _passages(task: dict[str, Any]) -> Iterator[str]:
    """Yield the passages of a reading task, white space normalised; a passage comes often."""
    for example in task["examples"]:
        match = PASSAGE.fullmatch(example["input"])
        if match:
            yield " ".join(match.group(1).split())


def normalised_words(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return re.findall(r"[^\W_]+", text.lower())


def _runs(text: str) -> set[str]:
    """Return all runs of ``RUN_WORDS`` words of a text."""
    words = normalised_words(text)
    return {
        " ".join(words[start : start + RUN_WORDS]) for start in range(len(words) - RUN_WORDS + 1)
    }


def distinct_texts(texts: Iterable[str], excluded: Iterable[str] = ()) -> list[str]:
    """Return texts no two of which share a run of words, none of them with an excluded text.

    Of texts that share a run the longest is kept. The order of the input does not matter.

    Args:
        texts: the candidates; those under ``LEAST_WORDS`` words are left out.
        excluded: texts that must not recur in what is returned.
    """
    taken: set[str] = set()
    for text in excluded:
        taken |= _runs(text)
    kept = []
    for text in sorted(texts, key=lambda text: (-len(text), text)):
        runs = _runs(text)
        if len(runs) > LEAST_WORDS - RUN_WORDS and runs.isdisjoint(taken):
            taken |= runs
            kept.append(text)
    return kept


def document_id(text: str) -> str:
    """Return a text's identity: a hash of its words."""
    return hashlib.sha256(" ".join(normalised_words(text)).encode()).hexdigest()[:16]


def split_of(identity: str) -> Split:
    """Return the part a document belongs to: a matter of its identity, not of its position."""
    place = int(identity, 16) % 100
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("the shares make up 100 percent")


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
        distractor_rows, ("natural_instructions/subtask025_cosmosqa_incorrect_answer_generation",)
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


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
