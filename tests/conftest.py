"""What all tests share: a closed network, one thread, a cache folder of their own."""

from __future__ import annotations

import os

# Before torch and transformers are imported: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import closed_network
import hypothesis
import pytest
from hub_rows import small_facts
from transformers.utils import logging as transformers_logging

from adaptprune.data.bigbench import ensure_local_data
from adaptprune.evaluation import benchmarks, suites
from adaptprune.models.catalogue import locate
from adaptprune.pruning.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Its handler is bound to the stderr of this moment; within a test that would be closed later.
transformers_logging.get_logger()
closed_network.install()
ATTEMPTS = Path(tempfile.mkstemp(prefix="adaptprune-attempts-")[1])
os.environ |= closed_network.closed_environment(ATTEMPTS)

hypothesis.settings.register_profile(
    "stable",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=30,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("stable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, so that no process is left with it at the end."""
    items.sort(
        key=lambda item: not ({"workflow", "parity", "hub"} & {m.name for m in item.iter_markers()})
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fetch what tests marked ``model`` read, before the first of them begins."""
    if item.get_closest_marker("model"):
        fetch_real_model()


@functools.cache
def fetch_real_model() -> None:
    """Bring the real model, tasks and prose into the cache; the network is open meanwhile."""
    os.environ[closed_network.OPEN] = "1"
    try:
        locate("smollm2-135m")
        ensure_local_data()
    finally:
        del os.environ[closed_network.OPEN]


def pytest_unconfigure() -> None:
    """Remove the file of attempts."""
    ATTEMPTS.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def nothing_phones_out() -> Iterator[None]:
    """Fail a test that tries to leave this machine, also where a library hides that it failed."""
    ATTEMPTS.write_text("")
    yield
    assert ATTEMPTS.read_text() == "", "somebody tried to reach the network"


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that serves as cache for all tests that ask for ``cache``."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point ``ADAPTPRUNE_CACHE`` to a folder of this test session."""
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(cache_folder))
    return cache_folder


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a hub: the paper's models and data sets, small and made up."""
    from hub_datasets import write_datasets  # they bring torch and datasets
    from hub_models import write_models
    from hub_sparse_models import write_sparse_models

    root = tmp_path_factory.mktemp("repositories")
    write_models(root / "models")
    write_sparse_models(root / "models")
    write_datasets(root / "datasets")
    return root


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the plug-in as a package, without network; returns the folder it lies in."""
    folder = tmp_path_factory.mktemp("third-party")
    source, target = folder / "source", folder / "site"
    plugin, compiled = Path(__file__).parent / "plugin", shutil.ignore_patterns("__pycache__")
    shutil.copytree(plugin, source, ignore=compiled)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--target", str(target), str(source)),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return target


@pytest.fixture
def command(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; return exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from adaptprune.cli import main

        # Torch is imported, and its width of vectors chosen: that of processes begun later, too.
        monkeypatch.delenv("ADAPTPRUNE_VECTORS", raising=False)
        monkeypatch.setattr("sys.argv", ["adaptprune", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make the full set of every benchmark the rows of the made-up hub folder."""
    facts = small_facts(benchmarks.benchmark_facts())
    monkeypatch.setattr(benchmarks, "benchmark_facts", lambda: facts)
    suites.load_suite.cache_clear()
    yield facts
    suites.load_suite.cache_clear()


@pytest.fixture
def forget_registered() -> Iterator[None]:
    """Let no test find the methods that another one registered."""
    yield
    METHODS.forget()
