"""Does a model predict each token from those before it? It is tried: configs say it variously."""

from __future__ import annotations

from typing import Any

import torch

from adaptprune.errors import UserError

#: Tokens of the text that is tried; of its second half others are put in.
_LENGTH = 8
#: Rounding, as a part of the logits' spread; in half precision it is the larger number.
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 0.05


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
    half = _LENGTH // 2
    other[half:] = text[half:].flip(0)
    both = model(input_ids=torch.stack([text, other]), use_cache=False).logits[:, :half].float()
    difference = (both[0] - both[1]).abs().max()
    tolerance = _TOLERANCE if model.dtype == torch.float32 else _HALF_TOLERANCE
    if difference > tolerance * both.std():  # false for the NaN of a broken model
        raise UserError(
            f"{type(model).__name__}: what it predicts depends on the tokens that follow; it is "
            "no causal language model, or its config says that it is none"
        )
