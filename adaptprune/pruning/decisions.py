"""What a method decides. A decision checks, applies and describes itself, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from adaptprune.errors import NumericalError, UserError
from adaptprune.models import checkpoint
from adaptprune.models.anatomy import all_linears, find_blocks
from adaptprune.models.sizes import ModelSize, shape_of_model
from adaptprune.pruning.masks import MASKS, Mask, masks_hash, write_masks
from adaptprune.pruning.surgery import add_biases, cut_layers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adaptprune.models.shapes import ModelShape
    from adaptprune.pruning.dense import DenseModel
    from adaptprune.pruning.patterns import Pattern
    from adaptprune.pruning.units import KeptUnits


def is_dense(tensor: Any) -> bool:
    """Say whether something is a tensor whose numbers all lie in memory."""
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.layout == torch.strided
        and not (tensor.is_meta or tensor.is_nested or tensor.is_quantized)
    )


class Decision(ABC):
    """What becomes of a model."""

    @abstractmethod
    def check(self, dense: DenseModel) -> None:
        """Refuse what does not fit the model that was given.

        Raises:
            UserError: naming what does not fit.
            NumericalError: a number is not finite.
        """

    @abstractmethod
    def apply(self, model: Any) -> Any:
        """Do it to the model that the method was given; return the pruned one."""

    def confirm(self, model: Any) -> None:  # noqa: B027 - nothing to compare, by default
        """Refuse a pruned model that is not what was decided.

        Raises:
            UserError: naming what differs; it goes on from "the pruned model".
        """

    def config(self, model: Any) -> Any:
        """Return the config that a pruned model is saved with."""
        return model.config

    @abstractmethod
    def describe(self, dense: DenseModel) -> dict[str, Any]:
        """Return the content of ``kept.json``."""

    def reached(self, dense: DenseModel, model: Any) -> float | None:
        """Return the fraction that is gone, counted in the pruned model; None if it has none.

        Of prunable channels, unless a decision says otherwise.
        """
        return ModelSize.of(model).removed_from(dense.size)

    def counts(self, model: Any) -> dict[str, Any]:
        """Return what a record counts of the pruned model besides its parameters."""
        return {}

    def write(self, folder: Path) -> None:  # noqa: B027 - most have nothing to add
        """Write into the checkpoint's folder what neither weights nor config hold."""


def _check_width(width: Any, dense: DenseModel) -> None:
    if width is not None and not (type(width) is int and 1 <= width <= dense.size.width):
        raise UserError(f"width must be in 1..{dense.size.width}, not {width!r}")


def _confirm_width(width: int | None, model: Any) -> None:
    found = model.get_input_embeddings().weight.shape[1]
    if width not in (None, found):
        raise UserError(f"is {found} wide; its width is said to be {width}")


@dataclass
class Cut(Decision):
    """Whole layers, kv heads and neurons go.

    Args:
        kept: units that stay.
        biases: layer index → (output projection bias, down projection bias), each [hidden]; the
            layers are counted in the model that was given, and stay.
        already_cut: whether the model that was given has been cut to ``kept`` in place.
        width: of the residual stream, where a method states it; it stays what it was.
    """

    kept: KeptUnits
    biases: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    already_cut: bool = False
    width: int | None = None

    def check(self, dense: DenseModel) -> None:
        """Refuse indices or biases that the model has no place for."""
        _check_width(self.width, dense)
        shape = dense.units
        self.kept.check(shape)
        if not isinstance(self.biases, dict):
            raise UserError(f"biases must be a dict, not {type(self.biases).__name__}")
        for index, biases in self.biases.items():
            _check_biases(index, biases, shape)
            if index not in self.kept.indices:
                raise UserError(f"biases of layer {index}, which is dropped")

    def apply(self, model: Any) -> Any:
        """Cut in place, then add the biases."""
        if not self.already_cut:
            cut_layers(model, self.kept)
        places = {number: place for place, number in enumerate(self.kept.indices)}
        add_biases(model, {places[number]: given for number, given in self.biases.items()})
        return model

    def confirm(self, model: Any) -> None:
        """Refuse another number of layers, or of other sizes, than those of the kept units."""
        if list(shape_of_model(model).blocks) != self.kept.blocks():
            raise UserError("has other layer sizes than its kept units say")
        _confirm_width(self.width, model)

    def config(self, model: Any) -> Any:
        """Return a stock config of uniform layers, or one that lists them."""
        return checkpoint.pruned_config(model, shape_of_model(model))

    def describe(self, dense: DenseModel) -> dict[str, Any]:
        """Return the indices that stay, layer by layer."""
        return self.kept.to_json(dense.units)


def _check_biases(index: Any, biases: Any, dense: ModelShape) -> None:
    """Refuse what are no biases of a layer's two output projections."""
    if index not in range(len(dense.blocks)):
        raise UserError(f"biases of layer {index!r}, the layers are 0..{len(dense.blocks) - 1}")
    if not (isinstance(biases, tuple | list) and len(biases) == 2 and all(map(is_dense, biases))):
        raise UserError(f"the biases of layer {index} must be two dense tensors")
    for bias in biases:
        if tuple(bias.shape) != (dense.hidden_size,):
            raise UserError(
                f"a bias of layer {index} has shape {tuple(bias.shape)}, not ({dense.hidden_size},)"
            )
        if not bias.isfinite().all():
            raise NumericalError(f"a bias of layer {index} is not finite")


