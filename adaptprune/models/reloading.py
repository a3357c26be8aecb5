"""A fresh process that loads checkpoints and knows nothing of the methods that made them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from adaptprune.errors import UserError
from adaptprune.models.checkpoint import load_model

_TOKENS, _LOGITS = "tokens.safetensors", "logits.safetensors"


def reload(root: Path, names: list[str], tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Load checkpoints in one fresh process and return the logits of each.

    Args:
        root: folder of the checkpoints' folders; is written to.
        names: of these folders.
        tokens: token ids [sequences, length].

    Raises:
        UserError: a checkpoint does not load; names it.
    """
    save_file({"tokens": tokens}, root / _TOKENS)
    packages = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [sys.executable, "-m", "adaptprune.models.reloading", str(root), json.dumps(names)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, packages))},
        text=True,
        capture_output=True,
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"status {ended.returncode}"]
        raise UserError(lines[-1].removeprefix("error: "))
    return load_file(root / _LOGITS)


def main(root: Path, names: list[str]) -> None:
    """Load the checkpoints and write their logits."""
    torch.set_num_threads(1)
    tokens = load_file(root / _TOKENS)["tokens"]
    logits = {}
    with torch.no_grad():
        for name in names:
            try:
                model = load_model(root / name)
            except UserError as error:
                sys.exit(f"error: {name}: {' '.join(str(error).split())}")
            logits[name] = model(input_ids=tokens, use_cache=False).logits
    save_file(logits, root / _LOGITS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
