"""Adapt-Accel (section 3.2): prune a little, train a little, N_P times.

Every stage prunes with Adapt-Pruner to the stage's parameter count and then trains on the stage's
share of the data; one learning-rate schedule runs through all stages. ``recover.presets`` lists
what the released scripts do where the paper is silent.

Inside a stage Adapt-Pruner begins anew on the model as it is: the sparsity s of every layer
restarts at 0 and counts from the layer's current width, importances are fresh at every step, and
each step adds 1/50 on average. The first count below the target ends the stage's pruning, so it
overshoots by up to one step; a model that is already below the target is not pruned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.pruner import AdaptPrunerParameters, Trajectory
from adaptprune.shapes import BlockShape, ModelShape
from adaptprune.units import KeptUnits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from adaptprune.method import Context
    from adaptprune.recover.folder import RunFolder, Settings
    from adaptprune.recover.plan import Stage

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

    from adaptprune.surgery import cut_layers

    result = dict(moments)
    for kind in ("exp_avg", "exp_avg_sq"):
        twin = copy.deepcopy(dense)
        for name, parameter in twin.named_parameters():
            parameter.data.copy_(moments[f"{name}/{kind}"])
        cut_layers(twin, kept)
        for name, parameter in twin.named_parameters():
            result[f"{name}/{kind}"] = parameter.detach().cpu().contiguous()
    return result


def prune_stage(folder: RunFolder, settings: Settings, stage: Stage, context: Context) -> None:
    """Prune the model that a stage begins with and publish its first checkpoint.

    Args:
        folder: the run folder; its newest checkpoint ends the stage before, if there was one.
        settings: of the recovery.
        stage: the stage, which has a target.
        context: calibration tokens on the execution's device.
    """
    import copy

    from adaptprune.checkpoint import load_model, pruned_config
    from adaptprune.files import read_json
    from adaptprune.recover import checkpoints
    from adaptprune.recover.checkpoints import Progress
    from adaptprune.surgery import shape_of_model

    assert stage.target is not None, "only a stage with a target prunes"
    before = checkpoints.newest(folder.checkpoints)
    model = load_model(before or settings.source, device=settings.execution.device)
    shape, carry = shape_of_model(model), settings.preset.carry_moments
    moments = checkpoints.read_moments(before) if before and carry else None
    dense = copy.deepcopy(model) if moments is not None else None
    kept, steps = prune_to(model, stage.target, context, settings.preset.pruner)
    if moments is not None:
        moments = cut_moments(dense, kept, moments)
    earlier = checkpoints.read_progress(before).prunings if before else []
    kept_before = (before or settings.source) / "kept.json"
    if kept_before.is_file():
        kept = KeptUnits.from_json(read_json(kept_before)).compose(kept)
    record = {
        "stage": stage.number,
        "target": stage.target,
        "params_before": shape.parameters,
        "params": shape_of_model(model).parameters,
        "steps": [{"params": s["params"], "loss_before": s["loss_before"]} for s in steps],
        "kv_heads": [block.kv_heads for block in kept.blocks()],
        "intermediate_size": [block.intermediate_size for block in kept.blocks()],
    }
    checkpoints.write_checkpoint(
        folder.checkpoints,
        Progress(stage=stage.number, step=0, position=stage.start, prunings=[*earlier, record]),
        model=model,
        config=pruned_config(model, shape_of_model(model)),
        source=settings.source,
        moments=moments,
        kept=kept.to_json(shape),
    )


def interleave(
    folder: RunFolder, context: Context | None, train: Callable[[RunFolder], None]
) -> Path:
    """Prune and train stage by stage from wherever the run folder stands.

    Args:
        folder: a run folder with settings and packed rows.
        context: calibration tokens, where the preset prunes.
        train: trains the present stage to its end; in this process or in others.

    Returns:
        The last checkpoint.
    """
    from adaptprune.recover import checkpoints

    settings = folder.settings()
    checkpoints.remove_leftovers(folder.checkpoints)
    for stage in settings.stages:
        newest = checkpoints.newest(folder.checkpoints)
        progress = checkpoints.read_progress(newest) if newest else None
        if progress and progress.stage > stage.number:
            continue
        if stage.target is not None and (progress is None or progress.stage < stage.number):
            assert context is not None, "a preset that prunes has calibration tokens"
            prune_stage(folder, settings, stage, context)
            progress = None
        if progress is None or progress.step < stage.trained_steps:
            train(folder)
    last = checkpoints.newest(folder.checkpoints)
    assert last is not None, "every stage leaves a checkpoint"
    return last
