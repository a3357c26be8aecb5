"""A workflow among faults: full disks, killed processes, changed profiles, clocks, neighbours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from killing import kill_running
from small_disk import small_disk

from adaptprune.files.atomic import write_sealed_json

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("faults")]


def command(folder: Path, *config: str) -> list[str]:
    """Return a run of the dense model alone, in a folder that holds its own Snakefile."""
    return [
        *(sys.executable, "-m", "snakemake", "table1", "--cores", "2", "--directory", str(folder)),
        *("--snakefile", str(folder / "Snakefile")),
        *("--config", "profile=tiny", "methods=dense", "seeds=0", *config),
    ]


def run(folder: Path, *config: str) -> tuple[int, str]:
    done = subprocess.run(command(folder, *config), capture_output=True, text=True, timeout=600)
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return done.returncode, output


def clone(folder: Path) -> Path:
    """Copy what a workflow is made of into a folder."""
    for name in ("rules", "config", "profiles"):
        shutil.copytree(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("generated")
    shutil.copytree(ROOT / "paper_tables", folder / "paper_tables", ignore=ignored)
    for name in ("Snakefile", "environment.yml"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def results(folder: Path) -> Path:
    return folder / "results" / "runs" / "tiny" / "results.csv"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with a finished run."""
    folder = clone(tmp_path_factory.mktemp("clones") / "finished")
    status, output = run(folder)
    assert status == 0, output
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished clone, file times included."""
    subprocess.run(["cp", "-a", str(finished), str(tmp_path / "copy")], check=True)
    return tmp_path / "copy"


def test_changed_profile_changes_the_rows_and_nothing_stale_is_left(copy: Path) -> None:
    profile = copy / "config" / "tiny.yaml"
    profile.write_text(profile.read_text().replace("per_task: 12", "per_task: 6"))
    status, output = run(copy)
    assert status == 0, output
    rows = pd.read_csv(results(copy))
    assert set(rows.n[rows.metric == "acc"]) == {6}


def table(folder: Path) -> Path:
    return folder / "paper_tables" / "generated" / "tiny" / "table1.md"


def forget(folder: Path) -> None:
    """Lose what Snakemake knows of a run, as a copy without hidden folders does."""
    shutil.rmtree(folder / ".snakemake")


@pytest.mark.parametrize(
    ("config", "column", "value"),
    [("models=tiny-llama-small", "model", "tiny-llama-small"), ("seeds=1", "seed", 1)],
)
def test_without_snakemake_s_notes_a_table_is_of_what_is_asked_for(
    copy: Path, config: str, column: str, value: object
) -> None:
    before = table(copy).read_bytes()
    forget(copy)
    status, output = run(copy, config)
    assert status == 0, output
    assert set(pd.read_csv(results(copy))[column]) == {value}
    assert table(copy).read_bytes() != before
    forget(copy)
    assert "Nothing to be done" in run(copy, config)[1]


def test_without_snakemake_s_notes_cells_are_what_the_profile_asks_for(copy: Path) -> None:
    forget(copy)
    profile = copy / "config" / "tiny.yaml"
    text = profile.read_text().replace("per_task: 12", "per_task: 6")
    profile.write_text(text.replace("token_perplexity: [32]", "token_perplexity: [16]"))
    status, output = run(copy)
    assert status == 0, output
    rows = pd.read_csv(results(copy))
    assert set(rows.n[rows.metric == "acc"]) == {6}
    assert {name for name in rows.metric if "token" in name} == {"token_perplexity_16"}


def test_results_and_tables_that_were_copied_here_are_made_again(
    finished: Path, copy: Path, tmp_path: Path
) -> None:
    """Also where they are older than the files they replace, and Snakemake's notes are there."""
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", str(finished), str(other)], check=True)
    assert run(other, "models=tiny-llama-small")[0] == 0
    foreign = [results(other), results(other).with_name("results.csv.sha256"), table(other)]
    for file in foreign:
        place = copy / file.relative_to(other)
        assert place.read_bytes() != file.read_bytes()
        shutil.copyfile(file, place)
        os.utime(place, (1e9, 1e9))
    status, output = run(copy)
    assert status == 0, output
    for file in foreign:
        own = file.relative_to(other)
        assert (copy / own).read_bytes() == (finished / own).read_bytes()


