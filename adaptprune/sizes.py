"""How large a model is, counted in its weights: never taken from what a method or a config says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
        """Count a causal language model with ``model.layers``; its tensors may hold no numbers."""
        layers = model.model.layers
        channels: int | None
        try:
            channels = sum(
                layer.self_attn.k_proj.weight.shape[0] + layer.mlp.up_proj.weight.shape[0]
                for layer in layers
            )
        except AttributeError:
            channels = None
        return cls(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            decoder=sum(parameter.numel() for parameter in layers.parameters()),
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
