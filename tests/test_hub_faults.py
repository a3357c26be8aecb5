"""Faults of a hub: a right result or one line, and nothing half-written (docs/faults.md)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet
import pytest
from hub_datasets import PER_FILE
from hub_faults import DATA, MODELS, Row
from hub_machine import Ended, Machine, run
from loopback_hub import Fault, LoopbackHub
from small_disk import small_disk

from adaptprune.forkserver import _VARIABLE, start_forkserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.hub, pytest.mark.xdist_group("hub-faults")]

SHARDED, SENTENCEPIECE = "meta-llama/Llama-3.1-8B", "facebook/MobileLLM-125M"
#: Where the data of a task lie on the hub, and its split that is evaluated.
SPLITS = {
    "arc_easy": ("allenai/ai2_arc", "ARC-Easy", "test"),
    "boolq": ("aps/super_glue", "boolq", "validation"),
    "piqa": ("baber/piqa", "default", "validation"),
    "openbookqa": ("allenai/openbookqa", "main", "test"),
    "winogrande": ("allenai/winogrande", "winogrande_xl", "validation"),
    "social_iqa": ("lighteval/siqa", "default", "validation"),
    "agieval_sat_math": ("hails/agieval-sat-math", "default", "test"),
    "agieval_lsat_ar": ("hails/agieval-lsat-ar", "default", "test"),
}


@pytest.fixture(scope="module")
def hub(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """A hub whose repositories every test may add its own to."""
    root = tmp_path_factory.mktemp("faults") / "root"
    shutil.copytree(repositories, root, symlinks=True)
    with LoopbackHub(root) as served:
        yield served


@pytest.fixture(scope="module")
def machine(hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose commands are forks of a process that has imported what they need."""
    made = Machine(hub, tmp_path_factory.mktemp("machine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        for name, value in made.environment().items():
            patch.setenv(name, value)
        patch.setenv("ADAPTPRUNE_WORKFLOW", f"{os.uname().nodename}:{os.getpid()}")
        server = start_forkserver()
        folder = os.environ[_VARIABLE]
    made.more[_VARIABLE] = folder
    yield made
    server.terminate()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)


def add_model(hub: LoopbackHub, name: str, *sources: str) -> Path:
    """Add a repository whose commits are those of others."""
    place = hub.root / "models" / "faults" / name
    place.mkdir(parents=True)
    for number, source in enumerate(sources, 1):
        shutil.copytree(hub.root / "models" / source, place / str(number))
    return place


def fetch(machine: Machine, name: str, **more: str) -> Ended:
    output = str(machine.folder / f"{name}.json")
    own = {"ADAPTPRUNE_CACHE": str(machine.folder / "models" / name)} | more
    return run(machine, "fetch", "--model", f"faults/{name}", "--output", output, **own)


def published(machine: Machine, name: str) -> Path:
    return machine.folder / "models" / name / "models" / f"faults__{name}@main"


def must_be(folder: Path, commit: Path) -> None:
    """Make sure that a model's folder has the files of one commit, and all that matter."""
    found = {path.name: path for path in folder.iterdir() if path.name != "manifest.json"}
    source = {path.name: path for path in commit.iterdir() if path.is_file()}
    needed = {name for name in source if name.endswith((".safetensors", ".json"))}
    assert needed <= set(found) <= set(source)
    for name, path in found.items():
        assert path.read_bytes() == source[name].read_bytes(), name


# Rows of a table ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(hub: LoopbackHub, machine: Machine) -> dict[str, tuple[Ended, bool, Ended]]:
    """What became of each row: the command, whether anything was published, and it once more."""

    def meet(row: Row) -> tuple[Ended, bool, Ended]:
        add_model(hub, row.name, f"{SHARDED}/1")
        fault = row.served(f"faults/{row.name}")
        hub.faults.append(fault)
        first = fetch(machine, row.name, HF_TOKEN=row.token)
        there = published(machine, row.name).exists()
        hub.faults.remove(fault)
        return first, there, fetch(machine, row.name)

    hub.gated += [f"models/faults/{row.name}" for row in MODELS if row.is_gated]
    with ThreadPoolExecutor(4) as pool:  # most of the time is waiting
        return {row.name: met for row, met in zip(MODELS, pool.map(meet, MODELS), strict=True)}


@pytest.fixture(scope="module")
def data(hub: LoopbackHub, machine: Machine) -> dict[str, tuple[Ended, bool, Ended]]:
    """The same of data sets."""

    def meet(task: str) -> tuple[Ended, bool, Ended]:
        row, dataset = DATA[task], f"datasets/{SPLITS[task][0]}"
        fault = row.served(dataset)
        hub.faults.append(fault)
        first = evaluate(machine, task, HF_TOKEN=row.token)
        there = split_file(machine, task).exists()
        hub.faults.remove(fault)
        return first, there, evaluate(machine, task)

    hub.gated += [f"datasets/{SPLITS[task][0]}" for task, row in DATA.items() if row.is_gated]
    evaluate(machine, "wikitext").must_be_right()  # it makes what all share
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(DATA, pool.map(meet, DATA), strict=True))


