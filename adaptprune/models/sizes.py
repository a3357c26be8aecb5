"""How large a model is, counted in its weights: never taken from what a method or a config says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.modeling import EXTRA_BIASES
from adaptprune.models.anatomy import Layer, blocks_of, find_blocks, layers_of
from adaptprune.models.shapes import BlockShape, ModelShape
from adaptprune.models.tying import is_tied

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelSize:
    """Counts of one model.

    Args:
        parameters: of the whole model, a shared tensor once.
        decoder: of its decoder layers.
        channels: prunable channels, k channels and neurons of all layers; None where a layer has
            no such projections.
        width: of the residual stream.
    """

    parameters: int
    decoder: int
    channels: int | None
    width: int

    @classmethod
    def of(cls, model: Any) -> ModelSize:
        """Count a causal language model with an anatomy, or built like Llama.

        Its tensors may hold no numbers.
        """
        blocks = find_blocks(model)
        assert blocks is not None, "a model with decoder layers"
        channels: int | None
        try:
            channels = sum(
                layer.key.weight.shape[0] + layer.up.weight.shape[0]
                for layer in map(Layer.of, blocks)
            )
        except AttributeError:
            channels = None
        return cls(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            decoder=sum(parameter.numel() for parameter in blocks.parameters()),
            channels=channels,
            width=model.get_input_embeddings().weight.shape[1],
        )

    def removed_from(self, before: ModelSize) -> float | None:
        """Return the fraction of prunable channels that are gone since ``before``.

        A layer that is gone took all of its channels along; a narrower residual stream narrows
        every channel.
        """
        if self.channels is None or before.channels is None:
            return None
        return 1 - self.channels / before.channels * (self.width / before.width)


def shape_of_model(model: Any) -> ModelShape:
    """Read the present shape of a loaded model from its config and its weights.

    The weights decide the per-layer sizes, the added biases and whether the head is tied, so the
    shape is right in the middle of a trajectory and whatever the config says.
    """
    shape = ModelShape.from_config(model.config.to_dict())
    return dataclasses.replace(
        shape,
        tied=is_tied(model),
        added_biases=sum(
            bias.numel() for biases in added_biases(model) for bias in biases.values()
        ),
        blocks=tuple(
            BlockShape(layer.key.out_features // shape.head_dim, layer.up.out_features)
            for layer in layers_of(model)
        ),
    )


def added_biases(model: Any) -> list[dict[str, torch.Tensor]]:
    """Return, for each layer, the biases of projections that their family gives none (FLAP).

    They go by the keys that a heterogeneous config has for them.
    """
    shape = ModelShape.from_config(model.config.to_dict())
    own = {"o_proj_bias": shape.output_bias, "down_proj_bias": shape.mlp_bias}
    listed = []
    for block in blocks_of(model):
        found = {
            key: block.get_submodule(".".join(place)).bias for key, place in EXTRA_BIASES.items()
        }
        listed.append({k: bias for k, bias in found.items() if bias is not None and not own[k]})
    return listed


def skeleton_of(config: dict[str, Any]) -> Any:
    """Return the model that a config describes, without numbers; no code of its folder is run.

    Raises:
        UserError: it describes none.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    known = {key: value for key, value in config.items() if key not in ("model_type", "auto_map")}
    try:
        with torch.device("meta"):
            stock = AutoConfig.for_model(config["model_type"], **known)
            return AutoModelForCausalLM.from_config(stock)
    except Exception as error:  # a config can hold anything
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"the config describes no causal language model ({first})") from error
