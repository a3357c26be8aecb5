"""Old names of modules that methods outside this repository import; they go on working."""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

#: Old name → where its content lies now.
MOVED = {
    "adaptprune.calibration": ("adaptprune.data.calibration",),
    "adaptprune.gradients": ("adaptprune.pruning.gradients",),
    "adaptprune.importance": ("adaptprune.pruning.importance",),
    "adaptprune.loss": ("adaptprune.models.loss",),
    "adaptprune.method": ("adaptprune.plugins", "adaptprune.pruning.method"),
    "adaptprune.registry": ("adaptprune.cells", "adaptprune.pruning.registry"),
    "adaptprune.selection": ("adaptprune.pruning.selection",),
    "adaptprune.shapes": ("adaptprune.models.shapes",),
    "adaptprune.surgery": ("adaptprune.models.sizes", "adaptprune.pruning.surgery"),
    "adaptprune.units": ("adaptprune.pruning.units",),
}


class _OldNames(MetaPathFinder, Loader):
    """Finds a module by its old name, and fills it from where it lies now."""

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        """Return the spec of an old name, None for any other."""
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Give a module the names that lie elsewhere now."""
        for name in MOVED[module.__name__]:
            vars(module).update(
                (key, value)
                for key, value in vars(importlib.import_module(name)).items()
                if not key.startswith("__")
            )


def keep_old_names() -> None:
    """Let imports by old names succeed in this process; idempotent."""
    if not any(isinstance(finder, _OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OldNames())
