"""Prefetching: the cache, or a folder that serves as hub and cache; then nothing is asked again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import datasets
import pytest
from hub_rows import SPLITS
from training_rows import SPLITS as TRAINING_SPLITS

from adaptprune.config import load_profile
from adaptprune.corpus import read_texts
from adaptprune.errors import UserError
from adaptprune.evaluate import suites
from adaptprune.evaluate.catalog import load_task
from adaptprune.hubdata import read_split
from adaptprune.models import locate
from adaptprune.prefetch import prefetch
from adaptprune.recover.data import find_data

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("lm_eval")

PAPER = """
title: t
models: [tiny-llama]
methods: [dense, flap]
sparsities: [20]
seeds: [0]
calibration: {dataset: slimpajama, sequences: 2, length: 8}
evaluation: {suite: all-paper}
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """Put the made-up rows in the hub's place; return what has been asked for."""
    calls: list[tuple[str, str | None, str]] = []
    made = {(name, config, split): (count, row) for name, config, split, count, row in SPLITS}

    def load(path: str, name: str | None = None, split: str = "", streaming: bool = False) -> Any:
        calls.append((path, name, split))
        count, row = made[path, name, split]
        rows = datasets.Dataset.from_list([row(index) for index in range(count)])
        return rows.to_iterable_dataset() if streaming else rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    return calls


@pytest.fixture
def profile(tmp_path: Path) -> Any:
    config = tmp_path / "config"
    config.mkdir()
    (config / "p.yaml").write_text(PAPER)
    return load_profile(config, "p")


@pytest.mark.usefixtures("small")
def test_a_folder_holds_all_that_the_profile_needs(
    profile: Any, asked: list[Any], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The index of lm-eval's tasks is slow to make; a folder of its own would make another.
    folder = cache
    found = prefetch(profile, folder)
    # All splits of the made-up hub but those of a task that no suite has.
    wanted = {
        (name, config, split) for name, config, split, *_ in SPLITS if name[6:] != "agieval-math"
    }
    assert set(asked) == wanted
    entries = json.loads((folder / "manifest.json").read_text())["files"]
    assert "allenai/ai2_arc/ARC-Easy/test.parquet" in entries
    assert "cais/mmlu/anatomy/dev.parquet" in entries
    assert any(name.startswith("models/") for name in entries)
    assert found["files"] == len(entries)

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    assert prefetch(profile, folder) == found
    assert len(load_task("mmlu_anatomy", None, num_fewshot=5, local_data=folder).eval_docs) == 3
    assert len(read_texts("slimpajama", folder)) == 20
    assert locate("tiny-llama").is_relative_to(folder)

    file = folder / "cais/mmlu/anatomy/dev.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"dev\.parquet: altered since"):
        read_split(folder, "cais/mmlu", "anatomy", "dev", [])


@pytest.mark.usefixtures("asked")
def test_a_data_set_of_another_size_is_refused(profile: Any, cache: Path, tmp_path: Path) -> None:
    from adaptprune.prefetch import _splits

    boolq = suites.load_suite("all-paper").tasks[2]
    with pytest.raises(UserError, match="task boolq: has 3 documents, its full set has 3270"):
        _splits(boolq, tmp_path / "new")


def test_an_unreachable_hub_is_one_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptprune.prefetch import _splits

    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    boolq = suites.load_suite("all-paper").tasks[2]
    with pytest.raises(UserError, match=r"aps/super_glue \(boolq\), split validation: cannot be"):
        _splits(boolq, tmp_path / "new")


def test_a_mixture_is_fetched_as_splits(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptprune.prefetch import _mixture

    def load(path: str, name: str | None, split: str, revision: str) -> Any:
        expected, row = TRAINING_SPLITS[path]
        assert (name, split, revision) == (None, expected, "main")
        return datasets.Dataset.from_list([row(index) for index in range(3)])

    monkeypatch.setattr(datasets, "load_dataset", load)
    files = _mixture("paper", tmp_path)
    assert len(files) == 9
    assert files[0] == tmp_path / "Open-Orca" / "OpenOrca" / "default" / "train.parquet"
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    assert _mixture("paper", tmp_path) == files
    data = find_data("paper", tmp_path)
    assert [len(list(domain.documents())) for domain in data.domains] == [3] * 9


def test_an_offline_profile_fills_the_cache_or_a_folder(command: Any, tmp_path: Path) -> None:
    status, output, errors = command("prefetch", "--profile", "tiny")
    assert status == 0, errors
    assert json.loads(output)["mixtures"] == ["tiny-domains"]
    assert json.loads(output)["suite"] == "commonsense-tiny"
    status, output, errors = command("prefetch", "--profile", "tiny", "--to", tmp_path / "to")
    assert status == 0, errors
    assert (tmp_path / "to" / "models" / json.loads(output)["models"]["tiny-llama"]).is_dir()
    entries = json.loads((tmp_path / "to" / "manifest.json").read_text())["files"]
    assert "models/tiny-0/model.safetensors" in entries
