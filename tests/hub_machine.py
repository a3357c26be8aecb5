"""A machine of its own in front of the hub of the tests: caches, a clone of the workflow, its jobs.

The clone has the real profiles. Those of the paper are laid under one that says what a test cannot
have otherwise: a processor in place of a GPU, and less of everything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from loopback_hub import LoopbackHub

ROOT = Path(__file__).parent.parent
#: What the clone's profiles ``small`` and ``paper``, and those that extend them, have less of.
LESS: dict[str, Any] = {
    "dtype": "float32",
    "device": "cpu",
    "threads": 1,
    "memory_mb": 1500,
    "sparsities": [20],
    "seeds": [0],
    "calibration": {"sequences": 16},
    "speed": {"prompt": 16, "new_tokens": 4, "rounds": 1},
    "evaluation": {"documents_per_task": 4, "perplexity_documents": 3},
    "dense_gate": False,  # the models are random: none has the scores that are published of it
}
#: What only a member may read, as on the hub.
GATED = ["models/meta-llama/", "datasets/lmsys/lmsys-chat-1m"]


class Machine:
    """A machine with a token and empty caches.

    Attributes:
        hub: the hub that it asks.
        folder: where all its files are.
        clone: the workflow and its profiles.
        more: variables of its processes.
    """

    def __init__(self, hub: LoopbackHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.more: dict[str, str] = {}
        self.clone = folder / "clone"

    def environment(self, *, offline: bool = False, **more: str) -> dict[str, str]:
        """Return the environment of its processes."""
        own = {
            "ADAPTPRUNE_CACHE": str(self.folder / "cache"),
            "HF_HOME": str(self.folder / "huggingface"),
            "HF_ENDPOINT": self.hub.url,
            "HF_TOKEN": "hf_member",
            "TQDM_DISABLE": "1",
        }
        rest = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
        return rest | own | ({"HF_HUB_OFFLINE": "1"} if offline else {}) | self.more | more

    def start(self, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a command of the suite."""
        return subprocess.Popen(
            [sys.executable, "-m", "adaptprune", *command],
            cwd=self.folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def adaptprune(self, *command: str, offline: bool = False) -> str:
        """Run a command of the suite to its end; return what it prints."""
        return self._run("adaptprune", *command, folder=self.folder, offline=offline)

    def prefetch(self, *profiles: str) -> None:
        for profile in profiles:
            self.adaptprune(
                "prefetch", "--profile", profile, "--config-folder", str(self.clone / "config")
            )

    def snakemake(self, folder: Path, profile: str, *targets: str, offline: bool = False) -> str:
        """Run targets (and ``key=value`` pairs) of the clone with a folder for their results."""
        folder.mkdir(exist_ok=True)
        pairs = [target for target in targets if "=" in target]
        return self._run(
            *("snakemake", *(target for target in targets if "=" not in target), "--cores", "2"),
            *("--snakefile", str(self.clone / "Snakefile"), "--directory", str(folder)),
            *("--config", f"profile={profile}", *pairs),
            folder=folder,
            offline=offline,
        )

    def python(self, file: Path, *arguments: str, **more: str) -> str:
        """Run a file of the tests."""
        finished = subprocess.run(
            [sys.executable, str(file), *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def _run(self, module: str, *command: str, folder: Path, offline: bool) -> str:
        finished = subprocess.run(
            [sys.executable, "-m", module, *command],
            cwd=folder,
            env=self.environment(offline=offline),
            capture_output=True,
            text=True,
            timeout=900,
        )
        if finished.returncode:
            logs = {log: log.read_text() for log in folder.rglob("logs/**/*.txt")}
            told = [f"{log}: {text[-800:]}" for log, text in logs.items() if "error" in text]
            raise AssertionError("\n".join([finished.stdout, finished.stderr, *told[:3]]))
        return finished.stdout

    def make_clone(self) -> None:
        """Copy the workflow, and lay the paper's profiles under ones that ask for less."""
        for name in ("rules", "config", "paper_tables", "profiles"):
            skipped = shutil.ignore_patterns("generated")
            shutil.copytree(ROOT / name, self.clone / name, ignore=skipped)
        for name in ("Snakefile", "environment.yml"):
            shutil.copy(ROOT / name, self.clone / name)
        config = self.clone / "config"
        for name in ("small", "paper"):
            (config / f"{name}.yaml").rename(config / f"full-{name}.yaml")
            content = yaml.safe_dump({"extends": f"full-{name}"} | LESS)
            (config / f"{name}.yaml").write_text(content)


@dataclass
class Ended:
    """How a command ended, and after how many seconds."""

    status: int
    errors: str
    seconds: float

    def must_be_one_line(self, told: str = "") -> None:
        assert self.status == 2, self.errors
        assert "Traceback" not in self.errors
        assert self.errors.splitlines()[-1].startswith("error: ")
        assert re.search(told, self.errors), self.errors

    def must_be_right(self, told: str = "") -> None:
        assert self.status == 0, self.errors
        assert re.search(told, self.errors), self.errors


def finish(process: subprocess.Popen[str], began: float) -> Ended:
    """Wait for a command that began at a moment of the monotonic clock."""
    _, errors = process.communicate(timeout=300)
    return Ended(process.returncode, errors, time.monotonic() - began)


def run(machine: Machine, *command: str, **more: str) -> Ended:
    """Run a command on the machine to its end."""
    began = time.monotonic()
    return finish(machine.start(*command, **more), began)
