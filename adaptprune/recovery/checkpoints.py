"""Checkpoints of a recovery: whole folders of safetensors and JSON, of which the newest counts.

A checkpoint is a model folder that loads like any other, plus ``training/``: the state of the
optimiser (the moments of AdamW), that of every process's random generators, and where the
recovery stands.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pydantic
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.nn.parallel import DistributedDataParallel

from adaptprune.errors import UserError
from adaptprune.files.atomic import (
    atomic_directory,
    read_json,
    remove_folder,
    write_json,
    write_sealed_json,
)
from adaptprune.files.manifest import verify_folder, write_manifest
from adaptprune.models.checkpoint import save_model
from adaptprune.recovery.objective import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: States are gathered whole and on the CPU, also of a sharded model.
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
_MOMENTS, _RANDOM = "training/moments.safetensors", "training/random.safetensors"
_OPTIMIZER = "training/optimizer.json"
_OBJECTIVE = "training/objective.safetensors"
Tensors = dict[str, torch.Tensor]


class Progress(pydantic.BaseModel):
    """Where a recovery stands.

    Args:
        stage: counted from 1.
        step: optimiser steps taken in this stage.
        position: rows of the seeded order that have been used.
        prunings: record of what was done to the model before each stage so far.
        flops: floating-point operations so far, those between stages included.
        preparing_s: seconds that the work between stages has taken.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    stage: int
    step: int
    position: int
    prunings: list[dict[str, Any]] = []
    flops: int = 0
    preparing_s: float = 0.0

    @property
    def name(self) -> str:
        """Name of the checkpoint; names sort as the recovery goes on."""
        return f"stage-{self.stage:04d}-step-{self.step:09d}"


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, or None.

    Raises:
        UserError: the checkpoint is damaged.
    """
    found = sorted(folder.glob("stage-*"))
    if not found:
        return None
    verify_folder(found[-1], cure="run again")
    return found[-1]


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while writing left in a folder."""
    for leftover in folder.glob(".stage-*"):
        shutil.rmtree(leftover)


def read_progress(checkpoint: Path) -> Progress:
    """Return where a checkpoint's recovery stood."""
    return Progress.model_validate(read_json(checkpoint / "training" / "progress.json"))


def write_checkpoint(
    folder: Path,
    progress: Progress,
    *,
    model: Any,
    config: Any,
    source: Path,
    state: Tensors | None = None,
    optimizer: State | None = None,
    random_states: Tensors | None = None,
    objective: State | None = None,
    kept: dict[str, Any] | None = None,
    write: Callable[[Path, Tensors], None] | None = None,
) -> Path:
    """Publish a checkpoint whole and remove the older ones.

    Args:
        folder: where the checkpoints of this recovery lie.
        progress: where it stands.
        model: the model, unwrapped.
        config: the config that its weights belong to.
        source: the folder whose tokenizer goes along.
        state: the model's gathered state dict, where it is sharded.
        optimizer: see ``optimizer_state``; none before a stage's first step.
        random_states: see ``random_states``.
        objective: state of the objective and of its extra parameters.
        kept: content of ``kept.json``: units that stay of the model the recovery began with.
        write: see ``Objective.write``; it is given ``state``.
    """
    target = folder / progress.name
    with atomic_directory(target) as temporary:
        (temporary / "training").mkdir()
        if kept is not None:
            write_sealed_json(temporary / "kept.json", kept)
        if write is not None and state is not None:
            write(temporary, state)
        save_model(temporary, model, config, source, state)
        for name, tensors in (
            (_MOMENTS, optimizer.tensors if optimizer else None),
            (_RANDOM, random_states),
            (_OBJECTIVE, objective.tensors if objective else None),
        ):
            if tensors is not None:
                save_file(tensors, temporary / name)
        if optimizer is not None and optimizer.values:
            write_json(temporary / _OPTIMIZER, optimizer.values)
        if objective is not None:
            write_json(temporary / "training" / "objective.json", objective.values)
        write_json(temporary / "training" / "progress.json", progress.model_dump())
        write_manifest(temporary)
    for older in sorted(folder.glob("stage-*")):
        if older.name < target.name:
            remove_folder(older)
    return target


def model_state(model: Any) -> Tensors:
    """Gather a model's weights, by the names of the unwrapped model, in the main process."""
    state: Any = get_model_state_dict(model, options=_WHOLE)
    return {name: _compact(tensor) for name, tensor in state.items()}


