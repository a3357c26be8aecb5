"""Adapt-Accel (section 3.2): prune a little, train a little, N_P times.

Every stage prunes with Adapt-Pruner to the stage's parameter count and then trains on the stage's
share of the data; one learning-rate schedule runs through all stages. ``AdaptAccelParameters``
and ``recover.presets`` list what the released scripts do where the paper is silent.

Inside a stage Adapt-Pruner begins anew on the model as it is: the sparsity s of every layer
restarts at 0 and counts from the layer's current width, importances are fresh at every step, and
each step adds 1/50 on average. The first count below the target ends the stage's pruning, so it
overshoots by up to one step; a model that is already below the target is not pruned.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar

import pydantic

from adaptprune.errors import UserError
from adaptprune.models.shapes import BlockShape, ModelShape
from adaptprune.papers.adapt_pruner.method import AdaptPrunerParameters, Trajectory
from adaptprune.plugins import Parameters
from adaptprune.pruning.units import KeptUnits
from adaptprune.recovery.method import Beginning, Prepared, RecoveryMethod
from adaptprune.recovery.plan import Draft
from adaptprune.recovery.schedules import Spacing, data_shares, parameter_targets

if TYPE_CHECKING:
    import torch

    from adaptprune.pruning.method import Context
    from adaptprune.recovery.recipe import Preset
    from adaptprune.recovery.targets import Target

#: Adapt-Pruner's percentage in a stage: ``pruning_ratio 1.00``, reached only if nothing stops it.
_FULL = 100


def smallest(shape: ModelShape) -> int:
    """Return the parameters of a model with one kv head and one neuron in every layer."""
    return shape.with_blocks([BlockShape(1, 1)] * len(shape.blocks)).parameters


def check_target(shape: ModelShape, target: int) -> None:
    """Refuse a target that cutting heads and neurons cannot reach.

    Raises:
        UserError: naming the smallest count.
    """
    if target <= smallest(shape):
        raise UserError(
            f"target of {target:,} parameters: cutting heads and neurons leaves this model at "
            f"least {smallest(shape):,}"
        )


def prune_to(
    model: Any, target: int, context: Context, parameters: AdaptPrunerParameters
) -> tuple[KeptUnits, list[dict[str, Any]]]:
    """Prune a model in place until it has fewer parameters than the target.

    Args:
        model: a supported causal language model.
        target: parameters of the whole model, a tied embedding counted once.
        context: calibration tokens.
        parameters: of Adapt-Pruner.

    Returns:
        Kept units, counted in the model as it was, and one record per step.

    Raises:
        UserError: all steps together do not lead there.
    """
    trajectory = Trajectory(model, parameters, _FULL)
    if trajectory.dense.parameters <= target:
        return trajectory.kept, []
    for step in range(1, parameters.count_steps(_FULL) + 1):
        trajectory.advance(step, context)
        if trajectory.log[-1]["params"] < target:
            return trajectory.kept, trajectory.log
    raise UserError(
        f"target of {target:,} parameters: {step} steps of Adapt-Pruner end at "
        f"{trajectory.log[-1]['params']:,}; lower its amplitude, or prune in more stages"
    )


def cut_moments(
    dense: Any, kept: KeptUnits, moments: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Cut the moments of AdamW with the units that stay.

    Moments have the shapes of the weights, so the model that held those serves to cut them.

    Args:
        dense: the model before it was cut; its weights are replaced.
        kept: units that stay.
        moments: ``NAME/exp_avg``, ``NAME/exp_avg_sq`` and ``NAME/step`` of its parameters.
    """
    import copy

    from adaptprune.pruning.surgery import cut_layers

    result = dict(moments)
    for kind in ("exp_avg", "exp_avg_sq"):
        twin = copy.deepcopy(dense)
        for name, parameter in twin.named_parameters():
            parameter.data.copy_(moments[f"{name}/{kind}"])
        cut_layers(twin, kept)
        for name, parameter in twin.named_parameters():
            result[f"{name}/{kind}"] = parameter.detach().cpu().contiguous()
    return result


