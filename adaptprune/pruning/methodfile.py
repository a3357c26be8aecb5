"""Methods that lie in a Python file of the user, outside any installed package."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from adaptprune.errors import UserError
from adaptprune.pruning.method import Method
from adaptprune.pruning.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path


def load_method_file(path: Path) -> Method:
    """Import a file, register the method that it calls ``SPEC``, and return it; idempotent.

    Raises:
        UserError: the file is absent, cannot be imported, or holds no method that can be
            registered.
    """
    path = path.expanduser().resolve()
    if not path.is_file():
        raise UserError(f"method file {path}: no such file")
    name = f"adaptprune_method_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UserError(f"method file {path}: must be a Python file (.py)")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # annotations are looked up there
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            problem = " ".join(str(error).split()) or "no message"
            raise UserError(
                f"method file {path} cannot be imported: {type(error).__name__}: {problem}"
            ) from error
    method = getattr(module, "SPEC", None)
    if not isinstance(method, Method):
        raise UserError(f"method file {path}: must define SPEC, an instance of a Method class")
    METHODS.register(method, str(path))
    return method