def optimizer_state(model: Any, optimizer: torch.optim.Optimizer) -> State:
    """Gather what an optimiser remembers of each parameter, as ``NAME/KEY``.

    AdamW remembers ``exp_avg``, ``exp_avg_sq`` and ``step``. Another one may remember tensors of
    any shape and kind, and plain numbers. Only the main process is given anything of a sharded
    model.
    """
    if _is_sharded(model):
        gathered: Any = get_optimizer_state_dict(model, optimizer, options=_WHOLE)
        remembered = gathered.get("state", {})
    else:
        remembered = {
            name: optimizer.state[parameter]
            for name, parameter in _named_parameters(model).items()
            if parameter in optimizer.state
        }
    result = State()
    for name, entry in remembered.items():
        for key, value in entry.items():
            if isinstance(value, torch.Tensor):
                result.tensors[f"{name}/{key}"] = _compact(value)
            else:
                result.values[f"{name}/{key}"] = value
    return result


def _is_sharded(model: Any) -> bool:
    """Tell whether each process holds a part of the weights alone."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    parts = any(isinstance(parameter, DTensor) for parameter in model.parameters())
    return parts or any(isinstance(part, FullyShardedDataParallel) for part in model.modules())


def _named_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters by the names that they have in the unwrapped model."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return dict(inner.named_parameters())


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a CPU tensor that fills its storage; a gathered shard's may be padded."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def read_optimizer(checkpoint: Path) -> State | None:
    """Return the stored state of the optimiser, or None where a stage starts with a fresh one."""
    path, numbers = checkpoint / _MOMENTS, checkpoint / _OPTIMIZER
    if not path.is_file():
        return None
    return State(load_file(path), read_json(numbers) if numbers.is_file() else {})


def read_objective(checkpoint: Path) -> State | None:
    """Return the stored state of an objective, or None at the beginning of a stage.

    Extra parameters are among its tensors as ``parameters/NAME`` (see ``ExtraTraining``).
    """
    path = checkpoint / _OBJECTIVE
    if not path.is_file():
        return None
    return State(load_file(path), read_json(checkpoint / "training" / "objective.json"))


def restore_optimizer(model: Any, optimizer: torch.optim.Optimizer, stored: State) -> None:
    """Give an optimiser that has taken no step the state that ``optimizer_state`` gathered.

    Learning rates and other settings are those of the optimiser, not stored ones. Where the model
    is sharded, torch lays out the state by a step with rates and gradients of 0.
    """
    state: dict[str, dict[str, Any]] = {}
    for key, value in (stored.tensors | stored.values).items():
        name, _, kind = key.rpartition("/")
        state.setdefault(name, {})[kind] = value
    if _is_sharded(model):
        layout: Any = get_optimizer_state_dict(model, optimizer)
        wanted: Any = {"state": state, "param_groups": layout["param_groups"]}
        set_optimizer_state_dict(model, optimizer, wanted, options=_WHOLE)
        return
    counted_on_device = {
        parameter
        for group in optimizer.param_groups
        if group.get("fused") or group.get("capturable")
        for parameter in group["params"]
    }
    parameters = _named_parameters(model)
    for name, entry in state.items():
        parameter = parameters[name]
        for kind, value in entry.items():
            # As torch does it: a count of steps stays on the CPU, unless a kernel reads it.
            if isinstance(value, torch.Tensor) and (value.dim() or parameter in counted_on_device):
                value = value.to(parameter.device)
            optimizer.state[parameter][kind] = value


def random_states(accelerator: Any) -> Tensors:
    """Gather the states of all processes' random generators, one row per process."""
    states = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    return {
        name: accelerator.gather(state[None].to(accelerator.device)).cpu()
        for name, state in states.items()
    }


def restore_random_states(accelerator: Any, checkpoint: Path) -> None:
    """Set this process's random generators to their state in a checkpoint.

    Raises:
        UserError: the checkpoint was written by another number of processes.
    """
    states = load_file(checkpoint / _RANDOM)
    if len(states["cpu"]) != accelerator.num_processes:
        raise UserError(
            f"{checkpoint} was written by {len(states['cpu'])} processes, this training runs "
            f"{accelerator.num_processes}; go on with as many"
        )
    # Cloned, for torch misreads a state that is a view into a larger storage, up to a crash.
    torch.set_rng_state(states["cpu"][accelerator.process_index].clone())
    if "cuda" in states and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"][accelerator.process_index].clone())
