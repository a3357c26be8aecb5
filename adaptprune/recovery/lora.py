"""LoRA recovery: low-rank adapters are trained and merged into the pruned weights.

This is how LLM-Pruner (arXiv 2305.11627) recovers its models, and what users of Wanda run after
it. Defaults are the values of ``scripts/llama_prune.sh`` and ``post_training.py`` of
github.com/horseee/LLM-Pruner at 38452d5e: rank 8, alpha 16, dropout 0.05 on all linear layers
of a block, two epochs, AdamW without weight decay, 100 steps of warm-up and a linear decay to 0.

What is done otherwise, for all recoveries of this suite alike: documents are packed into rows and
not padded to one length each, and the last weights count, not those with the least loss on 2,000
documents held out.

The adapters are those of ``peft``, put into the model where it is trained. Between two steps the
model folder holds the base weights, which do not move, and the adapters lie with the state of the
training; the end of the training writes the sum, a plain checkpoint with the shapes it began with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from adaptprune.errors import UserError
from adaptprune.models.anatomy import all_linears
from adaptprune.plugins import Parameters, seed_for
from adaptprune.recovery.epochs import Repeated, plan_epochs
from adaptprune.recovery.method import RecoveryMethod
from adaptprune.recovery.objective import State

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.objective import Objective
    from adaptprune.recovery.plan import Draft, Stage
    from adaptprune.recovery.recipe import Preset
    from adaptprune.recovery.targets import Target

#: The name that peft gives to adapters which are given none.
_ADAPTER = "default"


class LoraParameters(Parameters):
    """Parameters of LoRA recovery.

    Args:
        rank: of an adapter's product (``lora_r``).
        alpha: the product is multiplied by alpha / rank (``lora_alpha``).
        dropout: of an adapter's inputs (``lora_dropout``).
        targets: last parts of the names of the linear layers that get an adapter; None takes all of
            the decoder blocks, LLaMA's seven projections (``lora_target_modules``).
        epochs: passes over the data (``num_epochs``).
        warm_up: steps until the learning rate is at its peak (``warmup_steps``), at most a tenth
            of all; after them it falls linearly to the preset's minimum.
    """

    rank: int = pydantic.Field(8, ge=1)
    alpha: float = pydantic.Field(16.0, gt=0)
    dropout: float = pydantic.Field(0.05, ge=0, lt=1)
    targets: tuple[str, ...] | None = pydantic.Field(None, min_length=1)
    epochs: int = pydantic.Field(2, ge=1)
    warm_up: int = pydantic.Field(100, ge=0)


class Lora(RecoveryMethod):
    """Low-rank adapters, trained in one stage and merged."""

    name = "lora"
    title = "LoRA"
    version = 1
    citation = "LoRA, arXiv 2106.09685, as in LLM-Pruner, arXiv 2305.11627"
    parameters: ClassVar[type[Parameters]] = LoraParameters

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Take the data ``epochs`` times."""
        return plan_epochs(rows, self._chosen(preset).epochs, shape)

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Return next-token training of adapters."""
        settings = folder.settings()
        return Adapters(self._chosen(settings.preset), stage, settings.seed)

    def optimizer(self, preset: Preset, stage: Stage, model: Any) -> torch.optim.Optimizer:
        """Return AdamW over what the adapters have to learn."""
        import torch

        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

    def learning_rates(self, preset: Preset, stage: Stage) -> Callable[[int], float]:
        """Return warm-up and linear decay."""
        peak, least = preset.peak_learning_rate, preset.minimum_learning_rate
        warm_up = min(self._chosen(preset).warm_up, stage.steps // 10)

        def rate(step: int) -> float:
            if step < warm_up:
                return peak * step / warm_up
            return least + (peak - least) * (stage.steps - step) / (stage.steps - warm_up)

        return rate

    def _chosen(self, preset: Preset) -> LoraParameters:
        chosen: LoraParameters = self.parse(preset.parameters)
        return chosen


class Adapters(Repeated):
    """Next-token training of adapters alone, on the same rows again and again.

    Args:
        chosen: the parameters.
        stage: the only one.
        seed: of the adapters' first values and of the later epochs' orders.
    """

    def __init__(self, chosen: LoraParameters, stage: Stage, seed: int):
        super().__init__(stage.stop // chosen.epochs, seed)
        self.chosen = chosen
        #: By name: what is trained, and the layers that have an adapter.
        self.trained: dict[str, Any] = {}
        self.layers: dict[str, Any] = {}

    def attach(self, model: Any) -> None:
        """Put an adapter into each of the layers; the rest of the model is frozen.

        Raises:
            UserError: the model has no such layer.
        """
        import torch
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        chosen = self.chosen
        config = LoraConfig(
            r=chosen.rank,
            lora_alpha=chosen.alpha,  # type: ignore[arg-type]
            lora_dropout=chosen.dropout,
            target_modules=self._names(model),
            bias="none",
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed_for("lora", self.seed))
            inject_adapter_in_model(config, model, _ADAPTER)
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.layers = {n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)}

    def _names(self, model: Any) -> list[str]:
        """Return the names of the layers that get an adapter."""
        names = [linear.name.removesuffix(".weight") for linear in all_linears(model)]
        if self.chosen.targets is None:
            return names
        last = {name: name.rpartition(".")[2] for name in names}
        if missing := set(self.chosen.targets) - set(last.values()):
            allowed = ", ".join(dict.fromkeys(last.values()))
            raise UserError(f"lora: targets: no layer {min(missing)!r} (allowed: {allowed})")
        return [name for name in names if last[name] in self.chosen.targets]

    def weights(self, state: dict[str, Any], *, finished: bool) -> dict[str, Any]:
        """Return the model's weights by their own names; at the end with the adapters' products."""
        plain = {
            name.replace(".base_layer.", "."): tensor
            for name, tensor in state.items()
            if name not in self.trained
        }
        if finished:
            for name, layer in self.layers.items():
                weight = plain[f"{name}.weight"]
                change = layer.get_delta_weight(_ADAPTER).detach().to(weight.device)
                plain[f"{name}.weight"] = weight + change
        return plain

    def flops(self, parameters: int, tokens: int) -> int:
        """Count the operations of a step: no gradients of frozen weights, but those of adapters."""
        adapters = sum(parameter.numel() for parameter in self.trained.values())
        return (4 * parameters + 6 * adapters) * tokens

    def state(self) -> State:
        """Return the adapters."""
        return State({name: parameter.detach() for name, parameter in self.trained.items()})

    def restore(self, state: State) -> None:
        """Take up the adapters."""
        import torch

        with torch.no_grad():
            for name, tensor in state.tensors.items():
                self.trained[name].copy_(tensor)


SPEC = Lora()
