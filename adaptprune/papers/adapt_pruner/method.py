"""Adapt-Pruner (Algorithm 1): many small prunings, each layer by its importance at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pydantic

from adaptprune.errors import UserError
from adaptprune.models.shapes import ModelShape, layer_range, layer_target, uniform_blocks
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Context, Method, Passes, Pruned, Scores
from adaptprune.pruning.units import KeptUnits, LayerUnits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.models.shapes import BlockShape

#: A layer never loses more than this share of its dense units (official code).
MAXIMUM_SPARSITY = 0.99


class AdaptPrunerParameters(Parameters):
    """Parameters of Adapt-Pruner; the defaults are those of the paper's Table 8.

    What matters for adaptivity is amplitude divided by step size: the paper's best is an
    amplitude of 0.02 with steps of 1 % (50 % sparsity in 50 steps).
    """

    steps: int | None = pydantic.Field(None, ge=1, le=1000)
    step_size: float | None = pydantic.Field(None, gt=0, lt=100)
    amplitude: float = pydantic.Field(0.02, ge=0, le=1)
    layer_distance: Literal["cosine", "euclidean", "manhattan"] = "cosine"
    sparsity_rule: Literal["accumulate", "printed"] = "accumulate"
    alignment: Literal["official", "corrected"] = "official"
    distance_sign: Literal["official", "corrected"] = "official"
    layer_start: int = pydantic.Field(0, ge=0)
    layer_end: int | None = pydantic.Field(None, ge=1)

    @pydantic.model_validator(mode="after")
    def _one_way_to_count_steps(self) -> AdaptPrunerParameters:
        if self.steps is not None and self.step_size is not None:
            raise ValueError("give steps or step_size, not both")
        return self

    def count_steps(self, sparsity: int) -> int:
        """Return how many steps lead to a sparsity (percent).

        Raises:
            UserError: the step size does not divide the sparsity.
        """
        if self.step_size is None:
            return self.steps or 50
        count = round(sparsity / self.step_size)
        if count < 1 or abs(count * self.step_size - sparsity) > 1e-9:
            raise UserError(
                f"adapt-pruner: step_size {self.step_size:g} does not divide sparsity {sparsity}"
            )
        return count

    def increment(self, sparsity: int) -> float:
        """Return the sparsity (fraction) that one step adds on average."""
        if self.step_size is not None:
            return self.step_size / 100
        return sparsity / 100 / self.count_steps(sparsity)


class AdaptPruner(Method):
    """Layer-wise adaptive pruning (Adapt-Pruner, section 3.1)."""

    name = "adapt-pruner"
    title = "Adapt-Pruner"
    version = 1
    citation = "Adapt-Pruner, arXiv 2502.03460"
    parameters = AdaptPrunerParameters

    def shares_scores(self, parameters: AdaptPrunerParameters) -> bool:
        """A fixed step size makes every sparsity a point of one trajectory."""
        return parameters.step_size is not None and parameters.sparsity_rule == "accumulate"

    def check(self, sparsity: int, parameters: AdaptPrunerParameters) -> None:
        """Refuse a sparsity that whole steps do not reach."""
        super().check(sparsity, parameters)
        parameters.count_steps(sparsity)

    def passes(self, shape: ModelShape, sparsity: int, parameters: AdaptPrunerParameters) -> Passes:
        """Every step takes fresh gradients."""
        return Passes(gradient=parameters.count_steps(sparsity))

    def score(
        self,
        model: Any,
        context: Context,
        parameters: AdaptPrunerParameters,
        sparsities: Sequence[int],
    ) -> Scores:
        """Walk the trajectory to the largest sparsity and note the kept units on the way."""
        import torch

        wanted = {parameters.count_steps(sparsity): sparsity for sparsity in sparsities}
        if len(set(sparsities)) > 1 and not self.shares_scores(parameters):
            raise UserError(
                "adapt-pruner: sparsities share scores only with step_size and rule accumulate"
            )
        trajectory = Trajectory(model, parameters, max(sparsities))
        tensors: dict[str, torch.Tensor] = {}
        for step in range(1, max(wanted) + 1):
            trajectory.advance(step, context)
            if step in wanted:
                for index, units in enumerate(trajectory.kept.layers):
                    prefix = f"{wanted[step]}.{index}"
                    tensors[f"{prefix}.kv_heads"] = torch.tensor(units.kv_heads, dtype=torch.int32)
                    tensors[f"{prefix}.mlp"] = torch.tensor(units.mlp, dtype=torch.int32)
        return Scores(tensors, {"steps": trajectory.log})

    def prune(
        self,
        model: Any,
        scores: Scores | None,
        sparsity: int,
        context: Context,
        parameters: AdaptPrunerParameters,
    ) -> Pruned:
        """Take a point of a stored trajectory, or walk there."""
        steps = parameters.count_steps(sparsity)
        if scores is None:
            trajectory = Trajectory(model, parameters, sparsity)
            for step in range(1, steps + 1):
                trajectory.advance(step, context)
            return Pruned(trajectory.kept, already_cut=True, steps=trajectory.log)
        from adaptprune.models.anatomy import blocks_of

        count = len(blocks_of(model))
        if f"{sparsity}.0.mlp" not in scores.tensors:
            raise UserError(f"the score file holds no trajectory point at sparsity {sparsity}")
        kept = KeptUnits(
            tuple(
                LayerUnits(
                    tuple(scores.tensors[f"{sparsity}.{index}.kv_heads"].tolist()),
                    tuple(scores.tensors[f"{sparsity}.{index}.mlp"].tolist()),
                )
                for index in range(count)
            )
        )
        return Pruned(kept, steps=scores.log["steps"][:steps])

    def budget(self, shape: ModelShape, sparsity: int, parameters: AdaptPrunerParameters) -> Budget:
        """Bound the count by the most and the least important layer that there can be.

        The bounds are summed step by step as the sparsities themselves are: floats truncate
        differently otherwise.
        """
        layers = layer_range(shape, parameters.layer_start, parameters.layer_end)
        steps, increment = parameters.count_steps(sparsity), parameters.increment(sparsity)

        def cut(importance: float) -> list[BlockShape]:
            amplitude = parameters.amplitude
            if parameters.sparsity_rule == "printed":
                reached = printed_sparsities([importance], increment * steps, amplitude)
            else:
                reached = [0.0]
                for _ in range(steps):
                    reached = next_sparsities(reached, [importance], increment, amplitude)
            return uniform_blocks(shape, reached[0], layers)

        if parameters.amplitude == 0:
            return Budget.exact(shape, cut(0.0))
        fewest, most = (shape.with_blocks(cut(importance)) for importance in (-1.0, 1.0))
        return Budget(fewest.parameters, most.parameters)


def next_sparsities(
    current: Sequence[float],
    importance: Sequence[float],
    increment: float,
    amplitude: float,
) -> list[float]:
    """Move every layer's sparsity by one step, as the official code does.

    s_t = clamp(s_{t-1} + S/T − A·I_t, 0, 0.99), summed in Python floats.

    Args:
        current: sparsity of each layer so far (fractions).
        importance: normalised importance of each layer, in [-1, 1].
        increment: S/T, the mean increase.
        amplitude: A of Eq. 6.
    """
    return [
        min(max(sparsity + increment - amplitude * value, 0.0), MAXIMUM_SPARSITY)
        for sparsity, value in zip(current, importance, strict=True)
    ]


def printed_sparsities(importance: Sequence[float], target: float, amplitude: float) -> list[float]:
    """Return Eq. 6 as printed: S − A·I with the sparsity S that this step aims at, clamped."""
    return [min(max(target - amplitude * value, 0.0), MAXIMUM_SPARSITY) for value in importance]


class Trajectory:
    """The state of Algorithm 1 between two steps.

    Args:
        model: the dense model, cut in place step by step.
        parameters: the method's parameters.
        sparsity: the percentage that the last step reaches.
    """

    def __init__(self, model: Any, parameters: AdaptPrunerParameters, sparsity: int):
        from adaptprune.models.sizes import shape_of_model

        self.model = model
        self.parameters = parameters
        self.increment = parameters.increment(sparsity)
        self.dense = shape_of_model(model)
        self.layers = layer_range(self.dense, parameters.layer_start, parameters.layer_end)
        self.sparsities = [0.0] * len(self.layers)
        self.kept = KeptUnits.everything(self.dense)
        self.log: list[dict[str, Any]] = []

    def advance(self, step: int, context: Context) -> None:
        """Take one step (counted from 1): fresh importances, new sparsities, one cut."""
        from adaptprune.pruning.importance import group_importance, normalise
        from adaptprune.pruning.surgery import cut_layers

        assert context.tokens is not None, "adapt-pruner needs calibration tokens"
        parameters = self.parameters
        importance = group_importance(
            self.model,
            context.tokens,
            ratio=self.dense.queries_per_kv_head,
            alignment=parameters.alignment,
            distance=parameters.layer_distance,
            sign=parameters.distance_sign,
        )
        assert importance.layers is not None
        raw = importance.layers[self.layers.start : self.layers.stop]
        normalised = normalise(raw).tolist()
        if parameters.sparsity_rule == "accumulate":
            self.sparsities = next_sparsities(
                self.sparsities, normalised, self.increment, parameters.amplitude
            )
        else:
            target = self.increment * step
            self.sparsities = printed_sparsities(normalised, target, parameters.amplitude)
        selected = self._select(importance.kv_heads, importance.neurons)
        cut_layers(self.model, selected)
        self.kept = self.kept.compose(selected)
        blocks = self.kept.blocks()
        self.log.append(
            {
                "step": step,
                "loss_before": importance.loss,
                "layer_importance_raw": raw.tolist(),
                "layer_importance": normalised,
                "target_sparsity": self.sparsities,
                "kv_heads": [block.kv_heads for block in blocks],
                "intermediate_size": [block.intermediate_size for block in blocks],
                "params": self.dense.with_blocks(blocks).parameters,
            }
        )

    def _select(self, kv_heads: list[Any], neurons: list[Any]) -> KeptUnits:
        """Choose what stays of the present model; indices count in the present model."""
        from adaptprune.pruning.selection import keep_blocks

        blocks = self.kept.blocks()
        for index, sparsity in zip(self.layers, self.sparsities, strict=True):
            blocks[index] = layer_target(
                self.dense, self.dense.blocks[index], blocks[index], sparsity
            )
        return keep_blocks(kv_heads, neurons, blocks)


SPEC = AdaptPruner()
