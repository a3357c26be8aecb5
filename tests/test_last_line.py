"""What a command says last: what it wrote, or how to go on; `make clean` deletes nothing."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from matrix_examples import write_scored_cell

import adaptprune
from adaptprune.cli import COMMANDS
from adaptprune.commands import written
from adaptprune.results.matrix import store_cells
from adaptprune.workflow.ending import Ending, say_made

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., tuple[int, str, str]]

ROOT = Path(adaptprune.__file__).parents[1]


def test_a_command_ends_with_what_it_wrote(command: Command, tmp_path: Path) -> None:
    results, page = tmp_path / "tiny.csv", tmp_path / "page.html"
    store_cells([write_scored_cell(tmp_path, "flap")], "tiny", results)
    for _ in range(2):
        status, out, err = command("leaderboard", results, "--output", page)
        assert (status, out, err) == (0, "", f"wrote {page}\n")
    status, _, err = command("leaderboard", tmp_path / "other.csv", "--output", page)
    assert status == 2
    assert err.startswith("error: ")
    assert "wrote" not in err


def test_what_was_there_before_is_not_said_to_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, replaced, absent = (tmp_path / name for name in ("kept", "replaced", "absent"))
    for file in (kept, replaced):
        file.write_text("before")
    written.forget()
    written.note(kept, replaced, absent)
    (tmp_path / "new").write_text("after")
    os.replace(tmp_path / "new", replaced)
    written.tell()
    assert capsys.readouterr().err == f"wrote {replaced}\n"


def test_a_pretrained_model_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "adaptprune.recovery.pretraining.write_pretrained_model"
    monkeypatch.setattr(target, lambda entry, output: output.mkdir())
    status, _, err = command("pretrain", "--model", "pocket-1m", "--output", tmp_path / "model")
    assert (status, err) == (0, f"wrote {tmp_path / 'model'}\n")


def test_every_command_with_an_output_notes_it() -> None:
    """Those that print alone, and what trains one stage, have no last line."""
    names = {function.__name__ for group in COMMANDS.values() for function in group}
    noting = 0
    for file in (ROOT / "adaptprune" / "commands").glob("*.py"):
        source = file.read_text(encoding="utf-8")
        for function in ast.parse(source).body:
            if not isinstance(function, ast.FunctionDef) or function.name not in names:
                continue
            options = {option.arg for option in function.args.args}
            if options & {"output", "to"} or function.name == "collect":
                body = ast.get_source_segment(source, function) or ""
                assert re.search(r"check_files\(|check_folder_to_write\(|written\.note\(", body), (
                    function.name
                )
                noting += 1
    assert noting > 20


def test_the_interrupt_ends_in_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("adaptprune.evaluation.suites.list_suites", interrupted)
    status, out, err = command("tasks")
    assert (status, out) == (130, "")
    assert err.strip() == "stopped; run the same command to go on"


def test_the_version_and_the_help_without_arguments(command: Command) -> None:
    assert command("--version") == (0, f"adaptprune {adaptprune.__version__}\n", "")
    status, out, err = command()
    assert (status, err) == (0, "")
    assert "leaderboard" in out


def test_a_target_ends_with_the_pages_that_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("b.md", "a.html", "results.csv"):
        (tmp_path / name).write_text("")
    files = [str(tmp_path / name) for name in ("b.md", "results.csv", "absent.md")]
    say_made([SimpleNamespace(input=files, output=[str(tmp_path / "a.html")])])
    assert capsys.readouterr().err == f"made {tmp_path}/a.html\nmade {tmp_path}/b.md\n"


class FakeWorkflow:
    """What a workflow's last lines need of Snakemake: a graph of so many jobs."""

    dryrun = False

    def __init__(self, page: str, jobs: int) -> None:
        self.dag = FakeGraph(page, jobs)


@pytest.mark.parametrize("entry", ["main", "main_of_job"])
def test_ctrl_c_during_the_imports_ends_in_one_line(entry: str) -> None:
    stopped_while_importing = f"""
import signal, sys
class Stopping:
    def find_spec(name, *_):
        if name == "adaptprune.cli":
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Stopping)
from adaptprune.__main__ import {entry}
{entry}()
"""
    ended = subprocess.run(
        [sys.executable, "-c", stopped_while_importing], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "stopped; run the same command to go on\n"


class FakeGraph:
    def __init__(self, page: str, jobs: int) -> None:
        self.targetjobs = [SimpleNamespace(input=[page], output=[])]
        self._jobs = jobs

    def __len__(self) -> int:
        return self._jobs


def ended(
    workflow: FakeWorkflow, monkeypatch: pytest.MonkeyPatch, *, begins: bool, stops: bool
) -> None:
    """Let a workflow end."""
    last: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", last.append)
    kept = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ending = Ending(workflow)
        ending.watch()
        if begins:
            ending.begin()
        if stops:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, kept)
    monkeypatch.chdir("/")
    for say in last:
        say()


@pytest.mark.parametrize(
    ("jobs", "begins", "stops", "told"),
    [
        (0, False, False, "made table1.md\n"),
        (2, False, False, ""),
        (0, True, False, ""),  # the handler of a run that succeeded has said it
        (2, True, True, "stopped; run the same command to go on\n"),
    ],
)
def test_a_workflow_has_last_lines_without_a_handler(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: int,
    begins: bool,
    stops: bool,
    told: str,
) -> None:
    (tmp_path / "table1.md").write_text("")
    monkeypatch.chdir(tmp_path)
    ended(FakeWorkflow("table1.md", jobs), monkeypatch, begins=begins, stops=stops)
    assert capsys.readouterr().err == told


def test_make_clean_moves_aside(tmp_path: Path) -> None:
    (tmp_path / "results" / "runs" / "mini").mkdir(parents=True)
    (tmp_path / ".snakemake").mkdir()
    command = ["make", "-f", str(ROOT / "Makefile"), "clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not (tmp_path / "results" / "runs").exists()
    assert len(list(tmp_path.glob("cleaned/*/results/runs/mini"))) == 1
    assert len(list(tmp_path.glob("cleaned/*/.snakemake"))) == 1
    assert done.stdout.count("moved ") == 2
