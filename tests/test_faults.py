"""Faults of disks, clocks and neighbours: a right result or one clear line, never a wrong row."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
from typing import TYPE_CHECKING, Any

import pytest
from cell_examples import EVALUATION, PRUNING, changed, write_cell
from package_index import Index, serve, sha256
from recovery_examples import assert_same_weights, log_without_times, recovery
from small_disk import SmallDisk, small_disk

from adaptprune.errors import UserError
from adaptprune.evaluation import outcome
from adaptprune.files import manifest
from adaptprune.files import releases as download
from adaptprune.files.atomic import atomic_directory, atomic_file, sha256_file, write_json
from adaptprune.files.releases import Release, release_file
from adaptprune.machine.workflow_lock import hold_lock
from adaptprune.models import catalogue as models
from adaptprune.models.catalogue import locate
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.stage import recover_stage
from adaptprune.results.rows import collect, read_results, write_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]

PRUNE = (
    *("prune", "--model", "tiny-llama", "--method", "llm-pruner", "--sparsity", 20, "--seed", 0),
    *("--calibration", "tiny-prose", "--sequences", 4, "--length", 16),
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", kib=16) as found:
        yield found


def refused(run: tuple[int, str, str], path: Path) -> None:
    """Check that a command ended in one line which says that a path cannot be written."""
    status, out, err = run
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    reason = r"No space left on device|File too large|Read-only file system"
    assert re.match(rf"error: {re.escape(str(path))}: cannot be written \(({reason})\)", err), err


def visible(folder: Path) -> list[str]:
    """Return what a folder holds besides locks."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_full_disk_while_a_model_is_fetched(
    disk: SmallDisk, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(disk.path))
    again = ("fetch", "--model", "tiny-llama", "--output", tmp_path / "model.json")
    model = models._cached_folder(models.catalogue()["tiny-llama"].source)
    refused(command(*again), model)
    assert visible(disk.path) == []
    assert not (tmp_path / "model.json").exists()
    disk.enlarge()
    assert command(*again)[0] == 0
    manifest.verify_folder(model)


