"""A folder that stands for the hub: made-up rows in the columns of every data set of Table 6."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import datasets

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 3  # per split

_BIRDS = ("wren", "heron", "stork")
_ADJECTIVES = (
    *("grey", "small", "old", "quick", "shy", "bright", "lame", "loud", "wet", "tame", "proud"),
    *("pale", "brown", "sleepy", "hungry", "young", "speckled", "crested", "lost", "brave"),
)


def bird(index: int) -> str:
    """Return a bird with as many adjectives as make it another one for every index."""
    rest, kind = divmod(index, len(_BIRDS))
    words = [_BIRDS[kind]]
    while rest:
        rest, place = divmod(rest - 1, len(_ADJECTIVES))
        words.insert(0, _ADJECTIVES[place])
    return " ".join(words)


def _arc(index: int) -> dict[str, Any]:
    return {
        "id": f"made_up_{index}",
        "question": f"Which of these does a {bird(index)} build?",
        "choices": {"text": ["a nest", "a bridge", "a kettle"], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[index % 3],
    }


def _boolq(index: int) -> dict[str, Any]:
    return {
        "question": f"does the {bird(index)} fly",
        "passage": f"The {bird(index)} is a bird that flies over the pond.",
        "idx": index,
        "label": index % 2,
    }


def _hellaswag(index: int) -> dict[str, Any]:
    return {
        "ind": index,
        "activity_label": "Watching birds",
        "ctx_a": "A woman lifts her binoculars.",
        "ctx_b": f"the {bird(index)}",
        "ctx": f"A woman lifts her binoculars. the {bird(index)}",
        "endings": ["flies off.", "bakes bread.", "reads a map.", "paints the wall."],
        "source_id": "made~up",
        "split": "val",
        "split_type": "indomain",
        "label": str(index % 4),
    }


def _openbookqa(index: int) -> dict[str, Any]:
    return {
        "id": f"made-up-{index}",
        "question_stem": f"A {bird(index)} keeps warm by means of its",
        "choices": {
            "text": ["feathers", "scales", "bark", "wheels"],
            "label": ["A", "B", "C", "D"],
        },
        "answerKey": "ABCD"[index % 4],
    }


def _piqa(index: int) -> dict[str, Any]:
    return {
        "goal": f"To feed a {bird(index)},",
        "sol1": "put seeds on a board.",
        "sol2": "put a board on seeds.",
        "label": index % 2,
    }


def _siqa(index: int) -> dict[str, Any]:
    return {
        "context": f"Ada showed Ben the {bird(index)}.",
        "question": "How would Ben feel?",
        "answerA": "glad",
        "answerB": "made of wood",
        "answerC": "north",
        "label": str(index % 3 + 1),
    }


def _winogrande(index: int) -> dict[str, Any]:
    return {
        "sentence": f"The {bird(index)} did not fit in the box because the _ was too big.",
        "option1": bird(index),
        "option2": "box",
        "answer": "12"[index % 2],
    }


def _wikitext(index: int) -> dict[str, Any]:
    return {"page": f" = {bird(index)} = \n The bird , at 12 @.@ 5 cm , is small . \n"}


def _bbh(index: int) -> dict[str, Any]:
    return {"input": f"Sort: pond {bird(index)} air", "target": f"air pond {bird(index)}"}


def _truthfulqa(index: int) -> dict[str, Any]:
    return {
        "question": f"Can a {bird(index)} fly?",
        "mc1_targets": {"choices": ["Yes", "No", "On Mondays"], "labels": [1, 0, 0]},
        "mc2_targets": {"choices": ["Yes", "It can", "No"], "labels": [1, 1, 0]},
    }


def _agieval(index: int) -> dict[str, Any]:
    return {
        "query": f"Q: Which is a bird? (A) {bird(index)} (B) kettle\nA: the answer is",
        "choices": ["(A)" + bird(index), "(B)kettle"],
        "gold": [index % 2],
    }


def _agieval_open(index: int) -> dict[str, Any]:
    return {"query": f"Q: What is {index} + 1?\nA: The answer is", "answer": str(index + 1)}


def _mmlu(index: int) -> dict[str, Any]:
    return {
        "question": f"How many wings has a {bird(index)}?",
        "subject": "made_up",
        "choices": ["two", "three", "four", "none"],
        "answer": index % 4,
    }


def _rte(index: int) -> dict[str, Any]:
    return {
        "sentence1": f"The {bird(index)} sleeps by the pond.",
        "sentence2": f"The {bird(index)} is awake." if index % 2 else f"The {bird(index)} sleeps.",
        "label": index % 2,
        "idx": index,
    }


def _gsm8k(index: int) -> dict[str, Any]:
    return {
        "question": f"A {bird(index)} lays 2 eggs a day. How many does it lay in {index} days?",
        "answer": f"It lays 2*{index}=<<2*{index}={2 * index}>>{2 * index} eggs.\n#### {2 * index}",
    }


def _math(index: int) -> dict[str, Any]:
    return {
        "problem": f"A {bird(index)} has $2$ wings. How many wings have ${index}$ of them?",
        "level": "Level 1",
        "type": "Algebra",
        "solution": f"They have $2 \\cdot {index} = \\boxed{{{2 * index}}}$ wings.",
    }


def _pajama(index: int) -> dict[str, Any]:
    return {
        "text": f"A {bird(index)} stood by the pond, number {index}. " * 3,
        "meta": {"set": "made up"},
    }


#: Data set, configuration (None for the only one), split, how many rows, and what makes a row.
SPLITS: list[tuple[str, str | None, str, int, Any]] = [
    ("allenai/ai2_arc", "ARC-Easy", "test", ROWS, _arc),
    ("allenai/ai2_arc", "ARC-Challenge", "test", ROWS, _arc),
    ("aps/super_glue", "boolq", "validation", ROWS, _boolq),
    ("Rowan/hellaswag", None, "validation", ROWS, _hellaswag),
    ("allenai/openbookqa", "main", "test", ROWS, _openbookqa),
    ("baber/piqa", None, "validation", ROWS, _piqa),
    ("lighteval/siqa", None, "validation", ROWS, _siqa),
    ("allenai/winogrande", "winogrande_xl", "validation", ROWS, _winogrande),
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1", "test", ROWS, _wikitext),
    ("SaylorTwift/bbh", "snarks", "test", ROWS, _bbh),
    ("truthfulqa/truthful_qa", "multiple_choice", "validation", ROWS, _truthfulqa),
    ("hails/agieval-aqua-rat", None, "test", ROWS, _agieval),
    ("hails/agieval-jec-qa-ca", None, "test", ROWS, _agieval),
    ("hails/agieval-math", None, "test", ROWS, _agieval_open),
    ("cais/mmlu", "anatomy", "test", ROWS, _mmlu),
    ("cais/mmlu", "anatomy", "dev", 5, _mmlu),
    ("cais/mmlu", "virology", "test", ROWS, _mmlu),
    ("cais/mmlu", "virology", "dev", 5, _mmlu),
    ("nyu-mll/glue", "rte", "validation", ROWS, _rte),
    ("openai/gsm8k", "main", "test", ROWS, _gsm8k),
    ("openai/gsm8k", "main", "train", ROWS, _gsm8k),
    ("EleutherAI/hendrycks_math", "algebra", "test", ROWS, _math),
    ("EleutherAI/hendrycks_math", "precalculus", "test", ROWS, _math),
    ("cerebras/SlimPajama-627B", None, "validation", 20, _pajama),
]

#: The tasks of each group that have rows here.
MEMBERS = {
    "bbh": ["bbh_cot_fewshot_snarks"],
    "truthfulqa": ["truthfulqa_mc1", "truthfulqa_mc2"],
    "agieval": ["agieval_aqua_rat", "agieval_jec_qa_ca"],
    "mmlu": ["mmlu_anatomy", "mmlu_virology"],
    "minerva_math": ["minerva_math_algebra", "minerva_math_precalc"],
}


def write_hub(folder: Path) -> Path:
    """Write all splits, by turns as JSON lines and as parquet."""
    for number, (dataset, configuration, split, count, make) in enumerate(SPLITS):
        stem = folder / dataset / (configuration or "default") / split
        stem.parent.mkdir(parents=True, exist_ok=True)
        rows = [make(index) for index in range(count)]
        if number % 2:
            datasets.Dataset.from_list(rows).to_parquet(stem.with_name(f"{split}.parquet"))
        else:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            stem.with_name(f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def small_facts(facts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the facts about the benchmarks with the tasks and sizes of this folder."""
    small = {}
    for name, fact in facts.items():
        small[name] = dict(fact)
        if name in MEMBERS:
            versions = [fact["members"][task] for task in MEMBERS[name]]
            small[name]["members"] = {
                task: {"documents": ROWS}
                | ({"version": old["version"]} if isinstance(old, dict) else {})
                for task, old in zip(MEMBERS[name], versions, strict=True)
            }
        else:
            small[name]["documents"] = ROWS
    return small
