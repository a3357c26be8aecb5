"""How a stage computes: dtype, device, threads, and only deterministic algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.errors import UserError
from adaptprune.machine.allocator import keep_freed_memory
from adaptprune.machine.devices import choose_repeatable_products, hold_devices
from adaptprune.models import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Runtime:
    """How a stage computes.

    Args:
        dtype: name of the torch dtype of the weights.
        device: torch device.
        threads: CPU threads; part of the configuration, since sums depend on it.
        trust_remote_code: whether code in a model folder may be run.
        gpus: how many of them the job occupies, where the device is ``cuda`` without a number.
        begin: called before a model is loaded, when all that can be checked without it was.
    """

    dtype: str = "float32"
    device: str = "cpu"
    threads: int | None = None
    trust_remote_code: bool = False
    gpus: int = 1
    begin: Callable[[], None] | None = None

    def apply(self) -> None:
        """Set what is global: memory, threads, a free GPU, and only deterministic algorithms.

        Raises:
            UserError: the dtype or the device does not exist here.
        """
        if not getattr(getattr(torch, self.dtype, None), "is_floating_point", False):
            raise UserError(f"unknown dtype {self.dtype!r} (allowed: float32, bfloat16, float16)")
        choose_repeatable_products()
        if self.device == "cuda":
            hold_devices(self.gpus)
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {self.device!r} is not available here") from error
        keep_freed_memory()
        if self.threads:
            torch.set_num_threads(self.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Debugging help that comes with them: every new tensor would be filled with NaN first.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def load(self, folder: Path) -> Any:
        """Load a model in this dtype onto this device."""
        if self.begin is not None:
            self.begin()
        return checkpoint.load_model(
            folder,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )
