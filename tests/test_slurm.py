"""Table 1 of the tiny profile through a real Slurm of one node, whose node is killed once."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from one_node_slurm import Cluster, NoClusterError, one_node_cluster
from test_workflow import run, runs

from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "profiles" / "slurm"
MATRIX = ["methods=dense,llm-pruner", "sparsities=20", "seeds=0"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A running cluster; where there is none the test says why and is skipped."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no Slurm: snakemake-executor-plugin-slurm is not installed")
    # Not under pytest's folder: the path of a socket may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with one_node_cluster(folder) as running:
            yield running
    except NoClusterError as reason:
        pytest.skip(f"no Slurm: {reason}")
    finally:
        shutil.rmtree(folder)


def read_profile() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROFILE / "profile.v9+.yaml").read_text())
    return content


def rules_by_place() -> tuple[dict[str, str], dict[str, str]]:
    """Return the rules that run where the workflow does, and those that are submitted, by name."""
    local: dict[str, str] = {}
    submitted: dict[str, str] = {}
    for file in (ROOT / "rules").glob("*.smk"):
        for block in re.split(r"^(?=rule )", file.read_text(), flags=re.MULTILINE)[1:]:
            name = re.search(r"rule (\w+)", block)
            assert name
            (local if "localrule: True" in block else submitted)[name[1]] = block
    return local, submitted


def test_rules_that_are_submitted_ask_for_what_they_need() -> None:
    profile = read_profile()
    local, submitted = rules_by_place()
    grouped = {assignment.partition("=")[0] for assignment in profile["groups"]}
    assert grouped == {"recover", "evaluate"}, "one job per cell"
    assert grouped | {"prune_and_evaluate"} <= profile["set-resources"].keys() <= submitted.keys()
    assert {"fetch_model", "fetch_suite", "calibration", "collect", "table"} <= local.keys()
    for name, block in submitted.items():
        assert "mem_mb=JOB.memory" in block, name
        assert "gpu=" in block or "--device" not in block, name
    times = {rule: entry.get("runtime") for rule, entry in profile["set-resources"].items()}
    times |= {"default": profile["default-resources"]["runtime"]}
    assert all("attempt" in time for rule, time in times.items() if rule != "measure")


def cancel_the_scores(workflow: subprocess.Popen[bytes], cluster: Cluster) -> str:
    """Cancel the job that scores, so that Snakemake has to submit it anew; return its number."""
    deadline = time.monotonic() + 120
    while not (job := re.search(r"^(\d+) rule_score", comments(cluster), flags=re.MULTILINE)):
        assert workflow.poll() is None, "the workflow ended before the scores were submitted"
        assert time.monotonic() < deadline, comments(cluster)
        time.sleep(0.1)
    cluster.ask("scancel", job[1])
    return job[1]


def comments(cluster: Cluster) -> str:
    """Return the number and the comment of every job, which names its rule."""
    return cluster.ask("squeue", "--states=all", "--noheader", "--format=%i %k")


def kill_node_in_the_dense_cell(
    workflow: subprocess.Popen[bytes], cluster: Cluster, folder: Path
) -> set[str]:
    """Kill the node while the dense model is being evaluated; return the jobs that ran there."""
    cell = runs(folder) / "cells" / "tiny-llama" / "dense" / "0" / "none" / "s0"
    deadline = time.monotonic() + 300
    while not (cell / "pruning.json").is_file():
        assert workflow.poll() is None, "the workflow ended before the cell was begun"
        assert time.monotonic() < deadline, cluster.ask("squeue")
        time.sleep(0.1)
    killed = cluster.kill_node()
    assert not (cell / "evaluation.json").is_file(), "the job had ended before its node died"
    cluster.restart_node()
    return killed


def jobs_by_number(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Return what Slurm knows of every job."""
    lines = cluster.ask("scontrol", "show", "job", "--oneliner").splitlines()
    facts = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    return {job["JobId"]: job for job in facts}


def memory_of_tiny() -> int:
    return load_profile(ROOT / "config", "tiny").memory_mb


@pytest.mark.workflow
@pytest.mark.slurm
@pytest.mark.xdist_group("workflow")
def test_table1_survives_a_cancelled_job_and_the_death_of_its_node(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    command = [
        *(sys.executable, "-m", "snakemake", "table1", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(PROFILE), "--directory", str(folder)),
        *("--slurm-init-seconds-before-status-checks", "2", "--slurm-no-account"),
        *("--slurm-status-command", "squeue"),  # sacct needs accounting
        *("--latency-wait", "5", "--config", "profile=tiny", *MATRIX),
    ]
    log = tmp_path / "snakemake.log"
    with log.open("wb") as output:
        workflow = subprocess.Popen(
            command, env=cluster.environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        cancelled = cancel_the_scores(workflow, cluster)
        killed = kill_node_in_the_dense_cell(workflow, cluster, folder)
        assert workflow.wait(timeout=300) == 0, log.read_text()
    finally:
        workflow.kill()
    jobs = jobs_by_number(cluster)
    first = jobs.pop(cancelled)
    assert first["JobState"] == "CANCELLED"
    (again,) = [job for job in jobs.values() if job["Comment"] == first["Comment"]]
    assert first["MinMemoryNode"] == f"{memory_of_tiny()}M"
    assert again["MinMemoryNode"] == f"{2 * memory_of_tiny()}M", "doubled for the second attempt"
    # One job per cell and one for the scores; what was killed was put back into the queue, once.
    assert len(jobs) == 3
    assert killed
    restarts = {job: facts["Restarts"] for job, facts in jobs.items()}
    assert restarts == {job: "1" if job in killed else "0" for job in jobs}
    assert all(facts["JobState"] == "COMPLETED" for facts in jobs.values())
    undisturbed = tmp_path / "local"
    assert run(undisturbed, *MATRIX).returncode == 0
    expected = (runs(undisturbed) / "results.csv").read_bytes()
    assert (runs(folder) / "results.csv").read_bytes() == expected