def test_full_disk_in_the_middle_of_a_download(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 400
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(disk.path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setattr(download, "PIECE", 4096)
    release = Release("thing", "thing-1.0.tar.gz", sha256(content))
    with serve(Index({release.filename: content})) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        with pytest.raises(UserError, match=rf"{release.filename}: cannot be written"):
            release_file(release)
        assert not release.path.exists()
        disk.enlarge()
        assert release_file(release).read_bytes() == content
        assert index.requests[-1][1] is not None, "it goes on where it stopped"


def test_full_disk_while_pruning(disk: SmallDisk, command: Command) -> None:
    again = (*PRUNE, "--output", disk.path / "out")
    refused(command(*again), disk.path / "out")
    assert visible(disk.path) == []
    disk.enlarge()
    assert command(*again)[0] == 0
    manifest.verify_folder(disk.path / "out")


def test_full_disk_while_scoring(command: Command, tmp_path: Path) -> None:
    arguments = ["score" if part == "prune" else part for part in PRUNE]
    arguments[arguments.index("--sparsity")] = "--sparsities"
    with small_disk(tmp_path / "disk", kib=4) as disk:
        output = disk.path / "s.safetensors"
        refused(command(*arguments, "--output", output), output)
        assert visible(disk.path) == []


def test_full_disk_while_evaluating(disk: SmallDisk, command: Command, tmp_path: Path) -> None:
    if not disk.is_mounted:
        pytest.skip("no file system can be mounted here, and no single file is large")
    arguments = (
        *("evaluate", "--model", "tiny-llama", "--suite", "commonsense-tiny"),
        *("--documents-per-task", 4, "--perplexity-documents", 2, "--max-length", 128),
    )
    status, out, err = command(*arguments, "--output", disk.path / "e.json")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: \S+: cannot be written .*", err.splitlines()[-1])
    assert not (disk.path / "e.json").exists()
    disk.enlarge()
    for place in (disk.path, tmp_path):
        assert command(*arguments, "--output", place / "e.json")[0] == 0
    first, second = (json.loads((p / "e.json").read_text()) for p in (disk.path, tmp_path))
    assert first["results"] == second["results"]
    assert visible(disk.path) == ["e.json", "e.parquet"]


def test_full_disk_while_collecting(disk: SmallDisk, tmp_path: Path) -> None:
    cells = [write_cell(tmp_path, changed(PRUNING, seed=s), EVALUATION) for s in range(40)]
    collected = collect(cells, "tiny")
    with pytest.raises(UserError, match=r"\.csv: cannot be written"):
        write_results(collected, disk.path / "results.csv", disk.path / "provenance.csv")
    assert "results.csv" not in visible(disk.path)
    disk.enlarge()
    write_results(collected, disk.path / "results.csv", disk.path / "provenance.csv")
    assert len(read_results(disk.path / "results.csv")) == len(collected.results)


def test_full_disk_in_a_training_loses_no_bit(tmp_path: Path) -> None:
    recover_stage(recovery(tmp_path), tmp_path / "whole", tmp_path / "whole.run")
    with small_disk(tmp_path / "disk", kib=48) as disk:
        out, run = disk.path / "out", disk.path / "run"
        with pytest.raises(UserError, match="cannot be written"):
            recover_stage(recovery(tmp_path), out, run)
        disk.enlarge()
        recover_stage(recovery(tmp_path), out, run)
        assert_same_weights(out, tmp_path / "whole")
        assert log_without_times(out) == log_without_times(tmp_path / "whole")


def test_read_only_folders_are_told_in_one_line(
    disk: SmallDisk, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not disk.is_mounted:
        pytest.skip("no file system can be mounted here, so none can be made read-only")
    disk.protect()
    refused(command(*PRUNE, "--output", disk.path / "out"), disk.path / "out")
    with pytest.raises(UserError, match=r"runs: cannot be written \(Read-only file system\)"):
        hold_lock(disk.path / "runs")
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(disk.path / "cache"))
    status, _, err = command("fetch", "--model", "tiny-llama", "--output", disk.path / "m.json")
    assert status == 2
    assert "Read-only file system" in err
    assert err.count("\n") == 1


def test_a_filled_cache_may_be_read_only(
    disk: SmallDisk, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not disk.is_mounted:
        pytest.skip("no file system can be mounted here, so none can be made read-only")
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(disk.path))
    disk.enlarge()
    assert command(*PRUNE, "--output", tmp_path / "first")[0] == 0
    disk.protect()
    assert command(*PRUNE, "--output", tmp_path / "second")[0] == 0
    assert_same_weights(tmp_path / "first", tmp_path / "second")


def test_a_cache_that_is_a_file_is_told_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("kept")
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    status, _, err = command("fetch", "--model", "tiny-llama", "--output", tmp_path / "m.json")
    assert status == 2
    assert re.fullmatch(
        r"error: \S+: cannot be written \((Not a directory|File exists)\); .*\n", err
    )
    assert (tmp_path / "cache").read_text() == "kept"


def _die_while_writing(path: Path) -> None:
    with atomic_directory(path) as folder:
        (folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def _die_while_writing_a_file(path: Path) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("die", [_die_while_writing, _die_while_writing_a_file])
def test_what_a_killed_writer_leaves_is_removed_by_the_next(
    die: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "result"
    killed = multiprocessing.get_context("fork").Process(target=die, args=(path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not path.exists()
    (left,) = tmp_path.iterdir()
    write_json(tmp_path / "other", 1)
    assert left.exists(), "what is left of one path is no business of another"
    write_json(path, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "result"]


def test_what_is_in_a_folder_can_be_read_by_other_users(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "result") as folder:
        (folder / "file").touch(mode=0o600)
    assert (tmp_path / "result" / "file").stat().st_mode & 0o777 == 0o644


def test_the_file_of_a_living_writer_stays(tmp_path: Path) -> None:
    path = tmp_path / "result"
    with atomic_file(path) as first:
        write_json(path, 2)
        assert first.exists()
        first.write_text("3")
    assert path.read_text() == "3"


def _fetch_tiny(cache: Path) -> None:
    os.environ["ADAPTPRUNE_CACHE"] = str(cache)
    manifest.verify_folder(locate("tiny-llama"))


def test_two_clones_that_share_a_cache_fetch_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_fetch_tiny, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    (model,) = [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
    manifest.verify_folder(model)


def test_a_second_workflow_in_one_folder_is_refused(tmp_path: Path) -> None:
    hold_lock(tmp_path / "runs")
    with pytest.raises(UserError, match=r"another workflow is running in .*runs; wait"):
        hold_lock(tmp_path / "runs")


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_kept_task_with_one_flipped_bit_is_scored_again(tmp_path: Path) -> None:
    measured = outcome.Outcome({"task": {"acc": 0.5, "n": 4.0}}, {"task": {"hash": "h"}})
    for file in ("name.json", "name.parquet"):
        outcome.save(tmp_path, "name", measured)
        assert outcome.restore(tmp_path, "name") is not None
        flip_bit(tmp_path / file)
        assert outcome.restore(tmp_path, "name") is None


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run folder of a training that stopped after its first checkpoint."""
    step, taken = _Training._step, [0]

    def stopping(training: _Training) -> dict[str, Any]:
        taken[0] += 1
        if taken[0] == 5:
            raise RuntimeError("stopped")
        return step(training)

    with monkeypatch.context() as context:
        context.setattr(_Training, "_step", stopping)
        with pytest.raises(RuntimeError, match="stopped"):
            recover_stage(recovery(tmp_path), tmp_path / "out", tmp_path / "run")
    return tmp_path / "run"


def test_training_data_with_one_flipped_bit_are_named_and_packed_again(
    begun: Path, tmp_path: Path
) -> None:
    rows = begun / "rows" / "rows.bin"
    digest = sha256_file(rows)
    flip_bit(rows)
    with pytest.raises(UserError, match=r"rows\.bin: its content was altered; delete .*rows and"):
        recover_stage(recovery(tmp_path), tmp_path / "out", begun)
    shutil.rmtree(begun / "rows")
    packed: list[str] = []
    step = _Training._step

    def seen(training: _Training) -> dict[str, Any]:
        packed.append(sha256_file(rows))
        return step(training)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(_Training, "_step", seen)
        recover_stage(recovery(tmp_path), tmp_path / "out", begun)
    assert set(packed) == {digest}


def test_training_of_an_older_version_is_one_line(begun: Path, tmp_path: Path) -> None:
    settings = json.loads((begun / "settings.json").read_text())
    del settings["preset"]["title"]
    write_json(begun / "settings.json", settings)
    with pytest.raises(UserError, match=r"settings\.json: preset\.title: .*; delete .* anew"):
        recover_stage(recovery(tmp_path), tmp_path / "out", begun)


def test_a_clock_that_was_set_back_changes_no_row(tmp_path: Path) -> None:
    """Nothing that is compared holds a time, and files of the future are read like others."""
    cell = write_cell(tmp_path, evaluation=EVALUATION)
    written = []
    for year in (1, 60):
        for file in cell.rglob("*"):
            os.utime(file, (year * 3e7, year * 3e7))
        write_results(collect([cell], "tiny"), tmp_path / "r.csv", tmp_path / "p.csv")
        written.append((tmp_path / "r.csv").read_bytes())
    assert written[0] == written[1]
