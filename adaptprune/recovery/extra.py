"""Training of an objective's extra parameters, which every process holds whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from adaptprune.recovery.objective import State

if TYPE_CHECKING:
    from adaptprune.recovery.objective import Objective

_PARAMETERS, _MOMENTS, _OWN = "parameters/", "moments/", "own/"


class ExtraTraining:
    """The optimiser of an objective's extra parameters; does nothing where there are none.

    Args:
        objective: what is minimised.
    """

    def __init__(self, objective: Objective):
        self.objective = objective
        self.groups = objective.extra_parameters()
        self.named = {k: p for group in self.groups for k, p in group.parameters.items()}
        settings = [
            {"params": list(group.parameters.values()), "maximize": group.maximise}
            for group in self.groups
        ]
        self.optimizer = torch.optim.AdamW(settings, lr=0.0, weight_decay=0.0) if settings else None

    def step(self, accelerator: Any) -> None:
        """Update the extra parameters from gradients that each process holds its part of."""
        if self.optimizer is None:
            return
        for group, settings in zip(self.groups, self.optimizer.param_groups, strict=True):
            settings["lr"] = group.learning_rate
        for parameter in self.named.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            # The loop scales every process's loss by the number of processes.
            parameter.grad = accelerator.reduce(parameter.grad, "mean")
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state(self) -> State:
        """Return the extra parameters, their moments and the objective's own state, on the CPU."""
        own = self.objective.state()
        tensors = {_OWN + name: tensor for name, tensor in own.tensors.items()}
        for name, parameter in self.named.items():
            tensors[_PARAMETERS + name] = parameter
            moments = self.optimizer.state.get(parameter, {}) if self.optimizer else {}
            tensors |= {f"{_MOMENTS}{name}/{key}": value for key, value in moments.items()}
        stored = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
        return State(stored, own.values)

    def restore(self, state: State) -> None:
        """Take up what ``state`` gave."""
        own = {}
        with torch.no_grad():
            for name, tensor in state.tensors.items():
                if name.startswith(_OWN):
                    own[name.removeprefix(_OWN)] = tensor
                elif name.startswith(_PARAMETERS):
                    self.named[name.removeprefix(_PARAMETERS)].copy_(tensor)
                else:
                    parameter, _, key = name.removeprefix(_MOMENTS).rpartition("/")
                    target = self.named[parameter]
                    assert self.optimizer is not None, "moments belong to extra parameters"
                    # As torch does it: the count of steps stays on the CPU.
                    place = tensor.device if key == "step" else target.device
                    self.optimizer.state[target][key] = tensor.to(place)
        self.objective.restore(State(own, state.values))
