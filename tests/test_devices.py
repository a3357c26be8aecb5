"""Jobs that share a machine's GPUs, here made-up ones: real processes, real kills."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from adaptprune.errors import UserError
from adaptprune.machine import devices

ROOT = Path(__file__).parent.parent

JOB = """
import sys
from adaptprune.machine.devices import hold_devices
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


def test_of_a_single_device_jobs_take_turns(tmp_path: Path) -> None:
    with Jobs(tmp_path, "0") as jobs:
        first = jobs.start()
        assert device_of(first) == "0"
        second = jobs.start()
        assert second.stdout is not None
        assert select.select([second.stdout], [], [], 1.0)[0] == []
        first.kill()
        assert device_of(second) == "0"


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


def test_devices_that_slurm_gave_are_not_locked(
    offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert devices.hold_devices(1) == ["2", "3"]
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


def test_devices_are_counted_by_the_driver_and_not_in_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where NVML fails, torch counts by starting CUDA, and then no device can be hidden."""
    import torch

    def started(*_: object) -> int:
        raise AssertionError("CUDA is started here")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", started)
    assert devices.visible_devices() == []  # this machine has no driver
    monkeypatch.setattr(devices, "_COUNT", "print(3)")
    assert devices.visible_devices() == ["0", "1", "2"]
    monkeypatch.setattr(devices, "_COUNT", "raise SystemExit(1)")
    assert devices.visible_devices() == []


FAKE_DRIVER = """
class Driver:
    def __getitem__(self, name):
        return {"cuInit": lambda flags: STATUS, "cuDeviceGetCount": self.count}[name]

    def count(self, number):
        number._obj.value = 4

import ctypes
ctypes.CDLL = lambda library: Driver()
"""


@pytest.mark.parametrize(("status", "devices_there"), [(0, 4), (100, 0)])
def test_the_driver_s_answer(
    status: int, devices_there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FAKE_DRIVER.replace("STATUS", str(status))
    monkeypatch.setattr(devices, "_COUNT", fake + devices._COUNT)
    assert devices._count_devices() == devices_there


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_products_are_repeatable_before_cuda_starts(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from adaptprune.models.runtime import Runtime

    seen = []

    def start(*_: object, **__: object) -> None:
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        raise RuntimeError("no driver")

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr("adaptprune.models.runtime.hold_devices", lambda count: seen.append(count))
    monkeypatch.setattr(torch, "empty", start)
    with pytest.raises(UserError, match="not available here"):
        Runtime(device=device).apply()
    assert seen == ([1] if device == "cuda" else []) + [":4096:8"]
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with pytest.raises(UserError):
        Runtime(device=device).apply()
    assert seen[-1] == ":16:8"


def test_what_the_warm_process_imports_starts_no_cuda() -> None:
    """Its forks hide devices from themselves, which is too late once the driver was asked."""
    code = """
import torch
for name in ("is_available", "device_count", "init", "current_device"):
    setattr(torch.cuda, name, lambda *_, name=name: print("asked:", name))
from adaptprune import forkserver
for module in forkserver._MODULES:
    __import__(module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_profile_of_several_gpus_plans_the_paper_s_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "table1", "--dry-run", "--quiet", "rules"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)),
            *("--workflow-profile", str(ROOT / "profiles" / "gpu"), "--cores", "32"),
            *("--config", "profile=paper"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "workflow specific profile" in done.stderr
