"""Models that remember earlier passes, as dynamic rotary frequencies grow with the longest text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

#: Attributes of a module that a pass may change; anything else is left alone.
_PLAIN = (int, float, torch.Tensor, type(None))


@dataclass
class _Value:
    """One remembered value: where it is kept, and a copy that nobody changes."""

    place: dict[str, Any]
    name: str
    seen: Any
    version: int
    copy: Any

    @classmethod
    def of(cls, place: dict[str, Any], name: str) -> _Value:
        value = place[name]
        copy = value.clone() if isinstance(value, torch.Tensor) else value
        return cls(place, name, value, getattr(value, "_version", 0), copy)

    def restore(self) -> None:
        """Put the value back where it was replaced or written to."""
        present = self.place.get(self.name)
        if present is self.seen and getattr(present, "_version", 0) == self.version:
            return
        self.seen = self.copy.clone() if isinstance(self.copy, torch.Tensor) else self.copy
        self.version = getattr(self.seen, "_version", 0)
        self.place[self.name] = self.seen


class FreshState:
    """What a model computes with besides its weights, as it was when this was made.

    The buffers that no checkpoint holds, and the plain attributes of the modules that have such
    buffers: rotary frequencies, and the longest position that they were computed for.
    """

    def __init__(self, model: nn.Module) -> None:
        """Remember the state of a model that no text went through yet."""
        self._values = [
            _Value.of(place, name)
            for module in model.modules()
            if module._non_persistent_buffers_set
            for place, names in (
                (module._buffers, module._non_persistent_buffers_set),
                (vars(module), [n for n, v in vars(module).items() if isinstance(v, _PLAIN)]),
            )
            for name in names
        ]

    def restore(self) -> None:
        """Put the state back, so that the next pass is as the first one."""
        for value in self._values:
            value.restore()
