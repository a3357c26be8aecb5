"""The suite removes its folders at once: a kill leaves nothing that a later run would refuse."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from adaptprune.commands.outputs import check_kept_tasks, check_run_folder
from adaptprune.files import atomic
from adaptprune.files.atomic import remove_folder, write_json
from adaptprune.files.manifest import write_manifest
from adaptprune.recovery.folder import RunFolder


class Killed(BaseException):
    """What stands for a kill."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let every removal of a folder be killed after its first file."""

    def rmtree(path: Any, **_: Any) -> None:
        next(file for file in sorted(Path(path).rglob("*")) if file.is_file()).unlink()
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    return monkeypatch


def test_a_removal_that_is_killed_leaves_no_half(tmp_path: Path, dying: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text(name)
    with pytest.raises(Killed):
        remove_folder(folder)
    assert not folder.exists()
    dying.undo()
    dying.setattr(atomic, "pid_exists", lambda pid: False)  # the killed process is gone
    remove_folder(folder)
    assert not any(tmp_path.iterdir())


def test_kept_tasks_are_removed_whole(tmp_path: Path, dying: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "evaluation.json.partial"
    kept.mkdir()
    for name in ("piqa.json", "piqa.parquet"):
        (kept / name).write_text("kept")
    with pytest.raises(Killed):
        remove_folder(kept)
    check_kept_tasks(kept)


def test_the_state_of_a_recovery_is_removed_whole(
    tmp_path: Path, dying: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    for folder in (run.rows, run.checkpoints / "stage-01-000001"):
        folder.mkdir(parents=True)
        (folder / "content").write_text("kept")
        write_manifest(folder)
    write_json(run.path / "settings.json", {"conditions": {}, "preset": {}, "stages": []})
    for _ in range(2):  # a kill in the rows, then one in the checkpoints
        with pytest.raises(Killed):
            run.remove()
        check_run_folder(run.path, tmp_path / "output", [])
