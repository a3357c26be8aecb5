"""What functions of ``adaptprune.api`` are given, and what it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.machine.unchanged import nothing_global_changed
from adaptprune.pruning.method import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.models.loaded import LoadedModel
    from adaptprune.models.runtime import Runtime

#: A built-in id, a folder, a hub id, a model of transformers, or what ``load``, ``prune`` or
#: ``recover`` returned.
Model = Any
#: How to compute: a ``Runtime``, or its fields, as in ``{"threads": 2}``.
RuntimeLike = Any


@nothing_global_changed()
def load(model: Model, *, tokenizer: Any = None, runtime: RuntimeLike | None = None) -> LoadedModel:
    """Load a model with its tokenizer, in float32 on the CPU where ``runtime`` says nothing else.

    Args:
        model: built-in id, folder or hub id, fetched into the cache where it is not there, and
            verified; or a causal language model of transformers, which is taken as it is.
        tokenizer: of a model of transformers.
        runtime: dtype, device and threads.

    Returns:
        An object with ``model``, ``tokenizer``, ``name`` and ``folder``.

    Raises:
        UserError: the model is unknown, cannot be fetched, or its files were altered.
    """
    from adaptprune.models.loaded import LoadedModel, load_named, wrap_model
    from adaptprune.pruning.pruned import PrunedModel
    from adaptprune.recovery.recovered import RecoveredModel

    how = settle(runtime)
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, PrunedModel | RecoveredModel):
        return model.loaded()
    if isinstance(model, str | Path):
        return load_named(str(model), how)
    return wrap_model(model, tokenizer)


def settle(runtime: RuntimeLike | None) -> Runtime:
    """Set how to compute and return it; nothing is set where nothing is given."""
    from adaptprune.models.runtime import Runtime

    if runtime is None:
        return Runtime()
    if not isinstance(runtime, Runtime):
        try:
            runtime = Runtime(**runtime)
        except TypeError:
            fields = ", ".join(Runtime.__dataclass_fields__)
            raise UserError(f"runtime {runtime!r}: give some of {fields}") from None
    runtime.apply()
    return runtime


def present_runtime(model: Any) -> Runtime:
    """Return how a model that is in memory computes."""
    import torch

    from adaptprune.models.runtime import Runtime

    dtype = str(model.dtype).removeprefix("torch.")
    return Runtime(dtype, str(model.device), torch.get_num_threads())


def find_given_method(method: str | Path | Method) -> Method:
    """Return a method by name, from a file, or as it is."""
    from adaptprune.pruning.methodfile import load_method_file
    from adaptprune.pruning.registry import find_method

    if isinstance(method, Method):
        return method
    if isinstance(method, Path) or str(method).endswith(".py"):
        return load_method_file(Path(method))
    if not isinstance(method, str):
        raise UserError(f"method: give a name, a file or a method, not {method!r}")
    return find_method(method)


def token_ids(calibration: CalibrationSet | Sequence[Sequence[int]]) -> CalibrationSet:
    """Return token ids as a calibration set.

    Raises:
        UserError: they are no equally long sequences of whole numbers.
    """
    from adaptprune.data.calibration import CalibrationSet

    if isinstance(calibration, CalibrationSet):
        return calibration
    rows = getattr(calibration, "tolist", lambda: calibration)()
    try:
        tokens = [list(row) for row in rows]
    except TypeError:
        tokens = []
    ids = [token for row in tokens for token in row]
    if not ids or len({len(row) for row in tokens}) > 1 or any(type(i) is not int for i in ids):
        raise UserError("calibration: give equally long sequences of token ids")
    return CalibrationSet(tokens, "given", None)


def tokenizer_of(model: Model) -> tuple[Any, int]:
    """Return a model's tokenizer, checked, and how many token ids the model knows."""
    from adaptprune.data.encoding import check_tokenizer, load_checked_tokenizer
    from adaptprune.models.catalogue import locate, read_config

    if isinstance(model, str | Path):
        folder = locate(str(model))
        return load_checked_tokenizer(folder, "nothing"), read_config(folder)["vocab_size"]
    source = load(model)
    if source.tokenizer is None:
        raise UserError(f"model {source.name}: has no tokenizer; give load(model, tokenizer=…)")
    vocabulary = source.model.config.vocab_size
    check_tokenizer(source.tokenizer, vocabulary, "nothing")
    return source.tokenizer, vocabulary
