"""Kill a workflow or a training at random moments, run it again, and compare what it ends in.

    python benchmarks/kills.py table1 --kills 100 --minutes 60 --seed 0
    python benchmarks/kills.py recover --kills 50 --minutes 20 --seed 0

``table1`` runs the profile ``tiny``. A victim (Snakemake, the process that forks its jobs, a fork,
or a job) dies by SIGKILL at a random moment of the run; the same command is then given again, until
the results are complete. They must be those of an undisturbed run, byte for byte; then a new folder
is begun, until there were enough kills or no time is left. ``recover`` does the same with the
process of a training.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

ROOT = Path(__file__).resolve().parents[1]
#: Seconds between two looks at processes.
GLANCE = 0.02
#: Longest time to the next kill, as a share of an undisturbed run: a run mostly meets one or more.
PEACE = 1 / 2
#: Seconds that a single run may take before it counts as hanging.
PATIENCE = 1200


class Campaign(Protocol):
    """What is killed again and again."""

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start it in a folder, or let it go on there."""

    def victims(self, process: psutil.Process) -> dict[str, list[psutil.Process]]:
        """Return the processes that may be killed, by what they are."""

    def result(self, folder: Path) -> dict[str, bytes]:
        """Return what must be the same in the end, by name."""

    def finished(self, folder: Path) -> dict[Path, int]:
        """Return the files that no kill may cost, with the time of their last change (ns)."""