def test_a_cell_that_was_copied_here_is_collected(finished: Path, copy: Path) -> None:
    (evaluation,) = copy.glob("results/**/evaluation.json")
    content = json.loads(evaluation.read_text())
    del content["sha256"]
    content["results"]["tiny_local_place"]["acc"] = 0.25
    write_sealed_json(evaluation, content)
    os.utime(evaluation, (1e9, 1e9))
    status, output = run(copy, "dense_gate=off")
    assert status == 0, output
    rows = pd.read_csv(results(copy)).set_index(["task", "metric"])
    assert rows.value["tiny_local_place", "acc"] == 0.25


def test_clock_that_was_set_back_costs_work_and_changes_no_byte(finished: Path, copy: Path) -> None:
    os.utime(results(copy), (4e9, 4e9))  # written before the clock was set back
    (evaluation,) = copy.glob("results/**/evaluation.json")
    os.utime(evaluation, (1e9, 1e9))  # and this one after it
    status, output = run(copy)
    assert status == 0, output
    assert results(copy).read_bytes() == results(finished).read_bytes()
    assert "Nothing to be done" in run(copy)[1], "once is enough"


def test_second_workflow_in_a_clone_is_refused_in_one_line(copy: Path) -> None:
    results(copy).unlink()
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, pathlib; from adaptprune.machine.workflow_lock import hold_lock;"
            "hold_lock(pathlib.Path(sys.argv[1])); print(flush=True); sys.stdin.read()",
            str(copy / "results" / "runs"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    status, output = run(copy)
    holder.communicate()
    assert status != 0
    lines = [line for line in output.splitlines() if line.startswith("error:")]
    assert lines == ["error: another workflow is running in results/runs; wait until it ends"]


def test_killed_fork_and_fork_server_are_survived(finished: Path, tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    kill_fork_and_server(folder)
    status, output = run(folder)
    assert status == 0, output
    assert results(folder).read_bytes() == results(finished).read_bytes()


def test_full_disk_and_room_again_end_in_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone")
    with small_disk(folder / "results", kib=300) as disk:
        if not disk.is_mounted:
            pytest.skip("no file system can be mounted here, so no disk can be filled")
        disk.protect()
        status, output = run(folder)
        assert status != 0
        assert "error: results/runs: cannot be written (Read-only file system)" in output
        disk.enlarge(kib=300)
        status, output = run(folder)
        assert status != 0
        assert "cannot be written (No space left on device)" in output
        assert not results(folder).exists()
        disk.enlarge()
        status, output = run(folder)
        assert status == 0, output
        assert results(folder).read_bytes() == results(finished).read_bytes()


def forks_jobs(process: psutil.Process) -> bool:
    try:
        return "adaptprune.forkserver" in process.cmdline()
    except psutil.NoSuchProcess:  # it has just ended
        return False


def kill_fork_and_server(folder: Path) -> None:
    """Start the workflow and kill the process that forks its jobs, and one of its forks."""
    with (folder / "killed.log").open("wb") as log:
        workflow = subprocess.Popen(command(folder), stdout=log, stderr=log)
    killed: list[psutil.Process] = []
    while not killed:
        assert workflow.poll() is None, "the workflow ended before a job was forked"
        servers = [child for child in psutil.Process(workflow.pid).children() if forks_jobs(child)]
        killed = [fork for server in servers for fork in server.children() if kill_running(fork)]
        time.sleep(0.01)
    servers[0].kill()
    assert workflow.wait(timeout=300) != 0, "the killed job must be reported"
    assert "the process that computed was killed" in (folder / "killed.log").read_text()
