"""Snakemake end to end on the tiny profile: targets, kills, altered files, failed cells."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
from closed_network import closed_environment, without_interfaces
from killing import kill_running

from adaptprune.files.atomic import write_sealed_json
from adaptprune.models.catalogue import locate

ROOT = Path(__file__).parent.parent
MATRIX = ["methods=dense,llm-pruner,flap", "sparsities=20", "seeds=0"]
CELLS = ("dense/0/none/s0", "flap/20/none/s0", "llm-pruner/20/none/s0")

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


def command(folder: Path, *arguments: str, target: str | tuple[str, ...] = "table1") -> list[str]:
    targets = (target,) if isinstance(target, str) else target
    return [
        *(sys.executable, "-m", "snakemake", *targets, "--cores", "2"),
        *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)),
        *("--config", "profile=tiny", *arguments),
    ]


def run(
    folder: Path, *arguments: str, target: str | tuple[str, ...] = "table1", timeout: int = 600
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *arguments, target=target), capture_output=True, text=True, timeout=timeout
    )


def runs(folder: Path) -> Path:
    return folder / "results" / "runs" / "tiny"


def evaluation(folder: Path, cell: str) -> Path:
    return runs(folder) / "cells" / "tiny-llama" / cell / "evaluation.json"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the small matrix, without any network."""
    folder = tmp_path_factory.mktemp("undisturbed")
    locate("tiny-llama")  # as `prefetch` does
    closed, why_not = without_interfaces(command(folder, *MATRIX))
    if why_not:
        warnings.warn(why_not, stacklevel=1)
    environment = closed_environment(folder / "attempts.txt")
    # What keeps libraries off the hub in other tests must not be needed.
    environment.pop("HF_HUB_OFFLINE", None)
    finished = subprocess.run(closed, env=environment, capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder


def test_without_a_network_nothing_tries_to_reach_one(undisturbed: Path) -> None:
    attempts = undisturbed / "attempts.txt"
    assert not attempts.exists(), attempts.read_text()


def start_and_wait(folder: Path, file: Path) -> subprocess.Popen[bytes]:
    """Start the workflow in a session of its own and return once a file is there."""
    started = subprocess.Popen(
        command(folder, *MATRIX),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not file.exists():
        assert started.poll() is None, "the workflow ended before the file appeared"
        assert time.monotonic() < deadline, f"{file} never appeared"
        time.sleep(0.05)
    return started


def jobs_of(folder: Path) -> list[psutil.Process]:
    """Return the processes of this suite's commands that work in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = "adaptprune" in (process.info["cmdline"] or [])
            if ours and Path(process.cwd()) == folder:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until_idle(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while jobs_of(folder):
        assert time.monotonic() < deadline, "jobs outlived their workflow"
        time.sleep(0.2)


def test_a_run_leaves_a_table_and_results_with_conditions(undisturbed: Path) -> None:
    table = undisturbed / "paper_tables" / "generated" / "tiny" / "table1.md"
    assert "LLM-Pruner" in table.read_text()
    lines = (runs(undisturbed) / "results.csv").read_text().splitlines()
    tasks_and_metrics = 2 * 2 + 4
    assert len(lines) == 1 + len(CELLS) * tasks_and_metrics
    assert not list(runs(undisturbed).glob("cells/**/checkpoint")), "weights are temporary"


def test_a_second_call_does_nothing(undisturbed: Path) -> None:
    again = run(undisturbed, *MATRIX)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_method_that_joins_a_finished_matrix_is_all_that_runs(undisturbed: Path) -> None:
    joined = "methods=dense,llm-pruner,flap,magnitude"
    planned = run(undisturbed, joined, *MATRIX[1:], "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", planned.stdout + planned.stderr, re.MULTILINE))
    # Its scores and its cell, and what shows all cells.
    own = dict.fromkeys(("score", "prune_and_evaluate"), "1")
    assert counts == own | {"collect": "1", "table": "1", "table1": "1", "total": "5"}
    assert "magnitude" in planned.stdout + planned.stderr


def test_killed_snakemake_goes_on_and_ends_in_the_same_bytes(
    undisturbed: Path, tmp_path: Path
) -> None:
    first = evaluation(tmp_path, CELLS[0])
    workflow = start_and_wait(tmp_path, first)
    # The cell counts as finished, no longer as in flight, once its weights have been removed.
    while (first.parent / "checkpoint").exists():
        time.sleep(0.05)
    os.kill(workflow.pid, signal.SIGKILL)
    workflow.wait()
    wait_until_idle(tmp_path)
    written = first.stat().st_mtime_ns
    resumed = run(tmp_path, *MATRIX)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert first.stat().st_mtime_ns == written, "a finished cell was computed again"
    expected = (runs(undisturbed) / "results.csv").read_bytes()
    assert (runs(tmp_path) / "results.csv").read_bytes() == expected


def test_killed_job_is_repeated_and_ends_in_the_same_bytes(
    undisturbed: Path, tmp_path: Path
) -> None:
    scores = runs(tmp_path) / "scores" / "tiny-llama" / "llm-pruner" / "s0.safetensors"
    workflow = start_and_wait(tmp_path, scores)
    while not any(kill_running(job) for job in jobs_of(tmp_path)):
        time.sleep(0.05)
    assert workflow.wait(timeout=300) != 0, "the killed job must be reported"
    resumed = run(tmp_path, *MATRIX)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    expected = (runs(undisturbed) / "results.csv").read_bytes()
    assert (runs(tmp_path) / "results.csv").read_bytes() == expected


def test_truncated_result_is_named_and_made_again_once_deleted(
    undisturbed: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(undisturbed), str(copied)], check=True)
    expected = (runs(copied) / "results.csv").read_bytes()
    broken = evaluation(copied, CELLS[1])
    broken.write_text(broken.read_text()[:100])
    refused = run(copied, *MATRIX)
    assert refused.returncode != 0
    assert f"{CELLS[1]}/evaluation.json" in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    broken.unlink()
    mended = run(copied, *MATRIX)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert (runs(copied) / "results.csv").read_bytes() == expected


def test_a_dense_model_that_misses_its_known_score_stops_the_run(
    undisturbed: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(undisturbed), str(copied)], check=True)
    dense = evaluation(copied, CELLS[0])
    content = json.loads(dense.read_text())
    del content["sha256"]
    content["results"]["tiny_local_thing"]["acc_norm"] = 1.0
    write_sealed_json(dense, content)
    evaluation(copied, CELLS[1]).unlink()
    stopped = run(copied, *MATRIX)
    output = stopped.stdout + stopped.stderr
    assert stopped.returncode != 0
    assert "error: dense tiny-llama: tiny_local_thing is 1.0000" in output
    assert not evaluation(copied, CELLS[1]).exists(), "nothing is evaluated after a failed check"
    allowed = run(copied, *MATRIX, "dense_gate=off")
    assert allowed.returncode == 0, allowed.stdout + allowed.stderr
    assert evaluation(copied, CELLS[1]).exists()


def test_a_table_s_variants_are_run_for_that_table_alone(undisturbed: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(undisturbed), str(copied)], check=True)
    expected = (runs(copied) / "results.csv").read_bytes()
    cells = set(copied.glob("**/evaluation.json"))
    finished = run(copied, "methods=dense,llm-pruner", *MATRIX[1:], target="quirks")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    new = set(copied.glob("**/evaluation.json")) - cells
    assert new == {evaluation(copied, "llm-pruner@corrected/20/none/s0")}
    assert (runs(copied) / "results.csv").read_bytes() == expected
    assert ",llm-pruner,1,corrected," in (runs(copied) / "results-quirks.csv").read_text()
    table = copied / "paper_tables" / "generated" / "tiny" / "quirks.md"
    assert "query heads aligned, against LLM-Pruner |" in table.read_text()


def test_cells_that_fail_numerically_are_shown_and_others_go_on(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = locate("tiny-llama")
    model = tmp_path / "broken-model"
    model.mkdir()
    for file in source.iterdir():
        if file.name not in ("manifest.json", "model.safetensors"):
            (model / file.name).write_bytes(file.read_bytes())
    weights = load_file(source / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    finished = run(
        tmp_path,
        *(f"models=tiny-llama,{model}", "methods=dense,llm-pruner", "sparsities=20", "seeds=0"),
        target="table7",
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    cell = runs(tmp_path) / "cells" / "broken-model" / "llm-pruner" / "20" / "none" / "s0"
    assert json.loads((cell / "pruning.json").read_text())["status"] == "failed"
    table = (tmp_path / "paper_tables" / "generated" / "tiny" / "table7.md").read_text()
    assert "failed" in table
    assert "calibration loss is nan" in table


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("methdos=flap", "did you mean 'methods'"),
        ("profile=tinny", "did you mean 'tiny'"),
        ("profile=../config/tiny", "unknown profile '../config/tiny'"),
        ("methods=flapp", "did you mean 'flap'"),
        ("models=no-such-model", "unknown model 'no-such-model'"),
        ("models=/no/such/folder", "/no/such/folder"),
        ("sparsities=0", "1..99"),
        ("sparsities=100", "1..99"),
        ("sparsities=many", "whole numbers"),
        ("seeds=1,1", "twice"),
        ("local_data=/no/such/folder", "/no/such/folder is no folder"),
        ("dense_gate=perhaps", "dense_gate"),
    ],
)
def test_wrong_setting_ends_in_one_line_before_any_work(
    tmp_path: Path, setting: str, told: str
) -> None:
    refused = run(tmp_path, setting)
    output = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "Traceback" not in output
    assert [line for line in output.splitlines() if line.startswith("error:") and told in line]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("profile", "texts"), [("mini", 0), ("offline", 0), ("small", 1), ("paper", 1), ("tiny", 0)]
)
def test_every_profile_plans_its_run(tmp_path: Path, profile: str, texts: int) -> None:
    planned = run(tmp_path, f"profile={profile}", "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "table1" in planned.stdout
    # One job reads a text of the hub, however many models and seeds draw from it.
    reads = re.findall(r"^fetch_text +(\d+)$", planned.stdout, re.MULTILINE)
    assert set(map(int, reads)) == ({texts} if texts else set())