@dataclass(frozen=True)
class Table1:
    """The workflow of Table 1 in the profile ``tiny``.

    Args:
        settings: that narrow the profile (``key=value``).
    """

    settings: list[str]

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Run Snakemake in a session of its own."""
        command = [
            *(sys.executable, "-m", "snakemake", "table1", "--cores", "2"),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
            *("--config", "profile=tiny", *self.settings),
        ]
        return _start(command, folder)

    def victims(self, process: psutil.Process) -> dict[str, list[psutil.Process]]:
        """Return Snakemake, the process that forks, its forks, and the jobs that wait for them."""
        found: dict[str, list[psutil.Process]] = {"Snakemake": [process]}
        for child in process.children(recursive=True):
            line = child.cmdline()
            if "adaptprune.forkserver" in line:
                is_server = child.ppid() == process.pid
                found.setdefault("fork server" if is_server else "fork", []).append(child)
            elif "adaptprune" in line and line[0].endswith("python"):
                found.setdefault("job", []).append(child)
        return found

    def result(self, folder: Path) -> dict[str, bytes]:
        """Return the results and the printed table."""
        run = folder / "results" / "runs" / "tiny"
        table = folder / "paper_tables" / "generated" / "tiny" / "table1.md"
        return {"results.csv": (run / "results.csv").read_bytes(), "table1": table.read_bytes()}

    def finished(self, folder: Path) -> dict[Path, int]:
        """Return the evaluations of cells whose weights have been removed: Snakemake knows them."""
        cells = (folder / "results" / "runs" / "tiny").glob("cells/**/evaluation.json")
        return {
            cell: cell.stat().st_mtime_ns
            for cell in cells
            if not (cell.parent / "checkpoint").exists()
        }


@dataclass(frozen=True)
class Recover:
    """Training of the tiny model, pruned in between.

    Args:
        tokens: that it is trained on.
    """

    tokens: int

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Run ``adaptprune recover`` in a session of its own."""
        settings = {
            **{"tokens": self.tokens, "sequence_length": 32, "batch": 4, "interleaves": 3},
            **{"pruner": '{"steps": 10, "amplitude": 0.05}', "handover": 1.0},
        }
        command = [
            *(sys.executable, "-m", "adaptprune", "recover", "--model", "tiny-llama"),
            *("--preset", "adapt-accel", "--data", "tiny-domains", "--threads", "1"),
            *("--target-model", "tiny-llama-small", "--checkpoint-every", "5"),
            *("--calibration", "tiny-prose", "--sequences", "4", "--length", "16"),
            *(part for pair in settings.items() for part in ("--set", f"{pair[0]}={pair[1]}")),
            *("--output", str(folder / "out")),
        ]
        return _start(command, folder)

    def victims(self, process: psutil.Process) -> dict[str, list[psutil.Process]]:
        """Return the training."""
        return {"training": [process]}

    def result(self, folder: Path) -> dict[str, bytes]:
        """Return weights, kept units, and the log without what a clock measured."""
        out = folder / "out"
        rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        for row in rows:
            del row["seconds"], row["tokens_per_s"]
        names = ("model.safetensors", "config.json", "kept.json")
        return {name: (out / name).read_bytes() for name in names} | {
            "log": json.dumps(rows).encode()
        }

    def finished(self, folder: Path) -> dict[Path, int]:
        """Return the result: a checkpoint makes way for the next."""
        return {path: path.stat().st_mtime_ns for path in folder.glob("out/recovery.json")}


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    log = (folder / "campaign.log").open("ab")
    return subprocess.Popen(
        command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


@dataclass
class Report:
    """What the kills did.

    Attributes:
        kills: by victim.
        rounds: undisturbed results that were reached in spite of them.
        lost: finished cells that were computed again.
        leftovers: temporary files and folders beside a result, at its end.
        differing: results that are not those of an undisturbed run.
        seconds: spent in all rounds.
        undisturbed: seconds of a run that nobody disturbs.
    """

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    lost: int = 0
    leftovers: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    seconds: float = 0
    undisturbed: float = 0

    def line(self) -> str:
        """Return the report as text."""
        total = sum(self.kills.values())
        wasted = max(0.0, self.seconds - self.rounds * self.undisturbed)
        victims = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        return (
            f"{total} kills ({victims or 'none'}) in {self.rounds} finished rounds; "
            f"{len(self.differing)} results differ from those of an undisturbed run; "
            f"{self.lost} finished cells lost; {len(self.leftovers)} leftovers; "
            f"{self.seconds:.0f} s in all, {self.undisturbed:.0f} s undisturbed, "
            f"{wasted / max(1, total):.1f} s wasted per kill"
        )


def kill_one(
    campaign: Campaign, process: subprocess.Popen[bytes], delay: float, generator: random.Random
) -> str | None:
    """Kill a random victim after a delay (s); return what it was, None where all had ended."""
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return None
        time.sleep(GLANCE)
    try:
        found = campaign.victims(psutil.Process(process.pid))
        kind = generator.choice(sorted(found))
        victim = generator.choice(found[kind])
        if victim.status() == psutil.STATUS_ZOMBIE:
            return None
        victim.kill()
    except (psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
        return None  # it ended by itself a moment earlier
    return kind


def wait_for_all(process: subprocess.Popen[bytes], folder: Path) -> int:
    """Wait for a process and for what it left working in a folder; return its exit status."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None or any(
        _works_in(other, folder) for other in psutil.process_iter()
    ):
        if time.monotonic() > deadline:
            sys.exit(f"a run has not ended in {PATIENCE} s; see {folder}/campaign.log")
        time.sleep(GLANCE)
    return process.returncode


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return "adaptprune" in " ".join(process.cmdline()) and Path(process.cwd()) == folder
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False


def run_round(
    campaign: Campaign, folder: Path, report: Report, kills: int, end: float, seed: str
) -> None:
    """Kill one run until it is finished in spite of it, and count.

    Args:
        campaign: what is run.
        folder: where; empty.
        report: is added to.
        kills: at most so many in all; then it is left in peace.
        end: no kill after this time (of ``time.monotonic``).
        seed: of the moments and the victims.
    """
    generator = random.Random(seed)
    started = time.monotonic()
    known: dict[Path, int] = {}
    status = -1

    def count_lost() -> None:
        now = campaign.finished(folder)
        report.lost += sum(now.get(path, changed) != changed for path, changed in known.items())
        known.update(now)

    while status != 0:
        process = campaign.start(folder)
        disturbed = False
        while (
            process.poll() is None and sum(report.kills.values()) < kills and time.monotonic() < end
        ):
            delay = generator.uniform(0, PEACE * report.undisturbed)
            killed = kill_one(campaign, process, delay, generator)
            if killed is not None:
                disturbed = True
                report.kills[killed] += 1
                count_lost()
        status = wait_for_all(process, folder)
        if status != 0 and not disturbed:
            sys.exit(f"the run failed without a kill; see {folder}/campaign.log")
        count_lost()
    report.seconds += time.monotonic() - started
    report.rounds += 1
    marked = [path for path in folder.rglob(".*-????????") if "/.snakemake/" not in str(path)]
    report.leftovers += [str(path) for path in marked]


def run_campaign(campaign: Campaign, kills: int, minutes: float, seed: int, work: Path) -> Report:
    """Run rounds until there were enough kills or the time is up.

    Args:
        campaign: what is run.
        kills: how many.
        minutes: after which no further round is begun.
        seed: of the moments and the victims.
        work: an empty folder.
    """
    report = Report()
    calm = work / "undisturbed"
    calm.mkdir()
    started = time.monotonic()
    if wait_for_all(campaign.start(calm), calm) != 0:
        sys.exit(f"the undisturbed run failed; see {calm}/campaign.log")
    report.undisturbed = time.monotonic() - started
    expected = campaign.result(calm)
    end = time.monotonic() + minutes * 60
    while sum(report.kills.values()) < kills and time.monotonic() < end:
        folder = work / f"round-{report.rounds + 1}"
        folder.mkdir()
        run_round(campaign, folder, report, kills, end, f"{seed} {report.rounds}")
        for name, content in campaign.result(folder).items():
            if content != expected[name]:
                report.differing.append(f"{folder}/{name}")
        print(report.line(), file=sys.stderr, flush=True)
        if not (report.differing or report.lost or report.leftovers):
            shutil.rmtree(folder)
    return report


def main() -> None:
    """Parse the command line, run the campaign and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("table1", "recover"))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=60, help="no further kill after them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], help="narrow table1: key=value")
    parser.add_argument(
        "--tokens", type=int, default=10_240, help="of the training (tiny-domains has 10,400)"
    )
    arguments = parser.parse_args()
    campaign: Campaign = (
        Table1(arguments.set) if arguments.what == "table1" else Recover(arguments.tokens)
    )
    work = Path(tempfile.mkdtemp(prefix="adaptprune-kills-"))
    report = run_campaign(campaign, arguments.kills, arguments.minutes, arguments.seed, work)
    print(report.line(), *report.differing, *report.leftovers, sep="\n")
    if report.differing or report.lost or report.leftovers:
        sys.exit(f"look at {work}")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
