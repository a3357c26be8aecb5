"""A Slurm cluster of one node on the loopback interface, with all its state in one folder.

Munge, the controller and the node's daemon run as the present user, without accounting and without
control groups: processes are found in ``/proc``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
CPUS, MEMORY_MB = 2, 8000
#: How long a killed node stays away, so that its jobs count as lost when it comes back.
SECONDS_AWAY = 8

CONFIGURATION = """\
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# The second also says how long a job rests that is put back into the queue.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
MinJobAge=3600
ReturnToService=2
# A node that comes back has lost a job once the job is older than both together.
BatchStartTimeout=2
MessageTimeout=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NoClusterError(Exception):
    """Why there is none; in words for people."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """The running daemons.

    Args:
        folder: for configuration, keys, sockets, state and logs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.configuration = folder / "slurm.conf"
        self.environment = os.environ | {
            "SLURM_CONF": str(self.configuration),
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all daemons and wait until the node takes jobs.

        Raises:
            NoClusterError: one is not installed or does not start.
        """
        for program in PROGRAMS:
            if shutil.which(program) is None:
                raise NoClusterError(f"{program} is not installed (Debian: slurmctld slurmd munge)")
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder,
                host=socket.gethostname().partition(".")[0],
                user=pwd.getpwuid(os.getuid()).pw_name,
                controller_port=_free_port(),
                node_port=_free_port(),
                cpus=CPUS,
                memory=MEMORY_MB,
            )
        )
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        files |= {"seed-file": "seed"}
        options = [f"--{option}={self.folder}/munge.{file}" for option, file in files.items()]
        # Snakemake takes the variable away from the job steps, which find their cluster in /etc.
        step = self.folder / "srun"
        program = shutil.which("srun")
        step.write_text(f'#!/bin/sh\nSLURM_CONF={self.configuration} exec {program} "$@"\n')
        step.chmod(0o755)
        self._start("munged", "--foreground", "--force", *options)
        self._start("slurmctld", "-D", "-f", str(self.configuration))
        self._start_node()
        self._wait_for_node()

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as output:
            self._daemons[command[0]] = subprocess.Popen(
                command, env=self.environment, stdout=output, stderr=output
            )

    def restart_node(self) -> None:
        """Start the daemon of a killed node again."""
        time.sleep(SECONDS_AWAY)
        self._start_node()

    def _start_node(self) -> None:
        self._start("slurmd", "-D", "-f", str(self.configuration))

    def _wait_for_node(self) -> None:
        deadline = time.monotonic() + 60
        while "idle" not in self.ask("sinfo", "--noheader", "--format=%T"):
            for name, daemon in self._daemons.items():
                if daemon.poll() is not None:
                    said = (self.folder / f"{name}.out").read_text().strip().splitlines()
                    raise NoClusterError(
                        f"{name} does not start: {said[-1] if said else '(silent)'}"
                    )
            if time.monotonic() > deadline:
                raise NoClusterError("the node does not answer within a minute")
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        """Return what one of Slurm's commands says."""
        answer = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return answer.stdout

    def kill_node(self) -> set[str]:
        """Kill everything that runs on the node, as a power failure would; return the jobs."""
        daemons, jobs = [psutil.Process(self._daemons["slurmd"].pid)], []
        killed = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                environment = process.environ()
                ours = environment.get("SLURM_CONF") == str(self.configuration)
                if ours and "SLURM_JOB_ID" in environment:
                    jobs.append(process)
                    killed.add(environment["SLURM_JOB_ID"])
                    parents = process.parents()
                    daemons += [each for each in parents if each.name().startswith("slurmstepd")]
        # The daemons first: they would report that the job ended.
        for process in daemons + jobs:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._daemons["slurmd"].wait()
        return killed

    def stop(self) -> None:
        """End all daemons, and what still runs on the node."""
        if "slurmd" in self._daemons:
            self.kill_node()
        for daemon in self._daemons.values():
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()


@contextlib.contextmanager
def one_node_cluster(folder: Path) -> Iterator[Cluster]:
    """Run a cluster for the length of a block.

    Raises:
        NoClusterError: it does not start.
    """
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
