"""Target shapes: the uniform shape of a named model, in the vocabulary of the one that is cut."""

from __future__ import annotations

import dataclasses

from adaptprune.errors import UserError
from adaptprune.files.declared import Closed
from adaptprune.models.catalogue import shape_of
from adaptprune.models.shapes import ModelShape


def shaped_like(name: str, shape: ModelShape) -> Target:
    """Return the target that has the shape of a named model.

    Hidden size, layers, heads, head size and neurons are the named model's; vocabulary, biases
    and tying stay those of the model that it is made from.

    Args:
        name: of a model whose layers are all alike.
        shape: of the model that the target is made from.

    Raises:
        UserError: the model is unknown, its layers differ, or no stock model has its shape.
    """
    named = shape_of(name)
    if len(set(named.blocks)) > 1:
        raise UserError(f"target model {name}: its layers differ; a target shape is uniform")
    heads = named.blocks[0].kv_heads * named.queries_per_kv_head
    if named.hidden_size % heads:
        raise UserError(
            f"target model {name}: its {heads} heads do not divide its hidden size "
            f"{named.hidden_size}"
        )
    like = dataclasses.replace(
        shape,
        hidden_size=named.hidden_size,
        head_dim=named.head_dim,
        queries_per_kv_head=named.queries_per_kv_head,
        blocks=named.blocks,
        added_biases=0,
    )
    return Target(parameters=like.parameters, shape=like)


def check_cut(method: str, shape: ModelShape, target: ModelShape) -> None:
    """Refuse a shape that cutting a uniform model cannot reach.

    Args:
        method: that is to cut, for the message.
        shape: of the model that is cut.
        target: the uniform shape to reach.

    Raises:
        UserError: the model's layers differ or have added biases, the head size differs, or a size
            would grow.
    """
    shape.check_stock("cut to a shape")
    block, wanted = shape.blocks[0], target.blocks[0]
    if target.head_dim != shape.head_dim:
        raise UserError(
            f"{method}: target shape: head_dim {target.head_dim} differs from the model's "
            f"{shape.head_dim}"
        )
    for name, before, after in (
        ("hidden size", shape.hidden_size, target.hidden_size),
        ("layers", len(shape.blocks), len(target.blocks)),
        ("kv heads", block.kv_heads, wanted.kv_heads),
        ("query heads per kv head", shape.queries_per_kv_head, target.queries_per_kv_head),
        ("intermediate size", block.intermediate_size, wanted.intermediate_size),
    ):
        if after > before:
            raise UserError(
                f"{method}: target shape: {name} {after} is larger than the model's {before}"
            )
    if target.parameters >= shape.parameters:
        raise UserError(
            f"{method}: target shape: {target.parameters:,} parameters are no fewer than the "
            "model's"
        )


class Target(Closed):
    """What a model is to become.

    Args:
        parameters: of the whole model, a tied embedding counted once.
        shape: its uniform shape with the vocabulary of the model that it is made from, or None
            where only the count is given.
    """

    parameters: int
    shape: ModelShape | None = None

    def describe(self) -> dict[str, int]:
        """Return the sizes that are given, for a record."""
        if self.shape is None:
            return {"parameters": self.parameters}
        block = self.shape.blocks[0]
        return {
            "parameters": self.parameters,
            "hidden_size": self.shape.hidden_size,
            "num_hidden_layers": len(self.shape.blocks),
            "num_attention_heads": block.kv_heads * self.shape.queries_per_kv_head,
            "num_key_value_heads": block.kv_heads,
            "head_dim": self.shape.head_dim,
            "intermediate_size": block.intermediate_size,
        }


def shape_to_reach(target: Target | None) -> ModelShape:
    """Return the shape of a target that ``RecoveryMethod.check`` has let pass."""
    assert target is not None, "check has refused a recovery without a target"
    assert target.shape is not None, "and one without a shape"
    return target.shape
