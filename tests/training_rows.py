"""A folder that stands for the hub: rows in the columns of every data set of the mixtures.

Columns and nesting are those of the data sets' cards; the contents are made up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import datasets

if TYPE_CHECKING:
    from pathlib import Path

_BIRDS = ("wren", "heron", "stork", "plover")
SYSTEM = "You are a helpful assistant."


def question(index: int) -> str:
    return f"Where does the {_BIRDS[index % 4]} sleep?"


def answer(index: int) -> str:
    return f"The {_BIRDS[index % 4]} sleeps in tree {index}."


def _wildchat_message(role: str, text: str, turn: int) -> dict[str, Any]:
    return {
        "content": text,
        "country": "Nowhere",
        "hashed_ip": "0" * 8,
        "header": {"accept-language": "en", "user-agent": "none"},
        "language": "English",
        "redacted": False,
        "role": role,
        "state": None,
        "timestamp": None,
        "toxic": False,
        "turn_identifier": turn,
    }


def _openorca(index: int) -> dict[str, Any]:
    return {
        "id": f"flan.{index}",
        "system_prompt": "" if index % 2 else "Answer in one sentence.",
        "question": question(index),
        "response": answer(index),
    }


def _wildchat(index: int) -> dict[str, Any]:
    return {
        "conversation_hash": f"{index:08x}",
        "model": "made-up",
        "timestamp": "2023-04-09T00:02:53",
        "conversation": [
            _wildchat_message("user", question(index), index),
            _wildchat_message("assistant", answer(index), index),
            _wildchat_message("user", "Why?", index),
            _wildchat_message("assistant", "It is safe.", index),
        ],
        "turn": 2,
        "language": "English",
        "openai_moderation": [{"flagged": False, "categories": {"hate": False}}],
        "detoxify_moderation": [{"toxicity": 0.0}],
        "toxic": False,
        "redacted": False,
        "state": None,
        "country": "Nowhere",
        "hashed_ip": "0" * 8,
        "header": {"accept-language": "en", "user-agent": "none"},
    }


def _lmsys(index: int) -> dict[str, Any]:
    return {
        "conversation_id": f"{index:08x}",
        "model": "made-up",
        "conversation": [
            {"content": question(index), "role": "user"},
            {"content": answer(index), "role": "assistant"},
        ],
        "turn": 1,
        "language": "English",
        "openai_moderation": [{"flagged": False, "categories": {"hate": False}}],
        "redacted": False,
    }


def _openhermes(index: int) -> dict[str, Any]:
    return {
        "custom_instruction": None,
        "topic": None,
        "model_name": None,
        "model": None,
        "skip_prompt_formatting": False,
        "category": "general",
        "conversations": [
            {"from": "system", "value": "You know birds.", "weight": None},
            {"from": "human", "value": question(index), "weight": 0.0},
            {"from": "gpt", "value": answer(index), "weight": 1.0},
        ],
        "views": None,
        "language": None,
        "id": None,
        "title": None,
        "idx": None,
        "hash": None,
        "avatarUrl": None,
        "system_prompt": None,
        "source": "made-up",
    }


def _ultrachat(index: int) -> dict[str, Any]:
    return {
        "prompt": question(index),
        "prompt_id": f"{index:08x}",
        "messages": [
            {"content": question(index), "role": "user"},
            {"content": answer(index), "role": "assistant"},
        ],
    }


def _ultrainteract(index: int) -> dict[str, Any]:
    return {
        "task": "Logic",
        "dataset": "made-up",
        "instruction": question(index),
        "response": answer(index),
        "id": f"{index}",
        "parent_id": f"{index}",
    }


def _openo1(index: int) -> dict[str, Any]:
    return {"instruction": question(index), "output": answer(index)}


def _alpaca(index: int) -> dict[str, Any]:
    return {"output": answer(index), "input": "", "instruction": question(index)}


def _dolly(index: int) -> dict[str, Any]:
    return {
        "instruction": question(index),
        "context": "Birds sleep.",
        "response": answer(index),
        "category": "closed_qa",
    }


def _slimpajama(index: int) -> dict[str, Any]:
    return {"text": answer(index) * 20, "meta": {"redpajama_set_name": "RedPajamaCommonCrawl"}}


#: Data set, split and what makes a row.
SPLITS: dict[str, tuple[str, Any]] = {
    "Open-Orca/OpenOrca": ("train", _openorca),
    "allenai/WildChat-1M": ("train", _wildchat),
    "lmsys/lmsys-chat-1m": ("train", _lmsys),
    "teknium/OpenHermes-2.5": ("train", _openhermes),
    "HuggingFaceH4/ultrachat_200k": ("train_sft", _ultrachat),
    "openbmb/UltraInteract_sft": ("train", _ultrainteract),
    "O1-OPEN/OpenO1-SFT": ("train", _openo1),
    "yahma/alpaca-cleaned": ("train", _alpaca),
    "databricks/databricks-dolly-15k": ("train", _dolly),
    "cerebras/SlimPajama-627B": ("train", _slimpajama),
}


def split_file(folder: Path, dataset: str, suffix: str = "jsonl") -> Path:
    """Return where the rows of a data set lie."""
    return folder / dataset / "default" / f"{SPLITS[dataset][0]}.{suffix}"


def write_training_hub(folder: Path, rows: int = 4, *, parquet: bool = False) -> Path:
    """Write the rows of all data sets as JSON lines or as parquet."""
    for dataset, (_, make) in SPLITS.items():
        made = [make(index) for index in range(rows)]
        file = split_file(folder, dataset, "parquet" if parquet else "jsonl")
        file.parent.mkdir(parents=True)
        if parquet:
            datasets.Dataset.from_list(made).to_parquet(file)
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return folder


def chat(system: str, *messages: str) -> list[tuple[str, bool]]:
    """Return a chat in ChatML: user and assistant in turns, the assistant's count."""
    pieces = [(f"<|im_start|>system\n{system}<|im_end|>\n", False)]
    for place, text in enumerate(messages):
        role = "assistant" if place % 2 else "user"
        pieces.append((f"<|im_start|>{role}\n{text}<|im_end|>\n", bool(place % 2)))
    return pieces
