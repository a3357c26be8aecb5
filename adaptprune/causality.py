"""Does a model predict each token from those before it? It is tried: configs say it variously."""

from __future__ import annotations

from typing import Any

import torch

from adaptprune.errors import UserError

_LENGTH = 4
#: A model that sees what follows differs by a part of its logits' spread, not by their rounding.
_TOLERANCE = 0.02


@torch.no_grad()
def check_causal(model: Any) -> None:
    """Refuse a model whose logits depend on later tokens: its likelihoods would be none.

    Encoders load as causal language models too, and some decoders can be told to look both ways.

    Args:
        model: what ``AutoModelForCausalLM`` gave.

    Raises:
        UserError: names its class.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    text = torch.arange(_LENGTH, device=model.device) % rows
    other = text.clone()
    other[-1] = (text[-1] + 1) % rows
    both = model(input_ids=torch.stack([text, other]), use_cache=False).logits[:, :-1].float()
    difference = (both[0] - both[1]).abs().max()
    if difference > _TOLERANCE * both.std():  # false for the NaN of a broken model
        raise UserError(
            f"{type(model).__name__}: what it predicts depends on the tokens that follow; it is "
            "no causal language model, or its config says that it is none"
        )
