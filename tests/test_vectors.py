"""With which vectors a command computes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from adaptprune.pruning import vectors

if TYPE_CHECKING:
    from pathlib import Path

WIDE = "processor : 0\nflags\t\t: fpu avx2 avx512f avx512bw avx512vl avx512dq\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with wide vectors, on which nothing was said of them."""
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(WIDE)
    monkeypatch.setattr(vectors, "_CPU", cpu)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ADAPTPRUNE_VECTORS", "default")
    return cpu


@pytest.mark.parametrize(
    ("line", "wide"),
    [
        ("prune --method wanda --sparsity 50", True),
        ("prune --sparsity 50 --method=sparsegpt@2-4", True),
        ("prune --method weight-magnitude", False),  # no pass, nothing to round
        ("prune --method llm-pruner", False),
        ("prune --method no-such-method", False),
        ("prune --method", False),
        ("evaluate --method wanda", False),
        ("", False),
    ],
)
def test_methods_with_such_figures_are_given_wide_vectors(line: str, wide: bool) -> None:
    assert vectors.take_official_vectors(line.split()) == wide
    assert os.environ["ATEN_CPU_CAPABILITY"] == ("avx512" if wide else "avx2")


def test_what_the_user_asks_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADAPTPRUNE_VECTORS")
    assert not vectors.take_official_vectors(["prune", "--method", "wanda"])
    assert os.environ["ATEN_CPU_CAPABILITY"] == "avx2"


@pytest.mark.parametrize("content", ["flags : avx2\n", "", None])
def test_another_cpu_keeps_its_vectors(machine: Path, content: str | None) -> None:
    machine.unlink() if content is None else machine.write_text(content)
    assert not vectors.take_official_vectors(["prune", "--method", "wanda"])


def test_torch_is_not_there_before_it_is_decided() -> None:
    code = "import sys, adaptprune.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
