"""Text to token ids, and what is asked of a tokenizer before any text is encoded with it.

Every command that encodes goes through here. What makes the ids of a text differ from the text's
own (a begin token put there twice, ids that the model has no row for) is refused before any work.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

#: What a command needs of a tokenizer besides ids: a token that ends a document, or one that
#: stands before a text that has nothing before it (the begin token, or else the end token).
Need = Literal["nothing", "end", "begin or end"]

_SAMPLE = "The cat sat on the mat."


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a text alone: nothing is added before or after.

    Raises:
        UserError: the text holds half a surrogate pair.
    """
    check_text(text)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def plain_batch(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the token ids of several texts, see ``plain_ids``; quicker than one by one.

    Raises:
        UserError: a text holds half a surrogate pair.
    """
    for text in texts:
        check_text(text)
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def check_text(text: str) -> None:
    """Refuse half a surrogate pair: no character, and nothing to a tokenizer.

    Raises:
        UserError: names it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        near = text[max(0, error.start - 20) : error.start]
        raise UserError(
            f"a text holds half a surrogate pair ({half} after {near!r}), which is no character"
        ) from None


def load_checked_tokenizer(folder: Path, need: Need) -> Any:
    """Load the tokenizer of a model folder, checked against the vocabulary of its config.

    Raises:
        UserError: there is none, or see ``check_tokenizer``.
    """
    from adaptprune.models.catalogue import read_config
    from adaptprune.models.checkpoint import load_tokenizer

    rows = read_config(folder)["vocab_size"]
    tokenizer = load_tokenizer(folder)
    check_tokenizer(tokenizer, rows, need, str(folder))
    return tokenizer


def check_tokenizer(tokenizer: Any, rows: int, need: Need, place: str = "the model") -> None:
    """Refuse a tokenizer that cannot give a model's own ids of a text.

    Args:
        tokenizer: the model's.
        rows: token ids that the model has an embedding for.
        need: what it must have besides.
        place: of the model, for the message.

    Raises:
        UserError: names what is wrong, and what would do.
    """
    special = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    ordinary = set(tokenizer.get_vocab().values()) - special
    if not ordinary:
        raise UserError(f"{place}: its tokenizer has no vocabulary; a file of it is missing")
    own = plain_ids(tokenizer, _SAMPLE) or [min(ordinary)]
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    for name, token in (("begin", own[0]), ("end", own[-1])):
        if token in ends and token not in (None, tokenizer.unk_token_id):
            raise UserError(
                f"{place}: its tokenizer adds the {name} token {_shown(tokenizer, token)} even "
                "where no special tokens are asked for; turn that off in tokenizer.json"
            )
    before, after = added_ids(tokenizer)
    if len(before) > len(set(before)):
        raise UserError(
            f"{place}: its tokenizer adds the begin token {_shown(tokenizer, before[0])} "
            f"{len(before)} times; leave one in the post-processor of tokenizer.json"
        )
    missing = {
        "nothing": False,
        "end": ends[1] is None,
        "begin or end": ends == (None, None),
    }
    if missing[need]:
        wanted = "end-of-text token (eos_token)"
        if need == "begin or end":
            wanted = "begin or end token (bos_token, eos_token): nothing stands before a text"
        raise UserError(
            f"{place}: its tokenizer has no {wanted}; name one in tokenizer_config.json"
        )
    used = {*ordinary, *before, *after, *(ends if need != "nothing" else ())} - {None}
    if (token := max(used)) >= rows:
        raise UserError(
            f"{place}: its tokenizer makes token id {token} ({_shown(tokenizer, token)}), the "
            f"model has rows for 0..{rows - 1}; the tokenizer belongs to another model"
        )


def added_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the token ids that a tokenizer puts before and after every text."""
    own = plain_ids(tokenizer, _SAMPLE)
    if not own:  # no text in its script
        return [], []
    whole = list(tokenizer(_SAMPLE, verbose=False)["input_ids"])
    for start in range(len(whole) - len(own) + 1):
        if whole[start : start + len(own)] == own:
            return whole[:start], whole[start + len(own) :]
    return [], []  # ids of its own making: nothing can be told apart


def check_ids(ids: Sequence[int], rows: int, text: str) -> None:
    """Refuse a token id that the model has no row for, of a special token that a text spells out.

    Args:
        ids: of the text.
        rows: token ids that the model has an embedding for.
        text: what it is, for the message.

    Raises:
        UserError: names them.
    """
    if ids and max(ids) >= rows:
        raise UserError(
            f"{text}: the tokenizer makes token id {max(ids)} of it, the model has rows for "
            f"0..{rows - 1}"
        )


def _shown(tokenizer: Any, token: int) -> str:
    return repr(tokenizer.convert_ids_to_tokens(token))
