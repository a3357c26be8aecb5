"""A random model, made-up tasks and made-up prose: the whole pipeline in seconds, for tests."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import atomic_directory, cache_directory
from adaptprune.files.manifest import only_maker, verify_folder, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

#: Part of the cache folders' names: a change of what is made here makes new ones.
BUILD = 1

_PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo")
_THINGS = ("lamp", "book", "kettle", "coat", "drum", "map", "ladder", "basket")
_PLACES = ("kitchen", "garden", "attic", "library", "station", "market", "harbour", "barn")
_VERBS = ("left", "found", "hid", "mended", "painted", "sold", "lent", "forgot")


def tiny_data_directory() -> Path:
    """Return where the made-up data lie in the cache, made or not."""
    return cache_directory() / f"tiny-data-{BUILD}"


def ensure_tiny_data() -> Path:
    """Return the folder of made-up tasks and prose, making it when absent."""
    folder = tiny_data_directory()
    with only_maker(folder) as absent:
        if absent:
            with atomic_directory(folder) as temporary:
                _write_lines(temporary / "tasks" / "place.jsonl", _questions("place", _PLACES, 60))
                _write_lines(temporary / "tasks" / "thing.jsonl", _questions("thing", _THINGS, 40))
                for split, count in (("calibration", 80), ("perplexity", 30)):
                    _write_lines(temporary / "prose" / f"{split}.jsonl", _prose(split, count))
                write_manifest(temporary)
    verify_folder(folder)
    return folder


def _sentence(generator: random.Random) -> tuple[str, str, str]:
    """Return a sentence with its thing and its place."""
    thing, place = generator.choice(_THINGS), generator.choice(_PLACES)
    text = f"{generator.choice(_PEOPLE)} {generator.choice(_VERBS)} the {thing} in the {place}."
    return text, thing, place


def _questions(kind: str, names: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    generator = random.Random(f"tiny {kind}")
    rows = []
    for _ in range(count):
        text, thing, place = _sentence(generator)
        right = place if kind == "place" else thing
        others = sorted(set(names) - {right})
        choices = [right, *generator.sample(others, 2)]
        generator.shuffle(choices)
        question = f"{text} Which {kind} was it?"
        rows.append({"prompt": question, "choices": choices, "gold": choices.index(right)})
    return rows


def _prose(split: str, count: int) -> list[dict[str, str]]:
    generator = random.Random(f"tiny {split}")
    return [
        {
            "document": f"{split}-{index}",
            "source": "tiny",
            "text": " ".join(_sentence(generator)[0] for _ in range(4)),
        }
        for index in range(count)
    ]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
