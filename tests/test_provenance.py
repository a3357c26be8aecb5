"""What is recorded of the machine that a stage ran on."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import torch

from adaptprune.machine import provenance
from adaptprune.machine.provenance import Stopwatch, cpu_model
from adaptprune.report.conditions import _machines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def _fresh_cpu_model() -> None:
    cpu_model.cache_clear()


def test_a_stage_tells_its_machine() -> None:
    found = Stopwatch().provenance()
    assert found["host"] == socket.gethostname()
    assert found["cpu"] == cpu_model() != ""
    assert found["cores"] >= 1
    assert found["memory_mb"] > 100
    assert found["peak_rss_mb"] > 1


def test_a_stored_matrix_makes_no_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        author = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True)

    code, matrix = tmp_path / "adaptprune" / "code.py", tmp_path / "results" / "offline.csv"
    for file in (code, matrix):
        file.parent.mkdir()
        file.write_text("1")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "m")
    monkeypatch.setattr(provenance, "__file__", str(code))
    committed = provenance.suite_commit.__wrapped__()
    assert len(committed) == 40
    matrix.write_text("2")
    assert provenance.suite_commit.__wrapped__() == committed
    code.write_text("2")
    assert provenance.suite_commit.__wrapped__() == f"{committed}+dirty"


def test_without_a_gpu_there_is_neither_its_name_nor_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert provenance.used_gpu() == {"gpu": None, "peak_device_mb": None}


def test_of_several_gpus_the_one_that_held_most_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda number: number * 3 * 2**20)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"Card {number}")
    assert provenance.used_gpu() == {"gpu": "Card 1", "peak_device_mb": 3.0}


@pytest.mark.usefixtures("_fresh_cpu_model")
@pytest.mark.parametrize(
    ("information", "model"),
    [
        (
            "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: Some CPU\n",
            "Some CPU @ 2 GHz",
        ),
        ("processor\t: 0\nFeatures\t: fp\n", "aarch64"),
    ],
)
def test_the_model_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, information: str, model: str
) -> None:
    (tmp_path / "cpuinfo").write_text(information)
    monkeypatch.setattr(provenance, "Path", lambda path: tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance.platform, "processor", lambda: "")
    monkeypatch.setattr(provenance.platform, "machine", lambda: "aarch64")
    assert cpu_model() == model
    cpu_model.cache_clear()


def test_the_page_lists_machines_as_far_as_they_were_recorded() -> None:
    new = {"host": "node", "cpu": "Some CPU", "cores": 64, "memory_mb": 262144}
    stages = pd.DataFrame(
        [
            {**new, "gpu": ""},
            {**new, "gpu": "Card"},
            {"host": "box", "cpu": "", "gpu": ""},
        ]
    )
    assert _machines(stages) == "box; node (Some CPU, 64 cores, 256 GB, Card)"
    assert _machines(stages.assign(host="")) == "none"
