"""What `doctor` finds."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import types
from typing import TYPE_CHECKING, Any

import pytest
from doctor_examples import CONFIG, RATES, subject

from adaptprune.data.hub_splits import hub_folder
from adaptprune.doctor import inputs, machine
from adaptprune.doctor.examine import CHECKS, examine
from adaptprune.doctor.finding import Finding
from adaptprune.doctor.forecast import (
    Disk,
    pruning_seconds,
)
from adaptprune.evaluation import suitedata
from adaptprune.models.catalogue import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]


def silence(monkeypatch: pytest.MonkeyPatch, answer: bool = False) -> None:
    """Let hub and registry be silent, or answer."""
    monkeypatch.setattr(inputs, "hub_answers", lambda: answer)
    monkeypatch.setattr(inputs, "registry_answers", lambda: answer)


# The machine


def test_an_old_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.check_python(subject(tmp_path)).level == "ok"
    monkeypatch.setattr(machine, "OLDEST_PYTHON", (9, 0))
    assert machine.check_python(subject(tmp_path)).level == "missing"


def test_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.check_packages(subject(tmp_path)).level == "ok"
    versions = {"torch": "1.0", "pandas": "3.9"}
    real = machine.metadata.version
    monkeypatch.setattr(machine.metadata, "version", lambda name: versions.get(name) or real(name))
    old = machine.check_packages(subject(tmp_path))
    assert old.level == "missing"
    assert "torch>=" in old.text
    assert "(is 1.0)" in old.text
    del versions["torch"]
    other = machine.check_packages(subject(tmp_path))
    assert other.level == "warning"
    assert "pandas 3.9 (pinned 3.1.1)" in other.text

    def absent(name: str) -> str:
        raise machine.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(machine.metadata, "version", absent)
    assert "gguf" in machine.check_packages(subject(tmp_path)).text


def fake_cuda(monkeypatch: pytest.MonkeyPatch, memory: float, bfloat16: bool = True) -> None:
    import torch

    card = types.SimpleNamespace(name="Card", total_memory=memory)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)


def test_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = machine.check_device(subject(tmp_path, "paper"))
    assert found.level == "missing"
    assert "sees no GPU" in found.text


@pytest.mark.parametrize(
    ("memory", "bfloat16", "device", "level", "word"),
    [
        (80e9, True, "cuda", "ok", "Card, 80.0 GB"),
        # Eight billion parameters of two bytes, and the gradients of one layer.
        (20e9, True, "cuda", "missing", "pruning meta-llama/Llama-3.1-8B takes about 20.8 GB"),
        # A card of 24 GB prunes it; two models have no room there.
        (25.7e9, True, "cuda", "warning", "and a pruned one takes about 30.2 GB"),
        (80e9, False, "cuda", "missing", "no bfloat16"),
        (80e9, True, "cuda:1", "missing", "this machine has 1 GPU(s)"),
    ],
)
def test_the_gpu_of_the_profile(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: float,
    bfloat16: bool,
    device: str,
    level: str,
    word: str,
) -> None:
    fake_cuda(monkeypatch, memory, bfloat16)
    found = machine.check_device(subject(tmp_path, "paper", device=device))
    assert found.level == level
    assert word in found.text


@pytest.mark.parametrize(
    ("there", "level", "cure"),
    [(4e9, "ok", ""), (2e9, "warning", "--cores 1"), (1e9, "missing", "machine with more")],
)
def test_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: float, level: str, cure: str
) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=there))
    found = machine.check_memory(subject(tmp_path))  # two jobs of 1,500 MB
    assert found.level == level
    assert cure in found.cure


@pytest.mark.parametrize(
    ("name", "changes", "needed"),
    [
        ("paper", {"memory_mb": 16_000}, "16.1 GB"),  # the weights pass through on their way
        ("paper", {"memory_mb": 16_100}, None),
        ("mini", {"memory_mb": 1000}, "1.1 GB"),  # dense and pruned in float32
    ],
)
def test_a_job_s_memory_is_enough_for_its_models(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changes: dict[str, Any],
    needed: str | None,
) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(total=1e12))
    found = machine.check_memory(subject(tmp_path, name, **changes))
    assert found.level == ("missing" if needed else "ok")
    assert (needed or "1000.0 GB") in found.text


def test_activations_that_are_computed_twice_take_a_third_longer(tmp_path: Path) -> None:
    shape = shape_of("tiny-llama")
    on_cpu, in_half = (
        pruning_seconds(subject(tmp_path, dtype=dtype).profile, "llm-pruner", shape, 20, RATES)
        for dtype in ("float32", "bfloat16")
    )
    assert in_half == pytest.approx(4 / 3 * on_cpu)


def test_jobs_at_once(tmp_path: Path) -> None:
    assert subject(tmp_path).at_once == 2
    assert subject(tmp_path, threads=2).at_once == 1
    on_gpus = dataclasses.replace(subject(tmp_path, "paper"), gpus=4)
    assert on_gpus.at_once == 4


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    assert machine.check_results(subject(tmp_path)).level == "ok"
    assert machine.check_cache(subject(tmp_path)).level == "ok"

    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    results = machine.check_results(subject(tmp_path))
    assert results.level == "missing"
    assert "Permission denied" in results.text
    assert machine.check_cache(subject(tmp_path)).level == "missing"
    (tmp_path / "cache" / "models" / "filled").mkdir(parents=True)
    assert machine.check_cache(subject(tmp_path)).level == "warning"


@pytest.mark.parametrize(("free", "level"), [(13, "ok"), (11, "warning"), (9, "missing")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    usage = types.SimpleNamespace(free=free)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage)
    # Both folders lie on one disk, so what they take adds up.
    monkeypatch.setattr(machine, "disk_needed", lambda profile, at_once: Disk(6, 4))
    assert machine.check_disk(subject(tmp_path)).level == level


@pytest.mark.parametrize(
    ("name", "changes", "seconds"),
    [
        ("paper", {}, 0.01),  # without its device nothing is timed
        ("tiny", {}, 0),
        ("tiny", {"models": ["org/model"], "recoveries": {}}, 0.01),  # nothing to be forecast
    ],
)
def test_the_disk_is_looked_at_without_a_forecast_too(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    changes: dict[str, Any],
    seconds: float,
) -> None:
    import torch

    silence(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda place: usage)
    found = examine(subject(tmp_path, name, **changes), seconds)
    assert found.forecast is None
    (disk,) = [finding for finding in found.findings if finding.check == "disk"]
    assert disk.level == "missing"
    assert "make room" in disk.cure


# What a run reads


def test_models_by_where_they_come_from(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(monkeypatch)
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inputs, "_has_token", lambda: False)
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text("{}")
    models = ["tiny-llama", "smollm2-135m", "meta-llama/Llama-3.2-1B", "org/model", str(own)]
    found = inputs.check_models(subject(tmp_path, models=models, recoveries={}))
    assert [finding.level for finding in found] == ["ok", *["missing"] * 4]
    assert "made on first use" in found[0].text
    assert "the package registry is silent" in found[1].text
    assert "hf auth login" in found[2].cure
    assert "the Hugging Face hub is silent" in found[3].text
    assert "no safetensors" in found[4].text
    silence(monkeypatch, answer=True)
    monkeypatch.setattr(inputs, "_has_token", lambda: True)
    (own / "model.safetensors").touch()
    found = inputs.check_models(subject(tmp_path, models=models, recoveries={}))
    assert [finding.level for finding in found] == ["ok", "warning", "warning", "warning", "ok"]
    assert "prefetch --profile tiny" in found[1].cure


def test_a_damaged_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptprune.models.catalogue import locate

    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    folder = locate("tiny-llama")
    assert "hashes right" in inputs.check_models(subject(tmp_path, recoveries={}))[0].text
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (found,) = inputs.check_models(subject(tmp_path, recoveries={}))
    assert found.level == "missing"
    assert "content was altered" in found.text
    assert f"delete {folder}" in found.cure


def test_task_data_and_texts_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptprune.data.bigbench import RELEASE

    silence(monkeypatch)
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    mini = subject(tmp_path, "mini")
    assert [finding.level for finding in inputs.check_tasks(mini)] == ["missing"]
    assert {finding.level for finding in inputs.check_texts(mini)} == {"missing"}
    RELEASE.path.parent.mkdir(parents=True)
    RELEASE.path.touch()
    assert "built on first use" in inputs.check_tasks(mini)[0].text
    assert inputs.check_tasks(subject(tmp_path))[0].level == "ok"


def test_task_data_and_texts_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    # lm-eval's own answer takes ten seconds.
    config = {"dataset_path": "org/name", "test_split": "test"}
    monkeypatch.setattr(suitedata, "task_config", lambda task, folder: config)
    small = subject(tmp_path, "small")
    (tasks,) = inputs.check_tasks(small)
    assert tasks.level == "missing"
    assert "1 of 1 data sets (org/name)" in tasks.text
    (text,) = [f for f in inputs.check_texts(small) if f.text.startswith("slimpajama")]
    assert text.level == "missing"
    folder = subject(tmp_path, "small", local_data=str(tmp_path))
    assert len(inputs.check_tasks(folder)) == 8
    assert all("no such file" in finding.text for finding in inputs.check_tasks(folder))
    assert "no such file" in inputs.check_texts(folder)[0].text
    file = hub_folder() / "org" / "name" / "default" / "test.jsonl"
    file.parent.mkdir(parents=True)
    file.touch()
    assert inputs.check_tasks(small)[0].level == "ok"
    file.with_name("test.jsonl.sha256").write_text("another")
    assert "altered since it was fetched" in inputs.check_tasks(small)[0].text


def test_readers_of_the_files_of_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    assert inputs.check_readers(subject(tmp_path, "small")).level == "ok"
    assert inputs.check_readers(subject(tmp_path, "paper-training")).level == "ok"
    find = importlib.util.find_spec
    lacking = {"zstandard", "sentencepiece"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in lacking else find(n))
    text = inputs.check_readers(subject(tmp_path, "small"))
    assert (text.level, text.text) == ("missing", "no zstandard (the text slimpajama)")
    assert "pip install" in text.cure
    tokenizer = inputs.check_readers(subject(tmp_path, "paper-training"))
    assert "no sentencepiece (the tokenizer of facebook/MobileLLM" in tokenizer.text
    assert inputs.check_readers(subject(tmp_path, "tiny")).level == "ok"


def test_readers_of_the_answers_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silence(monkeypatch)
    small = subject(tmp_path, "small")
    asked = small.profile.evaluation.model_copy(update={"suite": "knowledge-sparse-paper"})
    changed = small.profile.model_copy(update={"evaluation": asked})
    knowing = dataclasses.replace(small, profile=changed)
    assert inputs.check_readers(knowing).level == "ok"
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "math_verify" else find(n)
    )
    found = inputs.check_readers(knowing)
    assert (found.level, found.text) == ("missing", "no math_verify (the task minerva_math)")


def test_a_healthy_profile(command: Command, tmp_path: Path) -> None:
    arguments = ("doctor", "--profile", "tiny", "--runs", tmp_path, "--config-folder", CONFIG)
    status, out, _ = command(*arguments, "--seconds", "0.01")
    assert status == 0
    assert "forecast: 17 cells take about" in out
    assert out.endswith("profile tiny: nothing is missing\n")
    status, out, _ = command(*arguments, "--seconds", "0", "--json")
    content = json.loads(out)
    assert status == 0
    assert content["healthy"]
    assert content["forecast"] is None
    checks = {finding["check"] for finding in content["findings"]}
    assert {"python", "packages", "device", "memory", "cache", "results", "tasks"} <= checks


def test_what_is_missing_makes_the_exit_status_1(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(monkeypatch)
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "empty"))
    arguments = ("--runs", tmp_path, "--config-folder", CONFIG, "--seconds", 0)
    status, out, _ = command("doctor", "--profile", "mini", *arguments)
    assert status == 1
    assert "missing model               smollm2-135m is not in the cache" in out
    assert not (tmp_path / "empty").exists(), "nothing may be fetched"


def test_an_unknown_architecture_has_no_forecast(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silence(monkeypatch, answer=True)
    found = examine(subject(tmp_path, models=["org/model"], recoveries={}), seconds=0.01)
    assert found.forecast is None
    assert found.findings[-1].check == "forecast"
    assert len(found.findings) > len(CHECKS)


def test_lines_say_what_to_do() -> None:
    line = Finding("disk", "missing", "1 MB free", "make room").line()
    assert line == "missing disk                1 MB free; make room"
