"""Prefetching: the cache, or a folder that serves as hub and cache; then nothing is asked again."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import datasets
import pytest
import yaml
import zstandard
from hub_client import forget, point_to
from hub_rows import ROWS, SPLITS
from loopback_hub import LoopbackHub
from training_rows import SPLITS as TRAINING_SPLITS

from adaptprune.data.hub_rows import read_split
from adaptprune.data.texts import read_texts
from adaptprune.data.training import find_data
from adaptprune.errors import UserError
from adaptprune.evaluation.catalog import load_task
from adaptprune.evaluation.stage import fetch_suite
from adaptprune.evaluation.suitedata import TaskSource, suite_sources
from adaptprune.evaluation.suites import load_suite
from adaptprune.files.atomic import cache_directory
from adaptprune.models.catalogue import locate
from adaptprune.workflow.prefetch import prefetch
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Iterator
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
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[LoopbackHub]:
    """A hub with the made-up rows, one repository per data set."""
    root = tmp_path / "root"
    for dataset, configurations in splits_by_data_set().items():
        write_repository(root / "datasets" / dataset / "1", configurations)
    with LoopbackHub(root) as running:
        point_to(running, tmp_path / "home", monkeypatch)
        # The index of lm-eval's tasks is slow to make; a folder of its own would make another.
        monkeypatch.setenv("ADAPTPRUNE_CACHE", str(cache))
        yield running
    forget()


def splits_by_data_set() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for dataset, configuration, split, count, row in SPLITS:
        found.setdefault(dataset, []).append((configuration, split, count, row))
    for dataset, (split, row) in TRAINING_SPLITS.items():
        found.setdefault(dataset, []).append((None, split, ROWS, row))
    return found


def write_repository(folder: Path, splits: list[Any]) -> None:
    """Write a data set's rows, and the card that says which file is which split."""
    configs: dict[str, Any] = {}
    for configuration, split, count, row in splits:
        if folder.parent.name == "SlimPajama-627B":
            write_lines(folder / split / "chunk1" / "a_0.jsonl.zst", count, row)
            continue
        name = configuration or "default"
        file = folder / name / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list([row(index) for index in range(count)]).to_parquet(file)
        place = {"split": split, "path": f"{name}/{split}.parquet"}
        configs.setdefault(name, {"config_name": name, "data_files": []})
        configs[name]["data_files"].append(place)
    card = yaml.safe_dump({"configs": list(configs.values())} if configs else {"license": "mit"})
    (folder / "README.md").write_text(f"---\n{card}---\n")


def write_lines(file: Path, count: int, row: Any) -> None:
    file.parent.mkdir(parents=True)
    with zstandard.open(file, "wt") as stream:
        stream.writelines(json.dumps(row(index)) + "\n" for index in range(count))


#: Data sets of the made-up hub that no suite has, and of the second paper's suites.
OF_OTHER_SUITES = {
    *("hails/agieval-math", "nyu-mll/glue", "openai/gsm8k"),
    "EleutherAI/hendrycks_math",
}


def large_files(served: LoopbackHub) -> list[str]:
    """Return the files with rows that have been asked for."""
    return [request.path for request in served.requests if request.path.startswith("/large/")]


@pytest.fixture
def profile(tmp_path: Path) -> Any:
    config = tmp_path / "config"
    config.mkdir()
    (config / "p.yaml").write_text(PAPER)
    return load_profile(config, "p")


@pytest.mark.usefixtures("small")
def test_a_folder_holds_all_that_the_profile_needs(
    profile: Any, served: LoopbackHub, cache: Path
) -> None:
    folder = cache
    found = prefetch(profile, folder)
    # All splits of the made-up hub but those of tasks that the profile's suite lacks, once each.
    wanted = [name for name, *_ in SPLITS if name not in OF_OTHER_SUITES]
    assert len(large_files(served)) == len(set(large_files(served))) == len(wanted)
    entries = json.loads((folder / "manifest.json").read_text())["files"]
    assert "allenai/ai2_arc/ARC-Easy/test.parquet" in entries
    assert "cais/mmlu/anatomy/dev.parquet" in entries
    assert any(name.startswith("models/") for name in entries)
    assert found["files"] == len(entries)

    served.requests.clear()
    forget()
    assert prefetch(profile, folder) == found
    assert len(load_task("mmlu_anatomy", None, num_fewshot=5, local_data=folder).eval_docs) == 3
    assert len(read_texts("slimpajama", folder)) == 20
    assert locate("tiny-llama").is_relative_to(folder)
    assert served.requests == []

    file = folder / "cais/mmlu/anatomy/dev.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"dev\.parquet: altered since"):
        read_split(folder, "cais/mmlu", "anatomy", "dev", [])


@pytest.mark.usefixtures("small")
def test_after_a_prefetch_an_evaluation_asks_the_hub_nothing(
    served: LoopbackHub, command: Any, profile: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hub's data lie in a cache of their own, so that other tests find none of them.
    lists = list(cache_directory().glob("lm-eval-*-index.json"))
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(tmp_path / "cache"))
    for file in lists:
        (tmp_path / "cache").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "cache")
    prefetch(profile, None)
    assert served.requests
    served.requests.clear()
    forget()
    assert fetch_suite("commonsense-boolq-paper")["commits"].keys() >= {"aps/super_glue"}
    status, _, errors = command(
        *("evaluate", "--model", "tiny-llama", "--suite", "commonsense-boolq-paper"),
        *("--output", tmp_path / "evaluation.json"),
    )
    assert status == 0, errors
    status, _, errors = command(
        *("calibrate", "--model", "tiny-llama", "--dataset", "slimpajama", "--sequences", 2),
        *("--length", 8, "--seed", 0, "--output", tmp_path / "drawn.json"),
    )
    assert status == 0, errors
    assert served.requests == []


def test_a_data_set_of_another_size_is_refused(served: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"super_glue \(boolq\).*has 3 documents, .*3270"):
        boolq().fetch(tmp_path / "new")
    assert not boolq().source.is_in(tmp_path / "new")


def boolq() -> TaskSource:
    sources = suite_sources(load_suite("commonsense-boolq-paper"))
    return next(source for source in sources if source.task == "boolq")


def test_a_mixture_is_fetched_as_splits(served: LoopbackHub, cache: Path, tmp_path: Path) -> None:
    from adaptprune.workflow.prefetch import _mixture

    files = _mixture("paper", tmp_path)
    assert len(files) == 9
    assert files[0] == tmp_path / "Open-Orca" / "OpenOrca" / "default" / "train.parquet"
    served.requests.clear()
    assert _mixture("paper", tmp_path) == files
    data = find_data("paper", tmp_path)
    assert [len(list(domain.documents())) for domain in data.domains] == [3] * 9
    assert served.requests == []


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
