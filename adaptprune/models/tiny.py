"""Small random models with a byte-level tokenizer, made on the spot: for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import atomic_directory
from adaptprune.files.manifest import only_maker, write_manifest

if TYPE_CHECKING:
    from pathlib import Path


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
