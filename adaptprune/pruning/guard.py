"""What a method does and returns, checked before it is used: plug-ins are written by anyone.

The checks are made inside ``in_one_line``, for what nobody thought of.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from adaptprune.errors import NumericalError, UserError
from adaptprune.pruning.decisions import Cut, Decision, is_dense
from adaptprune.pruning.method import Pruned, Scores
from adaptprune.pruning.units import KeptUnits

if TYPE_CHECKING:
    from adaptprune.pruning.dense import DenseModel
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
        if not isinstance(name, str) or not is_dense(tensor):
            raise UserError(f"{where} must return named dense tensors; {name!r} is none")
        if not tensor.isfinite().all():
            raise NumericalError(f"the score {name} is not finite")
        other = owners.setdefault(tensor.data_ptr(), name) if tensor.numel() else name
        if other != name:
            raise UserError(f"{where}: {other!r} and {name!r} are one tensor; return a copy of it")
    _check_json(f"{where}: log", scores.log)


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


def check_pruned(method: Method, returned: Any, dense: DenseModel) -> Pruned:
    """Refuse a decision that does not fit the dense model.

    Args:
        method: whose decision it is.
        returned: what its ``prune`` returned: a decision, or ``Pruned``.
        dense: the model that it was given.

    Returns:
        It as ``Pruned``, with its ``decision``.

    Raises:
        UserError: it is no decision, or its indices, biases, width, masks or model do not fit.
        NumericalError: a number is not finite.
    """
    where = f"method {method.name!r}: prune"
    pruned = Pruned(decision=returned) if isinstance(returned, Decision) else returned
    if not isinstance(pruned, Pruned):
        raise UserError(f"{where} must return Pruned, not {type(pruned).__name__}")
    _check_json(f"{where}: steps and notes", [pruned.steps, pruned.notes])
    given = [one for one in (pruned.kept, pruned.model, pruned.decision) if one is not None]
    if len(given) != 1:
        raise UserError(f"{where} must return kept units or a model (one of the two)")
    decision = pruned.decide()
    if not isinstance(decision, Decision):
        raise UserError(f"{where} must return a decision, not {type(decision).__name__}")
    if isinstance(decision, Cut) and not isinstance(decision.kept, KeptUnits):
        raise UserError(f"{where} must return KeptUnits, not {type(decision.kept).__name__}")
    try:
        decision.check(dense)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return pruned


def check_model(method: Method, model: Any, decision: Decision, dense: DenseModel) -> None:
    """Refuse a pruned model with another vocabulary, or other sizes than were decided.

    Args:
        method: whose outcome it is.
        model: the pruned model.
        decision: what it should be.
        dense: the model that was pruned.

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
    try:
        decision.confirm(model)
    except UserError as error:
        raise UserError(f"{where} {error}") from None
    for name, parameter in model.named_parameters():
        if not is_dense(parameter):
            raise UserError(f"{where} must hold dense weights; {name} is none")
        if not parameter.isfinite().all():
            raise NumericalError(f"the pruned weight {name} is not finite")
