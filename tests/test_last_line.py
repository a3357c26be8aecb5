"""What a command says last: what it wrote, or how to go on; `make clean` deletes nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from matrix_examples import write_scored_cell

import adaptprune
from adaptprune.commands import written
from adaptprune.results.matrix import store_cells
from adaptprune.workflow.ending import say_made

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

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


def test_make_clean_moves_aside(tmp_path: Path) -> None:
    (tmp_path / "results" / "runs" / "mini").mkdir(parents=True)
    (tmp_path / ".snakemake").mkdir()
    command = ["make", "-f", str(ROOT / "Makefile"), "clean"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not (tmp_path / "results" / "runs").exists()
    assert len(list(tmp_path.glob("cleaned/*/results/runs/mini"))) == 1
    assert len(list(tmp_path.glob("cleaned/*/.snakemake"))) == 1
    assert done.stdout.count("moved ") == 2