def evaluate(machine: Machine, task: str, **more: str) -> Ended:
    output = str(machine.folder / f"{task}.json")
    return run(
        machine,
        *("evaluate", "--model", "tiny-llama", "--tasks", task, "--limit", "1"),
        *("--output", output, "--threads", "1"),
        **more,
    )


def split_file(machine: Machine, task: str) -> Path:
    dataset, configuration, split = SPLITS[task]
    return machine.folder / "cache" / "hub" / dataset / configuration / f"{split}.parquet"


def judge(row: Row, met: tuple[Ended, bool, Ended]) -> None:
    first, there, again = met
    assert there is not row.fails
    (first.must_be_one_line if row.fails else first.must_be_right)(row.told)
    assert row.seconds[0] <= first.seconds <= row.seconds[1]
    again.must_be_right()


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.name)
def test_model(
    row: Row, machine: Machine, hub: LoopbackHub, models: dict[str, tuple[Ended, bool, Ended]]
) -> None:
    judge(row, models[row.name])
    must_be(published(machine, row.name), hub.root / "models" / "faults" / row.name / "1")


@pytest.mark.parametrize("task", DATA, ids=lambda task: DATA[task].name)
def test_data(
    task: str, machine: Machine, hub: LoopbackHub, data: dict[str, tuple[Ended, bool, Ended]]
) -> None:
    judge(DATA[task], data[task])
    must_be_split(machine, hub, task)


def must_be_split(machine: Machine, hub: LoopbackHub, task: str) -> None:
    dataset, configuration, split = SPLITS[task]
    place = "data" if configuration == "default" else configuration
    source = hub.root / "datasets" / dataset / "1" / place / f"{split}-00000-of-00001.parquet"
    found, there = (
        pyarrow.parquet.read_table(path).to_pylist() for path in (split_file(machine, task), source)
    )
    assert found == there


# Longer stories -----------------------------------------------------------------------------------


def test_main_moves_between_two_calls(hub: LoopbackHub, machine: Machine) -> None:
    name = "moved-between"
    place = add_model(hub, name, f"{SHARDED}/1", "meta-llama/Llama-3.2-1B/2")
    cut = Fault(f"faults/{name}/.*00003-of-00004", times=None, method="GET", cut=1000)
    hub.faults.append(cut)
    fetch(machine, name).must_be_one_line()
    hub.faults.remove(cut)
    hub.move(f"models/faults/{name}", "2")
    fetch(machine, name).must_be_right()
    must_be(published(machine, name), place / "2")
    commit = hub.commit(f"models/faults/{name}")
    assert commit is not None
    assert commit.id in (published(machine, name) / "manifest.json").read_text()
    assert not list(published(machine, name).parent.glob(".*part"))


def test_main_moves_while_it_is_fetched(hub: LoopbackHub, machine: Machine) -> None:
    name = "moved-meanwhile"
    place = add_model(hub, name, f"{SHARDED}/1", "meta-llama/Llama-3.2-1B/2")
    hub.faults.append(Fault(f"faults/{name}/.*safetensors", move=(f"models/faults/{name}", "2")))
    fetch(machine, name).must_be_right()
    must_be(published(machine, name), place / "1")


def test_main_of_a_data_set_moves_while_it_is_fetched(hub: LoopbackHub, machine: Machine) -> None:
    repository = "datasets/hails/agieval-lsat-ar"
    shutil.copytree(hub.root / repository / "1", hub.root / repository / "2")
    file = "data/test-00000-of-00001.parquet"
    shutil.copy(
        hub.root / "datasets/hails/agieval-sat-math/1" / file, hub.root / repository / "2" / file
    )
    hub.faults.append(Fault(f"{repository}/resolve/.*README", move=(repository, "2")))
    evaluate(machine, "agieval_lsat_ar").must_be_right()
    must_be_split(machine, hub, "agieval_lsat_ar")