@dataclass
class Sliced(Decision):
    """A finished model takes the place of the one that was given.

    Args:
        model: a causal language model of transformers, with its config.
        width: of its residual stream, where that was sliced.
    """

    model: Any
    width: int | None = None

    def check(self, dense: DenseModel) -> None:
        """Refuse what cannot be saved under the class of its config, or has no layers to count."""
        _check_width(self.width, dense)
        model = self.model
        if not (
            isinstance(model, PreTrainedModel)
            and type(model.config) in AutoModelForCausalLM._model_mapping
            and isinstance(find_blocks(model), torch.nn.ModuleList)
            and None not in (model.get_input_embeddings(), model.get_output_embeddings())
        ):
            raise UserError(
                "the model must be a causal one of transformers with decoder layers, not "
                f"{type(model).__name__}"
            )

    def apply(self, model: Any) -> Any:
        """Return the finished model."""
        return self.model

    def confirm(self, model: Any) -> None:
        """Refuse another width than was stated."""
        _confirm_width(self.width, model)

    def describe(self, dense: DenseModel) -> dict[str, Any]:
        """Return the width; no layer is cut by itself."""
        return {"layers": [], "width": self.width}


@dataclass(frozen=True)
class Masked(Decision):
    """Weights of decoder blocks' linear layers that are set to zero; the others may be updated.

    Args:
        pattern: what the masks follow.
        masks: name of the weight → its mask, of every linear layer in order.
        weights: name of the weight → its updated values [outputs, inputs], where a method changes
            what stays. They may be the pruned model's own weights: nothing is copied.
    """

    pattern: Pattern
    masks: dict[str, Mask]
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def check(self, dense: DenseModel) -> None:
        """Refuse masks or weights of other names, shapes or patterns; or that are not finite."""
        shapes = dense.weights
        for name in shapes.keys() ^ self.masks.keys():
            there = "has no mask" if name in shapes else "is no weight of a linear layer"
            raise UserError(f"masks: {name} {there}")
        for name, mask in self.masks.items():
            if mask.shape != shapes[name]:
                raise UserError(f"masks: {name} has shape {mask.shape}, the model {shapes[name]}")
            if not mask.follows(self.pattern):
                raise UserError(f"masks: {name} does not follow the pattern {self.pattern}")
        for name, weight in self.weights.items():
            if name not in shapes or tuple(weight.shape) != shapes[name]:
                raise UserError(
                    f"masks: updated weight {name} has shape {tuple(weight.shape)}, the model "
                    f"{shapes.get(name)}"
                )
            if not weight.isfinite().all():
                raise NumericalError(f"the updated weight {name} is not finite")

    @torch.no_grad()
    def apply(self, model: Any) -> Any:
        """Update and mask the weights of a dense model, in place; doing it twice changes nothing.

        Raises:
            UserError: see ``anatomy_of``.
        """
        for linear in all_linears(model):
            matrix = linear.matrix
            if linear.name in self.weights:
                matrix.copy_(self.weights[linear.name])
            matrix.masked_fill_(~self.masks[linear.name].unpack(matrix.device), 0)
        return model

    @property
    def kept(self) -> int:
        """Return how many weights stay."""
        return sum(mask.kept for mask in self.masks.values())

    def describe(self, dense: DenseModel) -> dict[str, Any]:
        """Return what the masks are; they lie in a file of their own."""
        return describe_masks(self.masks, self.pattern, updated=bool(self.weights))

    def reached(self, dense: DenseModel, model: Any) -> float | None:
        """Return the fraction of the masked layers' weights that are zero."""
        matrices = [linear.matrix for linear in all_linears(model)]
        nonzeros = sum(int(matrix.count_nonzero()) for matrix in matrices)
        return 1 - nonzeros / sum(matrix.numel() for matrix in matrices)

    def counts(self, model: Any) -> dict[str, Any]:
        """Return the parameters that are not zero, and what the zeros follow."""
        return {"nonzeros": count_nonzeros(model), "pattern": str(self.pattern)}

    def write(self, folder: Path) -> None:
        """Write the masks."""
        write_masks(folder / MASKS, self.masks, self.pattern)


def describe_masks(masks: Mapping[str, Mask], pattern: Pattern, *, updated: bool) -> dict[str, Any]:
    """Return what ``kept.json`` says of masks.

    Args:
        masks: of every linear layer in order.
        pattern: what they follow.
        updated: whether kept weights are others than the dense model's.
    """
    return {
        "layers": [],
        "pattern": str(pattern),
        "weights": sum(mask.weights for mask in masks.values()),
        "kept": sum(mask.kept for mask in masks.values()),
        "updated": updated,
        "masks_sha256": masks_hash(masks),
    }


def count_nonzeros(model: Any) -> int:
    """Count a model's parameters that are not zero, shared tensors once."""
    return sum(int(parameter.count_nonzero()) for parameter in model.parameters())
