"""What a training will take, said before it begins: tokens, steps and an estimated time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from adaptprune.models.anatomy import ANATOMIES, LLAMA, stock_family
from adaptprune.models.catalogue import read_config
from adaptprune.models.weightfiles import stored_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptprune.recovery.folder import Execution
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.recipe import Preset

#: Tokens of the pass that is timed: on a CPU few, on a GPU many.
_TOKENS = {"cpu": 256, "cuda": 8192}
#: Seconds that timing it may take.
_SECONDS = 0.2
#: A training reaches this part of the speed of its largest matrix products: attention, norms, the
#: optimiser and the loading of rows are beside them.
_PART = 0.75
#: Names under which the families state the width of the residual stream, and that of the MLP.
_WIDTHS, _INNER_WIDTHS = ("hidden_size", "n_embd"), ("intermediate_size", "ffn_dim", "n_inner")


def say_training(
    preset: Preset, stages: Sequence[Stage], source: Path, execution: Execution, processes: int
) -> None:
    """Print one line on stderr: how many tokens and steps, and about how long that takes here."""
    rows = sum(stage.trained_rows(preset.batch) for stage in stages)
    tokens, steps = rows * preset.sequence_length, sum(stage.trained_steps for stage in stages)
    flops = 6.0 * _multiplied(source) * tokens
    rate = _PART * processes * products_per_second(source, execution)
    print(
        f"training: {tokens:,} tokens in {steps:,} steps of {preset.batch} rows of "
        f"{preset.sequence_length} tokens, {len(stages)} stage{'s' if len(stages) > 1 else ''}; "
        f"estimated time {describe_seconds(flops / rate)}, prunings between stages left out",
        file=sys.stderr,
        flush=True,
    )


def _multiplied(source: Path) -> int:
    """Count the weights that a token is multiplied by: all but an embedding beside a head."""
    sizes = stored_sizes(source)
    family = stock_family(str(read_config(source).get("model_type", "")))
    anatomy = ANATOMIES.get(family, LLAMA)
    beside_head = f"{anatomy.head}.weight" in sizes
    return sum(sizes.values()) - (sizes[f"{anatomy.embedding}.weight"] if beside_head else 0)


def products_per_second(source: Path, execution: Execution) -> float:
    """Time a linear layer as wide as the model's, forward and backward; return FLOPs per second."""
    import torch

    from adaptprune.machine.timing import repetitions_per_second

    config = read_config(source)
    hidden = next(int(config[name]) for name in _WIDTHS if name in config)
    stated = (config.get(name) for name in _INNER_WIDTHS)
    outer = next((width for width in stated if isinstance(width, int)), 4 * hidden)
    tokens = _TOKENS[execution.device]
    dtype = torch.float32 if execution.device == "cpu" else torch.bfloat16
    inputs, weights = (
        torch.ones(rows, hidden, dtype=dtype, device=execution.device, requires_grad=True)
        for rows in (tokens, outer)
    )

    def work() -> None:
        torch.nn.functional.linear(inputs, weights).sum().backward()
        inputs.grad.sum().item()  # type: ignore[union-attr] # waits for the device
        inputs.grad = weights.grad = None

    return 6.0 * tokens * hidden * outer * repetitions_per_second(work, _SECONDS)


def describe_seconds(seconds: float) -> str:
    """Say how long something takes, in the unit that one would say it in."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
