"""Everything that a profile needs, fetched on a machine with network for one without.

Without a folder the cache is filled. A folder takes the place of the cache and of the hub's data
sets at once: it holds ``models/`` as the cache does, and the splits as `hubdata` describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.cells import split_variant
from adaptprune.data.hub_rows import MANIFEST, find_split
from adaptprune.data.mixtures import CorpusSource, find_mixture, mixtures
from adaptprune.data.sources import ensure_source
from adaptprune.data.texts import HubCorpus, corpora, corpus_file, fetch_documents, find_corpus
from adaptprune.data.training import fetch_source
from adaptprune.evaluation.suitedata import fetch_suite_splits
from adaptprune.evaluation.suites import load_suite
from adaptprune.files.atomic import read_json, sha256_file, write_json
from adaptprune.models.catalogue import is_pretrained, locate
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.profiles import Profile


def prefetch(profile: Profile, folder: Path | None) -> dict[str, Any]:
    """Fetch the models, the task data and the texts of a profile.

    A model that is pretrained on the spot needs no network and is left to the run.

    Args:
        profile: what will be run.
        folder: where to; None for the cache. It must be the cache folder of this process, so that
            models are fetched into it.

    Returns:
        What there is now, by kind; with a folder also the number of files in its manifest.

    Raises:
        UserError: something cannot be had, or a data set has another size than it should.
    """
    models = {model: locate(model) for model in profile.all_models if not is_pretrained(model)}
    files = _task_data(profile.evaluation.suite, folder)
    texts = texts_of(profile)
    mixed = sorted({recovery.data for recovery in profile.recoveries.values()} & mixtures().keys())
    for name in texts:
        files += _corpus(name, folder)
    for name in mixed:
        files += _mixture(name, folder)
    found: dict[str, Any] = {
        "models": {model: path.name for model, path in models.items()},
        "suite": profile.evaluation.suite,
        "texts": texts,
        "mixtures": mixed,
    }
    if folder is not None:
        found["files"] = _write_manifest(folder, files, list(models.values()))
    return found


def texts_of(profile: Profile) -> list[str]:
    """Return the collections of text that a profile calibrates and trains with."""
    methods = {split_variant(name)[0] for name in profile.methods}
    drawn = {
        profile.calibration_of(name).dataset
        for name in (*profile.methods, *profile.settings)  # variants are asked for by tables
        if split_variant(name)[0] in methods
        and find_method(split_variant(name)[0]).needs_calibration
    }
    trained = {recovery.data for recovery in profile.recoveries.values()}
    return sorted(drawn | trained & corpora().keys())


def _task_data(suite_name: str, folder: Path | None) -> list[Path]:
    """Fetch the documents of a suite; return the files of splits, where a folder takes them."""
    suite = load_suite(suite_name)
    if suite.data != "hub":
        ensure_source(suite.data)
        return []
    return fetch_suite_splits(suite, folder)


def _corpus(name: str, folder: Path | None) -> list[Path]:
    """Fetch calibration text; return its file, where a folder takes it as a split."""
    corpus = find_corpus(name)
    if folder is None or not isinstance(corpus, HubCorpus):
        corpus_file(name)
        return []
    stem = corpus.hub_split.stem(folder)
    return [find_split(stem) or fetch_documents(corpus, stem.with_name(f"{stem.name}.parquet"))]


def _mixture(name: str, folder: Path | None) -> list[Path]:
    """Fetch the sources of a mixture; return their files, where a folder takes them as splits."""
    files: list[Path] = []
    for source in find_mixture(name).domains:
        if isinstance(source, CorpusSource):
            files += _corpus(source.corpus, folder)
        elif folder is None:
            fetch_source(source)
        else:
            files.append(fetch_source(source, folder))
    return files


def _write_manifest(folder: Path, files: list[Path], models: list[Path]) -> int:
    """Record size and sha256 of all files; those of a model from the model's own manifest.

    What an earlier call recorded, for another profile, is kept.
    """
    manifest = folder / MANIFEST
    entries = read_json(manifest)["files"] if manifest.is_file() else {}
    for file in files:
        size, digest = file.stat().st_size, sha256_file(file)
        entries[file.relative_to(folder).as_posix()] = {"bytes": size, "sha256": digest}
    for model in models:
        if not model.is_relative_to(folder) or not (model / MANIFEST).is_file():
            continue  # a folder of the user's own stays where it is
        for name, entry in read_json(model / MANIFEST)["files"].items():
            entries[f"{model.relative_to(folder).as_posix()}/{name}"] = entry
    write_json(manifest, {"files": dict(sorted(entries.items()))})
    return len(entries)
