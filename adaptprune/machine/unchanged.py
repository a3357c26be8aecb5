"""What is global in a Python process, put back after work that changed it."""

from __future__ import annotations

import contextlib
import os
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def nothing_global_changed() -> Iterator[None]:
    """Leave global state as it was found, however the block ends.

    Environment variables; the generators of Python, numpy and torch; torch's threads, default
    dtype, gradients and deterministic algorithms; progress bars of transformers.
    """
    environment, python = dict(os.environ), random.getstate()
    import numpy as np
    import torch
    from transformers.utils import logging

    numpy = np.random.get_state()
    cpu, threads, dtype = torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    strict = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    gradients, has_bars = torch.is_grad_enabled(), logging.is_progress_bar_enabled()
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        for name, value in environment.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(strict, warn_only=only_warns)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.set_grad_enabled(gradients)
        if has_bars:
            logging.enable_progress_bar()
        else:
            logging.disable_progress_bar()
