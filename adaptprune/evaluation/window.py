"""How many tokens a model is shown: the smaller of what is asked for and what it was built for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from adaptprune.errors import UserError
from adaptprune.models.catalogue import stated_window

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

#: Tokens at most where nothing else is asked for, as the paper's benchmarks were run.
LIMIT = 2048


def choose_window(model: PreTrainedModel, asked: int | None, limit: int = LIMIT) -> int:
    """Return the window of an evaluation in tokens.

    Args:
        model: the loaded model; learned positions count as there are rows of them.
        asked: a window to take as it is; None for the smaller of ``limit`` and the model's.
        limit: tokens at most where none is asked for.

    Raises:
        UserError: more is asked for than the model has positions for.
    """
    learned = learned_positions(model)
    stated = stated_window(model.config.to_dict())
    window = min(size for size in (limit, stated, learned) if size is not None)
    if asked is None:
        if window < limit:
            logger.info("the model's window of %d tokens is used, not %d", window, limit)
        return window
    if learned is not None and asked > learned:
        raise UserError(
            f"max_length {asked}: the model has learned positions for {learned} tokens; give "
            f"{learned} at most"
        )
    if stated is not None and asked > stated:
        logger.warning(
            "max_length %d is beyond the window of %d tokens that the model's config states",
            asked,
            stated,
        )
    return asked


def learned_positions(model: PreTrainedModel) -> int | None:
    """Return for how many tokens a model has learned positions, None for one that has none.

    Some families leave the first rows of their table unused: as many as the table's ``offset``
    says, or those up to its padding index.
    """
    words = model.get_input_embeddings()
    sizes = []
    for name, module in model.named_modules():
        table = isinstance(module, torch.nn.Embedding) and module is not words
        own = name.rpartition(".")[2]
        if table and ("pos" in own or own == "wpe"):
            padded = -1 if module.padding_idx is None else module.padding_idx
            sizes.append(module.num_embeddings - getattr(module, "offset", padded + 1))
    return min(sizes, default=None)
