"""What a method does and returns, checked before it is used: plug-ins are written by anyone.

The checks are made inside ``in_one_line``, for what nobody thought of.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.method import Pruned, Scores
from adaptprune.pruning.units import KeptUnits

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.method import Method


def check_scores(method: Method, scores: Any) -> None:
    """Refuse scores that cannot be stored or are not finite.

    Raises:
        UserError: they are not named tensors.
        NumericalError: a value is not finite.
    """
    where = f"method {method.name!r}: score"
    if not isinstance(scores, Scores):
        raise UserError(f"{where} must return Scores, not {type(scores).__name__}")
    if not isinstance(scores.tensors, dict):
        raise UserError(
            f"{where} must return Scores of a dict, not of {type(scores.tensors).__name__}"
        )
    owners: dict[int, str] = {}
    for name, tensor in scores.tensors.items():
        if not isinstance(name, str) or not _is_dense(tensor):
            raise UserError(f"{where} must return named dense tensors; {name!r} is none")
        if not tensor.isfinite().all():
            raise NumericalError(f"the score {name} is not finite")
        other = owners.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if other != name:
            raise UserError(f"{where}: {other!r} and {name!r} are one tensor; return a copy of it")
    _check_json(f"{where}: log", scores.log)


def _is_dense(tensor: Any) -> bool:
    """Say whether something is a tensor whose numbers all lie in memory."""
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and not (tensor.is_meta or tensor.is_nested or tensor.is_quantized)
    )


def _check_json(what: str, value: Any) -> None:
    """Refuse what cannot be stored in a record.

    Raises:
        UserError: it holds something other than JSON values, or would be read as something else.
    """
    try:
        text = json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} must be JSON values ({error})") from None
    if json.dumps(json.loads(text), sort_keys=True) != text:
        raise UserError(f"{what} must be JSON values (keys are text)")


def check_pruned(method: Method, pruned: Any, dense: ModelShape) -> None:
    """Refuse a decision that does not fit the dense model.

    Args:
        method: whose decision it is.
        pruned: what its ``prune`` returned.
        dense: shape of the model that it was given.

    Raises:
        UserError: it is no decision, or its indices, biases, width or model do not fit.
        NumericalError: a bias is not finite.
    """
    where = f"method {method.name!r}: prune"
    if not isinstance(pruned, Pruned):
        raise UserError(f"{where} must return Pruned, not {type(pruned).__name__}")
    _check_json(f"{where}: steps and notes", [pruned.steps, pruned.notes])
    if (pruned.kept is None) == (pruned.model is None):
        raise UserError(f"{where} must return kept units or a model (one of the two)")
    width = pruned.width
    if width is not None and not (type(width) is int and 1 <= width <= dense.hidden_size):
        raise UserError(f"{where}: width must be in 1..{dense.hidden_size}, not {width!r}")
    if pruned.kept is None:
        if not _is_language_model(pruned.model):
            raise UserError(
                f"{where}: the model must be a causal one of transformers with model.layers, not "
                f"{type(pruned.model).__name__}"
            )
        return
    if not isinstance(pruned.kept, KeptUnits):
        raise UserError(f"{where} must return KeptUnits, not {type(pruned.kept).__name__}")
    try:
        pruned.kept.check(dense)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if not isinstance(pruned.biases, dict):
        raise UserError(f"{where}: biases must be a dict, not {type(pruned.biases).__name__}")
    for index, biases in pruned.biases.items():
        _check_biases(where, index, biases, dense)


def _is_language_model(model: Any) -> bool:
    """Say whether a model can be saved under the class of its config, and its layers counted."""
    return (
        isinstance(model, PreTrainedModel)
        and type(model.config) in AutoModelForCausalLM._model_mapping
        and isinstance(getattr(getattr(model, "model", None), "layers", None), torch.nn.ModuleList)
        and None not in (model.get_input_embeddings(), model.get_output_embeddings())
    )


def _check_biases(where: str, index: Any, biases: Any, dense: ModelShape) -> None:
    """Refuse what are no biases of a layer's two output projections."""
    if index not in range(len(dense.blocks)):
        raise UserError(
            f"{where}: biases of layer {index!r}, the layers are 0..{len(dense.blocks) - 1}"
        )
    if not (isinstance(biases, tuple | list) and len(biases) == 2 and all(map(_is_dense, biases))):
        raise UserError(f"{where}: the biases of layer {index} must be two dense tensors")
    for bias in biases:
        if tuple(bias.shape) != (dense.hidden_size,):
            raise UserError(
                f"{where}: a bias of layer {index} has shape {tuple(bias.shape)}, "
                f"not ({dense.hidden_size},)"
            )
        if not bias.isfinite().all():
            raise NumericalError(f"a bias of layer {index} is not finite")


def check_model(method: Method, model: Any, pruned: Pruned, dense: ModelShape) -> None:
    """Refuse a pruned model with another vocabulary, or other sizes than were decided.

    Args:
        method: whose outcome it is.
        model: the pruned model.
        pruned: the decision: kept units, or a model and its width.
        dense: shape of the model that was pruned.

    Raises:
        UserError: naming what differs, or a weight that could not be stored.
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
    if pruned.kept is not None and list(shape_of_model(model).blocks) != pruned.kept.blocks():
        raise UserError(f"{where} has other layer sizes than its kept units say")
    width = model.get_input_embeddings().weight.shape[1]
    if pruned.width not in (None, width):
        raise UserError(f"{where} is {width} wide; its width is said to be {pruned.width}")
    for name, parameter in model.named_parameters():
        if not _is_dense(parameter):
            raise UserError(f"{where} must hold dense weights; {name} is none")
        if not parameter.isfinite().all():
            raise NumericalError(f"the pruned weight {name} is not finite")
