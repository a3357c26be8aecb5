"""The hub of the tests itself, asked by the real client."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from loopback_hub import Fault, LoopbackHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.hub
WEIGHTS = bytes(range(256)) * 1000
MODEL = "models/birds/Wren-1B"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    constants = huggingface_hub.constants  # read from the environment when it was imported
    template = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for commit, text in (("1", "{}"), ("2", '{"later": 1}')):
        folder = tmp_path / "root" / MODEL / commit
        (folder / "original").mkdir(parents=True)
        (folder / "config.json").write_text(text)
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        (folder / "original" / "params.json").write_text("{}")
    with LoopbackHub(tmp_path / "root") as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + template)
        yield served
    huggingface_hub.close_session()


@pytest.fixture
def fetch(hub: LoopbackHub, tmp_path: Path) -> Any:
    def run(token: str | bool = False, revision: str = "main", **options: Any) -> Path:
        target = tmp_path / "copy"
        huggingface_hub.snapshot_download(
            "birds/Wren-1B",
            revision=revision,
            endpoint=hub.url,
            local_dir=target,
            cache_dir=tmp_path / "cache",
            token=token,
            **options,
        )
        return target

    return run


def test_a_repository_is_served_whole(hub: LoopbackHub, fetch: Any) -> None:
    target = fetch()
    assert (target / "model.safetensors").read_bytes() == WEIGHTS
    assert (target / "original" / "params.json").is_file()
    paths = [request.path for request in hub.requests]
    assert any(path.startswith(f"/large/{MODEL}/") for path in paths)


def test_hashes_are_the_hubs(hub: LoopbackHub) -> None:
    api = huggingface_hub.HfApi(endpoint=hub.url, token=False)
    tree = {entry.path: entry for entry in api.list_repo_tree("birds/Wren-1B", recursive=True)}
    assert set(tree) == {"config.json", "model.safetensors", "original", "original/params.json"}
    large: Any = tree["model.safetensors"]
    assert large.lfs.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    small: Any = tree["config.json"]  # `printf {} | git hash-object --stdin`
    assert small.blob_id == "9e26dfeeb6e641a33dae4961196235bdb965b21b"
    asked = api.get_paths_info("birds/Wren-1B", ["config.json", "absent"])
    assert [entry.path for entry in asked] == ["config.json"]


def test_a_long_listing_has_pages(hub: LoopbackHub) -> None:
    folder = hub.root / "datasets" / "birds" / "songs" / "1" / "train"
    folder.mkdir(parents=True)
    for index in range(2100):
        (folder / f"{index}.txt").write_text("")
    api = huggingface_hub.HfApi(endpoint=hub.url, token=False)
    listed = list(api.list_repo_tree("birds/songs", "train", repo_type="dataset"))
    assert len(listed) == 2100
    assert len([request for request in hub.requests if "/tree/" in request.path]) == 3


def test_main_moves_and_the_old_commit_stays(hub: LoopbackHub, fetch: Any) -> None:
    api = huggingface_hub.HfApi(endpoint=hub.url, token=False)
    first = api.model_info("birds/Wren-1B").sha
    hub.move(MODEL, "2")
    assert first != api.model_info("birds/Wren-1B").sha
    assert (fetch(revision=first) / "config.json").read_text() == "{}"
    assert (fetch() / "config.json").read_text() == '{"later": 1}'
    with pytest.raises(errors.RevisionNotFoundError):
        fetch(revision="0" * 40)


@pytest.mark.parametrize(
    ("token", "raised", "status"),
    [(False, errors.GatedRepoError, 401), ("hf_stranger", errors.GatedRepoError, 403)],
)
def test_a_gated_repository_asks_for_a_token(
    hub: LoopbackHub, fetch: Any, token: Any, raised: Any, status: int
) -> None:
    hub.gated.append("models/birds")
    with pytest.raises(raised) as caught:
        huggingface_hub.hf_hub_download(
            "birds/Wren-1B", "config.json", endpoint=hub.url, token=token, local_dir=hub.root / "x"
        )
    assert caught.value.response.status_code == status
    assert (fetch(token="hf_member") / "model.safetensors").is_file()


def test_who_is_not_there_is_not_told_to_strangers(hub: LoopbackHub) -> None:
    for token, status in ((False, 401), ("hf_stranger", 404)):
        api = huggingface_hub.HfApi(endpoint=hub.url, token=token)
        with pytest.raises(errors.RepositoryNotFoundError) as caught:
            api.model_info("birds/Dodo-1B")
        assert caught.value.response.status_code == status


def test_one_byte_is_another(hub: LoopbackHub, fetch: Any) -> None:
    hub.faults.append(Fault("/large/", flip=True))
    content = (fetch() / "model.safetensors").read_bytes()
    assert len(content) == len(WEIGHTS)
    assert [a == b for a, b in zip(content, WEIGHTS, strict=True)].count(False) == 1


@pytest.mark.parametrize(
    "fault", [Fault("/large/", delay=0.5), Fault("/large/", rate=len(WEIGHTS) / 0.5)]
)
def test_an_answer_takes_its_time(hub: LoopbackHub, fetch: Any, fault: Fault) -> None:
    hub.faults.append(fault)
    before = time.monotonic()
    assert (fetch() / "model.safetensors").read_bytes() == WEIGHTS
    assert time.monotonic() - before > 0.5


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/large/", times=None, cut=1000),
        Fault("/large/", times=None, truncate=1000),
        Fault("/large/", times=None, drop=True),
        Fault("/large/", times=None, status=403),
        Fault("safetensors$", method="HEAD", status=400),
    ],
)
def test_an_answer_fails(
    hub: LoopbackHub, fetch: Any, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits between its attempts
    hub.faults.append(fault)
    with pytest.raises(Exception, match=r".+"):
        fetch()
    hub.faults.clear()
    assert (fetch() / "model.safetensors").read_bytes() == WEIGHTS


def test_stopped_it_refuses_and_started_it_answers_again(hub: LoopbackHub, fetch: Any) -> None:
    fetch()
    hub.stop()
    api = huggingface_hub.HfApi(endpoint=hub.url, token=False)
    with pytest.raises(Exception, match=r"refused|closed|disconnected"):
        api.model_info("birds/Wren-1B")
    hub.start()
    assert api.model_info("birds/Wren-1B").sha
