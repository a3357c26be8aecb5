"""What a method does and returns, checked before it is used: plug-ins are written by anyone."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.errors import NumericalError, UserError
from adaptprune.files import sha256_json
from adaptprune.method import Pruned, Scores
from adaptprune.surgery import shape_of_model
from adaptprune.units import KeptUnits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptprune.method import Method
    from adaptprune.shapes import ModelShape


@contextlib.contextmanager
def in_one_line(method: Method) -> Iterator[None]:
    """Turn whatever a method raises into one line with the place in its own file.

    Raises:
        UserError: the method raised something that is neither a mistake in the input nor a
            number that is not finite.
    """
    try:
        yield
    except (UserError, NumericalError):
        raise
    except Exception as error:
        own = inspect.getfile(type(method))
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1])
        message = " ".join(str(error).split()) or "no message"
        raise UserError(
            f"method {method.name!r} failed: {type(error).__name__}: {message} "
            f"({Path(place.filename).name}:{place.lineno})"
        ) from error


def check_scores(method: Method, scores: Any) -> None:
    """Refuse scores that cannot be stored or are not finite.

    Raises:
        UserError: they are not named tensors.
        NumericalError: a value is not finite.
    """
    where = f"method {method.name!r}: score"
    if not isinstance(scores, Scores):
        raise UserError(f"{where} must return Scores, not {type(scores).__name__}")
    for name, tensor in scores.tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise UserError(f"{where} must return named tensors; {name!r} is none")
        if not tensor.isfinite().all():
            raise NumericalError(f"the score {name} is not finite")


def check_pruned(method: Method, pruned: Any, dense: ModelShape) -> None:
    """Refuse a decision that does not fit the dense model.

    Args:
        method: whose decision it is.
        pruned: what its ``prune`` returned.
        dense: shape of the model that it was given.

    Raises:
        UserError: it is no decision, or its indices or biases do not fit.
        NumericalError: a bias is not finite.
    """
    where = f"method {method.name!r}: prune"
    if not isinstance(pruned, Pruned):
        raise UserError(f"{where} must return Pruned, not {type(pruned).__name__}")
    try:
        sha256_json([pruned.steps, pruned.notes])
    except TypeError as error:
        raise UserError(f"{where}: steps and notes must be JSON values ({error})") from None
    if (pruned.kept is None) == (pruned.model is None):
        raise UserError(f"{where} must return kept units or a model (one of the two)")
    if pruned.kept is None:
        return
    if not isinstance(pruned.kept, KeptUnits):
        raise UserError(f"{where} must return KeptUnits, not {type(pruned.kept).__name__}")
    try:
        pruned.kept.check(dense)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    for index, biases in pruned.biases.items():
        for bias in biases:
            if tuple(bias.shape) != (dense.hidden_size,):
                raise UserError(
                    f"{where}: a bias of layer {index} has shape {tuple(bias.shape)}, "
                    f"not ({dense.hidden_size},)"
                )
            if not bias.isfinite().all():
                raise NumericalError(f"a bias of layer {index} is not finite")


def check_model(method: Method, model: Any, kept: KeptUnits | None, dense: ModelShape) -> None:
    """Refuse a pruned model with another vocabulary, or other layers than were decided.

    Args:
        method: whose outcome it is.
        model: the pruned model.
        kept: the units it is said to hold, or None for a model of another kind.
        dense: shape of the model that was pruned.

    Raises:
        UserError: naming what differs.
        NumericalError: a weight is not finite.
    """
    where = f"method {method.name!r}: the pruned model"
    for part, module in (
        ("embedding", model.get_input_embeddings()),
        ("output head", model.get_output_embeddings()),
    ):
        rows = module.weight.shape[0]
        if rows != dense.vocab_size or model.config.vocab_size != dense.vocab_size:
            raise UserError(
                f"{where} has a vocabulary of {rows} ({part}); it must stay {dense.vocab_size}"
            )
    if kept is not None and list(shape_of_model(model).blocks) != kept.blocks():
        raise UserError(f"{where} has other layer sizes than its kept units say")
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise NumericalError(f"the pruned weight {name} is not finite")
