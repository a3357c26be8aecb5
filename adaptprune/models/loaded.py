"""A model in memory with its tokenizer, and where both come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.cells import slug
from adaptprune.errors import UserError
from adaptprune.models import checkpoint
from adaptprune.models.catalogue import locate

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.models.runtime import Runtime

#: What a model is called that was handed over and has no name.
UNNAMED = "given"


@dataclass(frozen=True)
class LoadedModel:
    """A model to prune, train or evaluate.

    Attributes:
        model: a causal language model of transformers.
        tokenizer: of the model, or None.
        name: id, folder or hub id that it was loaded by; the name in its config otherwise.
        folder: that it was loaded from, or None.
        made_by: method or preset that it comes from, None of a dense model.
        revision: hash of the folder's content, None of a model without.
        config: that the weights belong to where the model's own is another one.
        marks: of the weights when they were loaded, which tell whether they were changed since.
    """

    model: Any
    tokenizer: Any
    name: str
    folder: Path | None = None
    made_by: str | None = None
    revision: str | None = None
    config: Any = None
    marks: tuple[int | float, ...] = ()

    def origin(self) -> dict[str, Any]:
        """Return ``model_revision``, ``model_hash`` and ``pruned_before``, as a record has them.

        The hash is that of the folder as long as the weights are the folder's.
        """
        is_folders = self.revision is not None and self.marks == marks_of(self.model)
        return {
            "model_revision": slug(str(self.folder)) if is_folders else None,
            "model_hash": self.revision if is_folders else hash_weights(self.model),
            "pruned_before": self.made_by,
        }


def load_named(name: str, runtime: Runtime) -> LoadedModel:
    """Load a model that is fetched where it is not in the cache, and verified.

    Args:
        name: built-in id, folder or hub id.
        runtime: dtype and device.

    Raises:
        UserError: the model is unknown, cannot be fetched, or its files were altered.
    """
    folder = locate(name)
    revision, made_by = checkpoint.revision(folder), checkpoint.pruned_before(folder)
    model = runtime.load(folder)
    try:
        tokenizer = checkpoint.load_tokenizer(folder)
    except UserError:  # pruning by token ids needs none
        tokenizer = None
    return LoadedModel(model, tokenizer, name, folder, made_by, revision, marks=marks_of(model))


def wrap_model(model: Any, tokenizer: Any = None) -> LoadedModel:
    """Describe a model that is in memory already.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer, where text is to be read.

    Raises:
        UserError: it is no such model.
    """
    if not (
        isinstance(model, torch.nn.Module) and callable(getattr(model, "get_input_embeddings", 0))
    ):
        raise UserError(
            "model: give a built-in id, a folder, a hub id or a causal language model of "
            f"transformers, not {type(model).__name__}"
        )
    name = str(getattr(model.config, "name_or_path", "") or UNNAMED)
    return LoadedModel(model, tokenizer, name)


def marks_of(model: Any) -> tuple[int | float, ...]:
    """Return a number for each tensor of a model that a change of its values changes."""
    return tuple(torch.hash_tensor(tensor).item() for tensor in model.state_dict().values())


def hash_weights(model: Any) -> str:
    """Return a SHA-256 over names, shapes, dtypes and values of a model's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype};".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
