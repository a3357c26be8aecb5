"""Points the hub's clients in this process to a hub of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import datasets
import huggingface_hub

from adaptprune.data import hub_splits as hubsplits
from adaptprune.files import hub_client as hub

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from loopback_hub import LoopbackHub


def point_to(served: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clients ask a hub; they read the environment when they were imported.

    Args:
        served: the hub.
        cache: in the place of ``HF_HOME``.
        monkeypatch: of the test.
    """
    constants, template = huggingface_hub.constants, "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "ENDPOINT": served.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": served.url + template,
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_TOKEN_PATH": str(cache / "token"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "HF_ENDPOINT": served.url,
        "HUB_DATASETS_URL": served.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_DATASETS_CACHE": cache / "datasets",
        "USE_PARQUET_EXPORT": False,  # of the viewer, a host of its own
    }.items():
        monkeypatch.setattr(datasets.config, name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("ADAPTPRUNE_CACHE", str(cache / "adaptprune"))
    monkeypatch.setattr(hub, "FIRST_PAUSE_S", 0.01)
    forget()


def forget() -> None:
    """Forget what this process knows of a hub: that it answers, and which commits it has."""
    huggingface_hub.close_session()
    hub._reach.cache_clear()
    hubsplits._commit_of.cache_clear()
