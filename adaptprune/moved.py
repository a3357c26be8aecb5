"""Names of modules that go on working: old ones, and those of task files beside a function.

Methods outside this repository import modules by the names that they had. Task files lie in
``adaptprune/evaluate/``, a folder of data, and `adaptprune.evaluate` is a function.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
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
    "baselines.uniform": ("adaptprune.pruning.uniform",),
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


def keep_the_function(name: str = "adaptprune.evaluate") -> None:
    """Let Python files of a data folder be imported without hiding a function of its name.

    The import system sets a submodule as an attribute of its package when it loads it, never when
    it finds it loaded. So the folder counts as loaded from the start.
    """
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(Path(__file__).parent / name.rpartition(".")[2])]
        sys.modules[name] = module_from_spec(spec)
