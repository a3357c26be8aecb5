"""Jobs that share a machine's GPUs, here made-up ones: real processes, real kills."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from adaptprune import devices
from adaptprune.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

JOB = """
import sys
from adaptprune.devices import hold_devices
print(",".join(hold_devices(int(sys.argv[1]), interval=0.02)), flush=True)
sys.stdin.read()
"""


class Jobs(ExitStack):
    """Starts jobs that take devices and keep them until their input ends."""

    def __init__(self, folder: Path, offered: str):
        super().__init__()
        self.environment = {"CUDA_VISIBLE_DEVICES": offered, "TMPDIR": str(folder)}

    def start(self, count: int = 1) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, str(count)],
            env=os.environ | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.enter_context(job)
        self.callback(job.kill)
        return job


def device_of(job: subprocess.Popen[str]) -> str:
    """Wait until a job has its devices."""
    assert job.stdout is not None
    return job.stdout.readline().strip()


def test_every_job_has_a_device_of_its_own_and_a_killed_one_frees_it(tmp_path: Path) -> None:
    with Jobs(tmp_path, "0,GPU-1a2b,7") as jobs:
        running = [jobs.start() for _ in range(3)]
        taken = [device_of(job) for job in running]
        assert sorted(taken) == ["0", "7", "GPU-1a2b"]
        waiting = jobs.start()
        running[1].kill()
        assert device_of(waiting) == taken[1]
        assert [running[0].poll(), running[2].poll()] == [None, None]


def test_of_jobs_that_want_several_one_gets_all_it_wants(tmp_path: Path) -> None:
    with Jobs(tmp_path, "0,1,2") as jobs:
        first = jobs.start(2)
        assert device_of(first) == "0,1"
        second, third = jobs.start(2), jobs.start(2)
        # Neither holds the free device while it waits for another one.
        alone = jobs.start(1)
        assert device_of(alone) == "2"
        for job in (alone, first):
            job.kill()
        assert second.stdout is not None
        assert third.stdout is not None
        ready, _, _ = select.select([second.stdout, third.stdout], [], [], 30)
        assert len(ready) == 1
        assert ready[0].readline().strip() in {"0,1", "0,2", "1,2"}


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    monkeypatch.setenv("ADAPTPRUNE_DEVICES", "")
    return tmp_path


def test_devices_that_were_given_are_not_locked(offered: Path) -> None:
    assert devices.hold_devices(2) == ["2", "3"]
    assert not list(offered.iterdir()), "there was nothing to choose"


def test_a_job_keeps_its_device_and_so_do_its_children(
    offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    with devices._held:
        assert devices.hold_devices(2) == ["0", "1"]
        assert devices.os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
        # A training process of the job sees both; it takes neither from the other.
        assert devices.hold_devices(1) == ["0", "1"]


def test_more_devices_than_there_are(offered: Path) -> None:
    with pytest.raises(UserError, match=r"3 GPU\(s\) are asked for, this process sees 2"):
        devices.hold_devices(3)
