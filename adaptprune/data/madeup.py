"""A random model, made-up tasks and made-up prose: the whole pipeline in seconds, for tests."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import atomic_directory, cache_directory
from adaptprune.models.fetch import only_maker, verify_folder, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

#: Part of the cache folders' names: a change of what is made here makes new ones.
BUILD = 1

_PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gina", "Hugo")
_THINGS = ("lamp", "book", "kettle", "coat", "drum", "map", "ladder", "basket")
_PLACES = ("kitchen", "garden", "attic", "library", "station", "market", "harbour", "barn")
_VERBS = ("left", "found", "hid", "mended", "painted", "sold", "lent", "forgot")


def write_tiny_model(architecture: dict[str, Any], seed: int, target: Path) -> None:
    """Write a random model with a byte-level tokenizer as a Hugging Face folder; idempotent.

    Args:
        architecture: keys of the model's config.
        seed: of the random weights.
        target: the folder to make.
    """
    from transformers.utils import logging as transformers_logging

    with only_maker(target) as absent:
        if not absent:
            return
        model = random_model(architecture, seed)
        with atomic_directory(target) as folder:
            transformers_logging.disable_progress_bar()  # for one small file
            model.save_pretrained(folder)
            byte_tokenizer().save_pretrained(folder)
            write_manifest(folder)


def random_model(architecture: dict[str, Any], seed: int) -> Any:
    """Return a model with random float32 weights, the same for the same seed.

    Args:
        architecture: keys of the model's config.
        seed: of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(architecture)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def byte_tokenizer() -> Any:
    """Return a tokenizer with one token per byte and one that ends a text: 257 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*alphabet, "<end>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", bos_token="<end>", pad_token="<end>"
    )


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
