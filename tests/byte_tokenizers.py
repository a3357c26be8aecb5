"""Tokenizers of one token per byte, as other people's folders hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Iterable

BEGIN, END = 256, 257


def bytes_tokenizer(
    template: str = "$A",
    begin: str | None = "<s>",
    end: str | None = "</s>",
    extra: Iterable[str] = (),
    added: Iterable[str] = (),
    pad: str | None = "</s>",
) -> Any:
    """Return a tokenizer of one token per byte whose template adds special tokens.

    Args:
        template: what is put around a text ``$A``.
        begin: the begin token that it names.
        end: the end token that it names.
        extra: further words of the vocabulary.
        added: further special tokens.
        pad: the padding token that it names.
    """
    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>", *extra]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(vocabulary)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end, pad_token=pad and end
    )
    made.add_tokens(list(added), special_tokens=True)
    return made