def test_a_missing_shard_is_never_published(hub: LoopbackHub, machine: Machine) -> None:
    """Nor after a second call with other caches of the libraries, the hub away."""
    name = "lost-shard"
    place = add_model(hub, name, f"{SHARDED}/1")
    lost = Fault(f"faults/{name}/.*00003-of-00004", times=None, status=404)
    hub.faults.append(lost)
    fetch(machine, name).must_be_one_line("404")
    hub.stop()
    try:
        fetch(machine, name, HF_HOME=str(machine.folder / "other")).must_be_one_line()
    finally:
        hub.start()
    assert not published(machine, name).exists()
    hub.faults.remove(lost)
    fetch(machine, name).must_be_right()
    must_be(published(machine, name), place / "1")


def test_what_is_incomplete_is_fetched_again(hub: LoopbackHub, machine: Machine) -> None:
    name = "incomplete"
    place = add_model(hub, name, f"{SHARDED}/1")
    fetch(machine, name).must_be_right()
    (published(machine, name) / "model-00003-of-00004.safetensors").unlink()
    fetch(machine, name).must_be_right()
    must_be(published(machine, name), place / "1")


def spoil_index(commit: Path) -> None:
    (commit / "model-00004-of-00004.safetensors").unlink()


def spoil_weights(commit: Path) -> None:
    for path in commit.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))


def spoil_tokenizer(commit: Path) -> None:
    (commit / "tokenizer.model").write_bytes(b"no model of sentencepiece")


@pytest.mark.parametrize(
    ("name", "source", "spoil", "told"),
    [
        ("index-of-a-shard-that-is-not-there", SHARDED, spoil_index, "00004-of-00004"),
        ("no-safetensors", SHARDED, spoil_weights, "has no safetensors"),
        ("tokenizer-that-cannot-be-loaded", SENTENCEPIECE, spoil_tokenizer, "tokenizer"),
    ],
)
def test_a_repository_that_cannot_be_used(
    name: str,
    source: str,
    spoil: Callable[[Path], None],
    told: str,
    hub: LoopbackHub,
    machine: Machine,
) -> None:
    spoil(add_model(hub, name, f"{source}/1") / "1")
    fetch(machine, name).must_be_one_line(told)
    assert not published(machine, name).exists()


def test_a_name_that_is_not_there(machine: Machine) -> None:
    fetch(machine, "nobody").must_be_one_line("status 404; check the name")
    fetch(machine, "nobody", HF_TOKEN="").must_be_one_line("status 401.*check the name")


def test_a_killed_fetch_goes_on_where_it_stopped(hub: LoopbackHub, machine: Machine) -> None:
    name = "killed"
    place = add_model(hub, name, f"{SHARDED}/1")
    slow = Fault(f"large/.*faults/{name}/.*00004-of-00004", rate=5_000)
    hub.faults.append(slow)
    output = str(machine.folder / f"{name}.json")
    running = machine.start(
        *("fetch", "--model", f"faults/{name}", "--output", output),
        ADAPTPRUNE_CACHE=str(machine.folder / "models" / name),
    )
    deadline = time.monotonic() + 60
    while slow.times and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # the other shards, at full speed
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert not published(machine, name).exists()
    before = len(hub.requests)
    fetch(machine, name).must_be_right()
    must_be(published(machine, name), place / "1")
    again = [r.path.rpartition("/")[2] for r in hub.requests[before:] if "/large/" in r.path]
    assert again == ["model-00004-of-00004.safetensors"]


def test_two_at_once_fetch_a_model_once(hub: LoopbackHub, machine: Machine) -> None:
    name = "two-at-once"
    place = add_model(hub, name, f"{SHARDED}/1")
    hub.faults.append(Fault(f"large/.*faults/{name}/.*00001-of", rate=100_000))
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch, machine, name) for _ in range(2)]
    for ended in both:
        ended.result().must_be_right()
    must_be(published(machine, name), place / "1")
    large = [r.path for r in hub.requests if f"/large/models/faults/{name}/" in r.path]
    assert len(large) == len(set(large)) == 4


