"""A model folder holds one set of weights, or is refused in a line that names both."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tiny_models import save_tiny_model, tiny_model

from adaptprune.errors import UserError
from adaptprune.files.manifest import write_manifest
from adaptprune.models.catalogue import find_entry
from adaptprune.models.weightfiles import check_weight_files

if TYPE_CHECKING:
    from pathlib import Path

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A model in one file."""
    return save_tiny_model(tmp_path / "single")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The same model in several files with their index."""
    tiny_model("llama").save_pretrained(tmp_path / "sharded", max_shard_size="5KB")
    return tmp_path / "sharded"


def assert_refused(folder: Path, *names: str) -> None:
    """Check that all commands refuse a folder before any work, and that loading does."""
    for check in (check_weight_files, lambda folder: find_entry(str(folder))):
        with pytest.raises(UserError) as refused:
            check(folder)
        assert "\n" not in str(refused.value)
        for name in (folder.name, *names):
            assert name in str(refused.value)


def test_one_file_or_the_shards_of_one_index_are_a_model(single: Path, sharded: Path) -> None:
    assert not (sharded / SINGLE).exists()
    for folder in (single, sharded):
        check_weight_files(folder)
        write_manifest(folder)
        check_weight_files(folder)
        assert find_entry(str(folder)) is None


def test_what_a_trainer_leaves_is_no_second_set(single: Path) -> None:
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth"):
        (single / name).write_bytes(b"0")
    check_weight_files(single)


def test_an_index_of_one_file_is_one_set(single: Path) -> None:
    (single / INDEX).write_text(json.dumps({"weight_map": {"model.norm.weight": SINGLE}}))
    check_weight_files(single)


def test_an_old_single_file_beside_newer_shards(single: Path, sharded: Path) -> None:
    shutil.copy(single / SINGLE, sharded)
    assert_refused(sharded, SINGLE, INDEX)


def test_a_shard_beside_a_single_file(single: Path, sharded: Path) -> None:
    shutil.copy(next(sharded.glob("*.safetensors")), single / SHARD)
    assert_refused(single, SINGLE, SHARD)


def test_a_shard_that_the_index_does_not_list(sharded: Path) -> None:
    shutil.copy(next(sharded.glob("*.safetensors")), sharded / "model-00001-of-00009.safetensors")
    assert_refused(sharded, INDEX, "model-00001-of-00009.safetensors")


def test_a_tensor_in_two_shards(sharded: Path) -> None:
    index = json.loads((sharded / INDEX).read_text())
    first = sorted(set(index["weight_map"].values()))[0]
    shutil.copy(sharded / first, sharded / "stale.safetensors")
    index["weight_map"]["stale"] = "stale.safetensors"
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(UserError, match=rf"is in {first} and in stale.safetensors"):
        check_weight_files(sharded)


@pytest.mark.parametrize(
    "name",
    [
        *("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"),
        *("consolidated.safetensors", "model.fp16.safetensors", "model-Q4_1.gguf"),
        *("tf_model.h5", "flax_model.msgpack"),
    ],
)
def test_two_formats_side_by_side(name: str, single: Path, sharded: Path) -> None:
    for folder, own in ((single, SINGLE), (sharded, INDEX)):
        (folder / name).write_bytes((single / SINGLE).read_bytes())
        assert_refused(folder, own, name)
        (folder / name).unlink()


def test_a_manifest_that_does_not_list_the_weights(single: Path, sharded: Path) -> None:
    write_manifest(single)
    (single / SINGLE).unlink()
    for file in sharded.glob("model*"):
        shutil.copy(file, single)
    assert_refused(single, "manifest.json", "model-00001-of-")
