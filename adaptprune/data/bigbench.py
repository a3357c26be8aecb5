"""Tasks and prose out of BIG-bench: the data of the offline suite, built once in the cache.

The sdist of BIG-bench 1.0.0 (Apache-2.0) is only read. From it come multiple-choice tasks and
English prose in four parts: for calibration, for perplexity, for training, and further prose of
other origins for training. No run of ``RUN_WORDS`` words is shared by two prose documents, or by a
prose document and a task, so the parts are disjoint by document and in what their documents say.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal

from adaptprune.data.bigbench_tasks import TASKS, task_rows
from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_directory, cache_directory
from adaptprune.files.manifest import only_maker, verify_folder, write_manifest
from adaptprune.files.releases import Release, members, release_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

RELEASE = Release(
    project="bigbench",
    filename="bigbench-1.0.0.tar.gz",
    sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
)
BUILD = 4  # goes up with every change of what is written

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
#: The same for training alone.
FURTHER_PROSE = {
    "multirc": (  # news, stories, articles and school books
        "natural_instructions/subtask048_multirc_question_generation",
        "natural_instructions/subtask049_multirc_questions_needed_to_answer",
        "natural_instructions/subtask054_multirc_write_correct_answer",
        "natural_instructions/subtask056_multirc_classify_correct_answer",
        "natural_instructions/subtask058_multirc_question_answering",
    ),
    "ropes": (  # science: a principle and a made-up case of it
        "natural_instructions/subtask059_ropes_story_generation",
        "natural_instructions/subtask060_ropes_question_generation",
        "natural_instructions/subtask061_ropes_answer_generation",
    ),
}
PASSAGE = re.compile(
    r"(?:Passage:|Paragraph-|Background Paragraph:)(.*?)(?:\n\s*Question:.*)?", re.DOTALL
)
#: What marks the parts of a passage.
PART = re.compile(r"\bSent \d+:|\n\s*Paragraph:")
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
    raw = _read_tasks(archive, needed.union(*PROSE.values(), *FURTHER_PROSE.values()))
    tasks = {name: task_rows(source, raw) for name, source in TASKS.items()}
    for name, rows in tasks.items():
        _write_lines(folder / "tasks" / f"{name}.jsonl", rows)
    taken = [
        text for rows in tasks.values() for row in rows for text in (row["prompt"], *row["choices"])
    ]
    prose = _documents(PROSE, raw, taken)
    for split in SHARES:
        part = [row for row in prose if split_of(row["document"]) == split]
        _write_lines(folder / "prose" / f"{split}.jsonl", part)
    further = _documents(FURTHER_PROSE, raw, [*taken, *(row["text"] for row in prose)])
    _write_lines(folder / "prose" / "further.jsonl", further)


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


def _documents(
    sources: dict[str, tuple[str, ...]], raw: dict[str, Any], taken: Iterable[str]
) -> list[dict[str, str]]:
    """Return distinct passages of some sources, none of them in a text that is taken."""
    passages = {
        passage: source
        for source, paths in sources.items()
        for path in paths
        for passage in _passages(raw[path])
    }
    rows = [
        {"document": document_id(text), "source": passages[text], "text": text}
        for text in distinct_texts(passages, taken)
    ]
    return sorted(rows, key=lambda row: row["document"])


def _passages(task: dict[str, Any]) -> Iterator[str]:
    """Yield the passages of a reading task, white space normalised; a passage comes often."""
    for example in task["examples"]:
        match = PASSAGE.fullmatch(example["input"])
        if match:
            yield " ".join(PART.sub(" ", match.group(1)).split())


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


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)