def calibrate(machine: Machine, cache: Path, seed: int = 0) -> Ended:
    return run(
        machine,
        *("calibrate", "--model", "tiny-llama", "--dataset", "slimpajama", "--sequences", "4"),
        *("--length", "32", "--seed", str(seed), "--output", str(cache / f"{seed}.json")),
        ADAPTPRUNE_CACHE=str(cache),
    )


PAJAMA = "datasets/cerebras/SlimPajama-627B"


def pajama(hub: LoopbackHub, since: int = 0) -> list[str]:
    """Return which files and folders of SlimPajama were asked for."""
    asked = [request.path for request in hub.requests[since:] if PAJAMA in request.path]
    found = [re.search(r"/(?:large|tree)/(?:.*/)?[0-9a-f]{40}(.*)", path) for path in asked]
    return [match[1].strip("/") for match in found if match]


def validation_files(hub: LoopbackHub) -> list[str]:
    """Return the names of the files that have the documents."""
    commit = hub.root / PAJAMA / "1"
    return sorted(str(path.relative_to(commit)) for path in commit.glob("validation/*/*"))


def test_two_at_once_read_a_corpus_once(hub: LoopbackHub, machine: Machine, tmp_path: Path) -> None:
    began = len(hub.requests)
    hub.faults.append(Fault("large/.*SlimPajama.*zst", delay=1.0))
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(calibrate, machine, tmp_path, seed) for seed in range(2)]
    for ended in both:
        ended.result().must_be_right()
    files = validation_files(hub)
    folders = {"validation", *(name.rpartition("/")[0] for name in files)}
    assert sorted(pajama(hub, began)) == sorted([*files, *folders])
    (cached,) = tmp_path.rglob("slimpajama.jsonl")
    assert len(cached.read_text().splitlines()) == PER_FILE * len(files)


def test_a_corpus_that_is_spoilt_goes_on(
    hub: LoopbackHub, machine: Machine, tmp_path: Path
) -> None:
    last = validation_files(hub)[-1]
    spoilt = Fault(f"large/.*{last}", times=None, flip=True)
    hub.faults.append(spoilt)
    calibrate(machine, tmp_path).must_be_one_line("its bytes are not those of the hub's hash")
    assert not list(tmp_path.rglob("slimpajama.jsonl"))
    hub.faults.remove(spoilt)
    before = len(hub.requests)
    calibrate(machine, tmp_path).must_be_right()
    assert [name for name in pajama(hub, before) if name.endswith(".zst")] == [last]


def test_a_full_disk(hub: LoopbackHub, machine: Machine, tmp_path: Path) -> None:
    name = "full-disk"
    place = add_model(hub, name, f"{SHARDED}/1")
    with small_disk(tmp_path / "disk", kib=200) as disk:
        cache = {"ADAPTPRUNE_CACHE": str(disk.path / "cache")}
        # A limit on files is not passed on to forks.
        alone = {} if disk.is_mounted else {_VARIABLE: str(tmp_path)}
        ended = fetch(machine, name, **cache, **alone)
        ended.must_be_one_line(r"No space left|File too large")
        folder = disk.path / "cache" / "models" / f"faults__{name}@main"
        assert not folder.exists()
        disk.enlarge()
        fetch(machine, name, **cache).must_be_right()
        must_be(folder, place / "1")


@pytest.mark.parametrize("how", ["hub-away", "offline"])
def test_without_network_what_is_missing_is_said_in_seconds(
    how: str, hub: LoopbackHub, machine: Machine
) -> None:
    add_model(hub, how, f"{SHARDED}/1")
    more = {}
    if how == "offline":  # which the server of forks has read long ago
        more = {"HF_HUB_OFFLINE": "1", _VARIABLE: str(machine.folder)}
    before = len(hub.requests)
    if how == "hub-away":
        hub.stop()
    try:
        ended = fetch(machine, how, **more)
        missing = evaluate(machine, "truthfulqa_mc1", **more)
    finally:
        if how == "hub-away":
            hub.start()
    for one in (ended, missing):
        one.must_be_one_line("adaptprune prefetch")
        assert one.seconds < 60  # most of it imports libraries
    assert hub.requests[before:] == []


def test_every_row_is_in_the_documentation() -> None:
    table = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()
    for row in [*MODELS, *DATA.values()]:
        assert f"`{row.name}`" in table
