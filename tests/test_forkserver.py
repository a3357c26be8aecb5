"""The process whose forks do a workflow's jobs: same outcome as a job that computes by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from adaptprune.forkserver import _VARIABLE, start_forkserver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, subprocess.Popen]]:
    """A server, not ready yet, of a process which lives as long as the tests."""
    workflow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADAPTPRUNE_WORKFLOW", f"{os.uname().nodename}:{workflow.pid}")
        patch.setenv(_VARIABLE, "")  # and put back afterwards
        process = start_forkserver()
        folder = os.environ[_VARIABLE]
    yield folder, process
    workflow.kill()
    assert process.wait(timeout=30) == 0, "it ends with its workflow, though nobody asked for it"
    workflow.wait()
    assert not Path(folder).exists()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "adaptprune", *arguments]


def run(folder: str | None, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if folder is not None:
        environment[_VARIABLE] = folder
    return subprocess.run(
        command(*arguments), cwd=cwd, env=environment, capture_output=True, text=True
    )


TOKENS = "[[1, 2, 3, 4]]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("methods",),
        ("params", "--model", "no-such-model", "--method", "flap", "--sparsity", "20"),
        ("loss", "--model", "tiny-llama", "--tokens", "tokens.json"),
        ("loss", "--model", "tiny-llama", "--tokens", "absent.json"),
        ("no-such-command",),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_a_fork_answers_as_the_job_itself_would(
    server: tuple[str, subprocess.Popen], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "tokens.json").write_text(TOKENS)
    forked = run(server[0], tmp_path, *arguments)
    alone = run(None, tmp_path, *arguments)
    assert (forked.returncode, forked.stdout) == (alone.returncode, alone.stdout)
    assert forked.stderr.splitlines()[-1:] == alone.stderr.splitlines()[-1:]


def test_work_is_done_by_the_server(server: tuple[str, subprocess.Popen], tmp_path: Path) -> None:
    folder, process = server
    started = subprocess.Popen(
        command("fetch", "--model", "tiny-llama", "--output", "model.json"),
        cwd=tmp_path,
        env=os.environ | {_VARIABLE: folder},
    )
    parent = psutil.Process(process.pid)
    while not (forks := parent.children()) and started.poll() is None:
        time.sleep(0.001)
    assert forks, "the job was done by the server's fork"
    assert started.wait() == 0
    assert (tmp_path / "model.json").is_file()


def test_a_killed_job_takes_its_fork_along(
    server: tuple[str, subprocess.Popen], tmp_path: Path
) -> None:
    folder, process = server
    os.mkfifo(tmp_path / "tokens.json")  # reading it blocks for ever
    started = subprocess.Popen(
        command("loss", "--model", "tiny-llama", "--tokens", "tokens.json"),
        cwd=tmp_path,
        env=os.environ | {_VARIABLE: folder},
    )
    parent = psutil.Process(process.pid)
    while not (forks := parent.children()):
        assert started.poll() is None
        time.sleep(0.01)
    started.kill()
    started.wait()
    gone, alive = psutil.wait_procs(forks, timeout=30)
    assert gone
    assert not alive


def test_a_killed_fork_ends_its_job(server: tuple[str, subprocess.Popen], tmp_path: Path) -> None:
    folder, process = server
    os.mkfifo(tmp_path / "tokens.json")
    started = subprocess.Popen(
        command("loss", "--model", "tiny-llama", "--tokens", "tokens.json"),
        cwd=tmp_path,
        env=os.environ | {_VARIABLE: folder},
        stderr=subprocess.PIPE,
        text=True,
    )
    parent = psutil.Process(process.pid)
    while not (forks := parent.children()):
        assert started.poll() is None
        time.sleep(0.01)
    forks[0].kill()
    _, message = started.communicate(timeout=30)
    assert started.returncode == 1
    assert message == "error: the process that computed was killed\n"


def test_without_a_server_a_job_computes_by_itself(tmp_path: Path) -> None:
    assert run(str(tmp_path / "gone"), tmp_path, "methods").returncode == 0
