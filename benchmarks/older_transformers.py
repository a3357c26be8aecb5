"""Load pruned checkpoints in environments with other versions of transformers; compare the logits.

Tiny random models of every family are pruned to each kind of checkpoint, with every kind of rotary
embedding. Each version, installed into a folder of its own, loads them as anybody would, with
``trust_remote_code``. Prints a Markdown table; exits 1 where a version silently computes something
else.

    python benchmarks/older_transformers.py [--versions 4.57.3=tokenizers==0.22.1 ...] [--work DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from adaptprune.data.calibration import CalibrationSet
from adaptprune.models.checkpoint import load_model
from adaptprune.models.random import random_model, random_tokens
from adaptprune.models.runtime import Runtime
from adaptprune.models.shapes import FAMILIES
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.stage import Job, prune_stage

#: Version → what it needs beside it in its folder.
VERSIONS = {
    "4.55.4": ["huggingface_hub==0.36.0", "tokenizers==0.21.4"],
    "4.56.2": ["huggingface_hub==0.36.0", "tokenizers==0.22.1"],
    "4.57.3": ["huggingface_hub==0.36.0", "tokenizers==0.22.1"],
}
#: The window that rotary embeddings are extended from.
ORIGINAL = 16
ROTARY: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {"factor": 8.0, "original_max_position_embeddings": ORIGINAL},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
    },
    "longrope": {
        "factor": 4.0,
        "short_factor": [1.0, 1.5, 2.0, 2.5],
        "long_factor": [2.0, 3.0, 4.0, 5.0],
        "original_max_position_embeddings": ORIGINAL,
    },
}
#: Family → keys of a config whose layers see a short window.
_QWEN = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
WINDOWED: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 16},
    "qwen2": _QWEN,
    "qwen3": _QWEN,
}
#: Method → kind of checkpoint that it leaves.
METHODS = {
    "magnitude": "stock class",
    "shortgpt": "stock class, fewer layers",
    "flap": "layers of other shapes",
    "slicegpt": "sliced",
}
LENGTH = 160  # beyond the window of the tiny models, where frequencies change

LOAD = """
import json, sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
root, names = sys.argv[1], json.loads(sys.argv[2])
tokens = load_file(f"{root}/tokens.safetensors")["tokens"]
torch.set_num_threads(1)
logits, refused = {}, {}
for name in names:
    try:
        model = AutoModelForCausalLM.from_pretrained(
            f"{root}/{name}", trust_remote_code=True, torch_dtype=torch.float32
        ).eval()
        with torch.no_grad():
            logits[name] = model(input_ids=tokens, use_cache=False).logits
    except Exception as error:
        refused[name] = f"{type(error).__name__}: {error}"
save_file(logits or {"": torch.zeros(1)}, sys.argv[3])
print(json.dumps(refused))
"""


def write_checkpoints(root: Path, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Prune every model with every method; return the checkpoints' logits here, by their names."""
    expected = {}
    for family in FAMILIES:
        for kind, settings in ROTARY.items():
            dense = root / f"dense-{family}-{kind}"
            rope = {"rope_type": kind, "rope_theta": 50000.0, **settings}
            tied, windows = kind in ("linear", "yarn"), WINDOWED.get(family, {})
            shape = {"heads": 8, "kv_heads": 4, "head_dim": 8, "hidden": 64, "intermediate": 24}
            shape["layers"] = 4
            special = windows if kind == "linear" else {}
            model = random_model(family, tied=tied, rope_parameters=rope, **shape, **special)
            model.save_pretrained(dense)
            for name in METHODS:
                method = find_method(name)
                calibration = CalibrationSet(random_tokens(8, LENGTH).tolist(), "random", 0)
                runtime = Runtime(threads=1)
                job = Job(str(dense), method, None, method.parse({}), 0, calibration, runtime)
                folder = f"{family}-{kind}-{name}"
                prune_stage(job, 50, root / folder)
                with torch.no_grad():
                    pruned = load_model(root / folder)
                    expected[folder] = pruned(input_ids=tokens, use_cache=False).logits
    return expected


def compare(root: Path, site: Path, expected: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return what became of each checkpoint in one environment: ``equal`` or what else.

    Args:
        root: folder of the checkpoints.
        site: folder that the version is installed in, or the present one's.
        expected: logits by checkpoint.
    """
    answer = root / f"logits-{site.name}.safetensors"
    ended = subprocess.run(
        [sys.executable, "-c", LOAD, str(root), json.dumps(list(expected)), str(answer)],
        env={**os.environ, "PYTHONPATH": str(site), "HF_HOME": str(root / "home")},
        cwd=root,
        text=True,
        capture_output=True,
    )
    if ended.returncode:
        return dict.fromkeys(expected, f"refused: {ended.stderr.strip().splitlines()[-1]}")
    refused, logits = json.loads(ended.stdout.splitlines()[-1]), load_file(answer)
    found = {name: f"refused: {reason}" for name, reason in refused.items()}
    for name in logits.keys() & expected.keys():
        difference = (logits[name] - expected[name]).abs().max().item()
        found[name] = "equal" if difference < 1e-4 else f"DIFFERS by {difference:.2g}"
    return found


def install(version: str, needs: list[str], site: Path) -> Path:
    """Install a version of transformers, and what it needs, into a folder of its own."""
    if not (site / "transformers").is_dir():
        packages = [f"transformers=={version}", *needs]
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
        subprocess.run([*command, *packages], check=True)
    return site


def main() -> None:
    """Print how each version reads each kind of checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--versions", nargs="*", metavar="VERSION=PACKAGE==V,...")
    parser.add_argument("--work", type=Path, help="where versions are installed, and kept")
    options = parser.parse_args()
    versions = VERSIONS
    if options.versions:
        pairs = [text.partition("=")[::2] for text in options.versions]
        versions = {version: needs.split(",") if needs else [] for version, needs in pairs}
    tokens = random_tokens(2, LENGTH)
    wrong = False
    with tempfile.TemporaryDirectory() as scratch:
        root, work = Path(scratch), options.work or Path(scratch)
        save_file({"tokens": tokens}, root / "tokens.safetensors")
        expected = write_checkpoints(root, tokens)
        sites = {transformers.__version__: root / "present"}
        sites |= {v: install(v, needs, work / v) for v, needs in versions.items()}
        print("| transformers | checkpoint | equal | refused | differ |")
        print("|---|---|---:|---:|---:|")
        for version, site in sites.items():
            found = compare(root, site, expected)
            for method, title in METHODS.items():
                ends = [text for name, text in found.items() if name.endswith(f"-{method}")]
                counts = [sum(e.startswith(s) for e in ends) for s in ("equal", "refused", "DIFF")]
                print(f"| {version} | {title} | {' | '.join(map(str, counts))} |")
            for name, text in sorted(found.items()):
                if text != "equal":
                    print(f"{version}: {name}: {text.splitlines()[0][:160]}", file=sys.stderr)
                    wrong |= text.startswith("DIFFERS")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