class AdaptAccelParameters(Parameters):
    """Parameters of Adapt-Accel; the defaults are those of the released scripts.

    Args:
        interleaves: N_P, how often the model is pruned and then trained (scripts: 20); once is
            the paradigm "prune, then train".
        schedule: how the parameter targets are spaced (scripts: linear; Figure 3: geometric).
        carry_moments: whether the moments of AdamW are cut with the kept units and carried into
            the next stage. The scripts start a process, and so a fresh AdamW, in every stage; the
            paper says nothing.
        pruner: parameters of Adapt-Pruner inside a stage. One step adds a sparsity of 1/steps
            (scripts: ``pruning_ratio 1.00`` in 50 steps, amplitude 0.02), and the first count
            below the stage's target ends the pruning.
    """

    interleaves: int = pydantic.Field(20, ge=1, le=1000)
    schedule: Spacing = "linear"
    carry_moments: bool = False
    pruner: AdaptPrunerParameters = AdaptPrunerParameters.model_validate({})


class AdaptAccel(RecoveryMethod):
    """Interleaved pruning and training."""

    name = "adapt-accel"
    title = "Adapt-Accel"
    version = 1
    citation = "Adapt-Pruner, arXiv 2502.03460"
    parameters: ClassVar[type[Parameters]] = AdaptAccelParameters
    target = "parameters"
    needs_calibration = True

    def check(self, preset: Preset, shape: ModelShape | None, target: Target | None) -> None:
        """Refuse a target that cutting heads and neurons cannot reach in so many stages."""
        super().check(preset, shape, target)
        assert shape is not None
        assert target is not None
        chosen = self.parse(preset.parameters)
        large, small = shape.parameters, target.parameters
        try:
            parameter_targets(large, small, chosen.interleaves, chosen.schedule)
            check_target(shape, small)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Share the data and the sizes out among the stages; all share one learning rate."""
        assert shape is not None
        assert target is not None
        chosen = self.parse(preset.parameters)
        shares = data_shares(rows, chosen.interleaves)
        sizes = parameter_targets(
            shape.parameters, target.parameters, chosen.interleaves, chosen.schedule
        )
        looked_up = shape.parameters - shape.compute_parameters
        stops = itertools.accumulate(shares)
        return [
            Draft(start=stop - share, stop=stop, target=size, parameters=size - looked_up)
            for share, stop, size in zip(shares, stops, sizes, strict=True)
        ]

    def prepare(self, beginning: Beginning) -> Prepared:
        """Prune the model to the stage's target, and its moments with it if they are carried."""
        import copy

        from adaptprune.models.checkpoint import count_compute_parameters, pruned_config
        from adaptprune.models.sizes import shape_of_model
        from adaptprune.recovery import checkpoints

        stage, before = beginning.stage, beginning.before
        chosen = self.parse(beginning.settings.preset.parameters)
        assert stage.target is not None, "every stage prunes"
        model = beginning.load()
        shape, work = shape_of_model(model), count_compute_parameters(model)
        stored = checkpoints.read_optimizer(before) if before and chosen.carry_moments else None
        dense = copy.deepcopy(model) if stored is not None else None
        kept, steps = prune_to(model, stage.target, beginning.context, chosen.pruner)
        after = shape_of_model(model)
        moments = cut_moments(dense, kept, stored.tensors) if stored is not None else None
        kept_before = beginning.kept()
        # Units of a model that lost layers or hidden channels too count in no model of this kind.
        if kept_before is not None and kept_before.keys() == {"layers"}:
            kept = KeptUnits.from_json(kept_before).compose(kept)
        record = {
            "target": stage.target,
            "params_before": shape.parameters,
            "params": after.parameters,
            "steps": [{"params": s["params"], "loss_before": s["loss_before"]} for s in steps],
            "kv_heads": [block.kv_heads for block in kept.blocks()],
            "intermediate_size": [block.intermediate_size for block in kept.blocks()],
        }
        # Each step is a forward and a backward pass over the calibration tokens.
        assert beginning.context.tokens is not None
        sizes = [shape.parameters, *(step["params"] for step in steps[:-1])][: len(steps)]
        lost = [shape.parameters - size for size in sizes]
        flops = sum(6 * (work - less) for less in lost) * beginning.context.tokens.numel()
        return Prepared(
            model,
            pruned_config(model, after),
            kept.to_json(shape),
            record,
            flops,
            moments,
        )


SPEC = AdaptAccel()
