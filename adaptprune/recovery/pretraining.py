"""Small models that are pretrained on the spot: a tokenizer, random weights, the training loop.

The pocket family stands in for MobileLLM where nothing can be downloaded. Its models share one
tokenizer and one text, so that a large one can be pruned to the size of the next. What is made
depends on the declaration alone (``architectures/pocket-*.yaml``); it lies in the cache, appears
whole, and a killed pretraining goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import (
    MANIFEST,
    atomic_directory,
    cache_directory,
    read_json,
    remove_folder,
    write_json,
)
from adaptprune.files.manifest import only_maker, write_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from adaptprune.models.catalogue import ModelEntry

#: Steps between two checkpoints of a pretraining.
CHECKPOINT_EVERY = 50
#: Ends a text; the first of the vocabulary.
END = "<end>"
#: Beside the weights: how they came about, without anything that a clock measured.
RECORD = "pretraining.json"


def write_pretrained_model(entry: ModelEntry, target: Path) -> None:
    """Pretrain a declared model into a Hugging Face folder; idempotent, resumed when killed.

    Args:
        entry: of the model; its source is a ``PretrainedSource``.
        target: the folder to make.

    Raises:
        UserError: the declaration or its text cannot be used.
        NumericalError: the training diverged.
    """
    from adaptprune.models.catalogue import pretrained_name
    from adaptprune.recovery.folder import Execution
    from adaptprune.recovery.presets import find_preset
    from adaptprune.recovery.stage import Recovery, recover_stage

    source: Any = entry.source
    with only_maker(target) as absent:
        if not absent:
            return
        recipe = dict(source.training)
        preset = find_preset(recipe.pop("preset", "train"), recipe)
        work = cache_directory() / "pretraining" / pretrained_name(entry)
        initial, trained = work / "initial", work / "trained"
        if not (initial / MANIFEST).is_file():
            _write_initial(entry, initial)
        job = Recovery(
            model=str(initial),
            preset=preset,
            target=None,
            data=source.corpus,
            calibration=None,
            seed=source.seed,
            # One thread: sums depend on their number, and the family is trained side by side.
            execution=Execution(threads=1, micro_batch=8, checkpoint_every=CHECKPOINT_EVERY),
        )
        with _own_threads():
            recover_stage(job, trained, work / "run")
        _publish(trained, target, half=preset.parameters.get("precision") == "float16")
        remove_folder(work)


@contextlib.contextmanager
def _own_threads() -> Iterator[None]:
    """Give the process its number of threads back at the end."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write_initial(entry: ModelEntry, target: Path) -> None:
    """Write random weights and a newly trained tokenizer as a model folder."""
    from adaptprune.data.texts import read_texts
    from adaptprune.models.tiny import random_model

    source: Any = entry.source
    tokenizer = train_tokenizer(read_texts(source.corpus), source.vocabulary)
    if entry.architecture["vocab_size"] != len(tokenizer):
        raise UserError(
            f"model {entry.id}: vocab_size {entry.architecture['vocab_size']} is not the "
            f"vocabulary of its tokenizer ({len(tokenizer)})"
        )
    model = random_model(entry.architecture, source.seed)
    with atomic_directory(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_manifest(folder)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """Train a byte-level BPE tokenizer; equal texts give an equal tokenizer.

    Args:
        texts: the documents.
        vocabulary: number of tokens, the 256 bytes and the end of a text among them.

    Raises:
        UserError: the texts hold too few different pairs for so many tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise UserError(
            f"the text yields a vocabulary of {tokenizer.get_vocab_size()} tokens, not {vocabulary}"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, bos_token=END, pad_token=END
    )


def _publish(trained: Path, target: Path, *, half: bool) -> None:
    """Copy the trained model, and of its record what every run of it has in common.

    Args:
        trained: what the training wrote.
        target: the folder to make.
        half: store the weights in half the bytes, rounded; they are computed with in float32.
    """
    record = read_json(trained / "recovery.json")
    losses = _losses(trained / "log.jsonl")
    with atomic_directory(target) as folder:
        left = shutil.ignore_patterns("recovery.json", "log.jsonl", MANIFEST)
        shutil.copytree(trained, folder, ignore=left, dirs_exist_ok=True)
        content = {key: record["conditions"][key] for key in ("preset", "data", "versions")}
        content |= {"tokens": record["tokens"], "steps": record["steps"], "losses": losses}
        write_json(folder / RECORD, content)
        if half:
            _halve(folder)
        write_manifest(folder)


def _halve(folder: Path) -> None:
    """Round the weights of a model folder to float16."""
    from safetensors.torch import load_file, save_file

    for path in folder.glob("*.safetensors"):
        rounded = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(rounded, path, metadata={"format": "pt"})


def _losses(log: Path) -> list[float]:
    """Return the training loss (nats per token) of every step."""
    from adaptprune.recovery.log import read_log

    return [row["loss"] for row in read_log(log)]
