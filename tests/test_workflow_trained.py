"""Trained models through Snakemake: run on the tiny profile, killed and resumed, else planned."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from test_workflow import command, run, runs, wait_until_idle

from adaptprune.files.atomic import write_sealed_json

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("trained")]

TRAINED = (
    *("table2", "table3", "table4", "table5"),
    *("fig3", "fig4", "fig_recovery", "ablation_interleave"),
)
#: A cell that no table of the profile lists.
BOOSTED = "results/runs/tiny/cells/tiny-llama/ast/50/ast-boosted/s0/evaluation.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all tables and figures of trained models, at one seed."""
    folder = tmp_path_factory.mktemp("trained")
    finished = run(folder, "seeds=0", target=(*TRAINED, "ast_fig4", BOOSTED))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder


def test_tables_of_trained_models_say_what_each_one_took(trained: Path) -> None:
    tables = trained / "paper_tables" / "generated" / "tiny"
    lines = (tables / "table4.md").read_text().splitlines()
    printed = [line.split(" | ") for line in lines if "tiny-llama → small" in line]
    rows = {row[2]: row for row in printed}
    assert {"ShearedLLaMA", "Minitron", "Prune, then train", "Adapt-Accel"} <= set(rows)
    assert all(row[4] == "2.05k" for row in rows.values()), "equal tokens"
    assert rows["Minitron"][5] == "2.05k", "and a teacher's own"
    assert rows["Adapt-Accel"][5] == "0"
    for name in ("table2", "table3", "table4_flops", "table5", "ablation_interleave"):
        assert (tables / f"{name}.tex").is_file()
    for name in ("fig3", "fig4", "fig_recovery"):
        assert (tables / "figures" / f"{name}.png").stat().st_size > 1000


def test_sparse_training_is_run_and_shown(trained: Path) -> None:
    figures = trained / "paper_tables" / "generated" / "sparse-tiny" / "figures"
    assert (figures / "ast_fig4.csv").read_text().startswith("annealing,seed,step,flip_rate,")
    assert (figures / "ast_fig4.png").stat().st_size > 1000
    assert json.loads((trained / BOOSTED).read_text())["status"] == "ok"
    counts = json.loads((trained / BOOSTED).with_name("recovery.json").read_text())["counts"]
    assert counts["adapter_parameters"] > 0


def test_trained_cells_keep_record_and_log_but_no_weights(trained: Path) -> None:
    (record,) = runs(trained).glob("cells/tiny-llama/adapt-accel/*/accel/s0/recovery.json")
    content = json.loads(record.read_text())
    assert content["status"] == "ok"
    assert len((record.parent / "log.jsonl").read_text().splitlines()) == content["steps"]
    assert not list(runs(trained).glob("cells/**/checkpoint"))
    assert not list(runs(trained).glob("training/**/*.safetensors")), "the state is removed"


def test_a_second_call_trains_nothing(trained: Path) -> None:
    again = run(trained, "seeds=0", target=TRAINED)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(
    trained: Path, tmp_path: Path
) -> None:
    started = subprocess.Popen(
        command(tmp_path, "seeds=0", target="fig3"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(runs(tmp_path).glob("training/**/checkpoints/stage-*")):
        assert started.poll() is None, "the workflow ended before a checkpoint appeared"
        assert time.monotonic() < deadline, "no checkpoint ever appeared"
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    wait_until_idle(tmp_path)
    resumed = run(tmp_path, "seeds=0", target="fig3")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    data = Path("paper_tables", "generated", "tiny", "figures", "fig3.csv")
    assert (tmp_path / data).read_bytes() == (trained / data).read_bytes()


def test_a_training_whose_loss_is_not_finite_is_shown_and_others_go_on(
    trained: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(trained), str(copied)], check=True)
    (cell,) = runs(copied).glob("cells/tiny-llama/adapt-accel/*/prune-train/s0")
    record = json.loads((cell / "recovery.json").read_text())
    del record["sha256"]
    write_sealed_json(
        cell / "recovery.json", record | {"status": "failed", "reason": "step 3: loss nan"}
    )
    finished = run(copied, "seeds=0", target="table4")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    table = (copied / "paper_tables" / "generated" / "tiny" / "table4.md").read_text()
    assert "prune-train/s0 failed: step 3: loss nan" in table


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("mini", ["pocket-6m", "count-tokens --data bigbench-domains"]),
        ("offline", ["--preset prune-then-lora", "--target-model smollm2-100m"]),
        (
            "paper",
            [
                *("MobileLLM-1B", "DeepSeek", "accelerate/ddp.yaml"),
                "count-tokens --data paper --model facebook/MobileLLM-350M",
            ],
        ),
    ],
)
def test_trained_models_are_planned_at_every_scale(
    tmp_path: Path, profile: str, told: list[str]
) -> None:
    planned = run(tmp_path, f"profile={profile}", "--dry-run", "--printshellcmds", target=TRAINED)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    for words in told:
        assert words in planned.stdout


def test_a_profile_without_trained_models_is_told_in_one_line(tmp_path: Path) -> None:
    refused = run(tmp_path, "profile=small", "--dry-run", target="table3")
    output = refused.stdout + refused.stderr
    assert refused.returncode != 0
    assert "table3 has no rows for profile small" in output
    assert "Traceback" not in output
