"""Checks of what a run reads: models, task data, texts. Nothing is fetched."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from adaptprune.data.hub_rows import split_file
from adaptprune.data.hub_splits import hub_folder
from adaptprune.data.texts import HubCorpus, cached_documents, find_corpus
from adaptprune.doctor.finding import Finding, Subject
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.files import hub_client as hub
from adaptprune.files.atomic import MANIFEST, cache_directory
from adaptprune.files.manifest import verify_folder
from adaptprune.models.catalogue import (
    HubSource,
    WheelSource,
    folder_of,
    is_fetched,
    is_local,
    source_of,
)
from adaptprune.workflow.prefetch import texts_of

if TYPE_CHECKING:
    from adaptprune.data.sources import LocalSource

#: Models of these owners are given to those alone who have asked for them.
GATED = ("meta-llama/", "google/", "mistralai/")
#: Seconds in which the package registry must answer.
ANSWER_S = 5.0


def hub_answers() -> bool:
    """Say whether the Hugging Face hub may be asked and answers."""
    return hub.answers()


def registry_answers() -> bool:
    """Say whether a package registry answers."""
    from adaptprune.files.releases import index_answers

    return index_answers(ANSWER_S)


def absent(check: str, what: str, *, on_hub: bool, subject: Subject) -> Finding:
    """Return the finding for something that is not there: can it be fetched?"""
    place = "the Hugging Face hub" if on_hub else "the package registry"
    command = f"python -m adaptprune prefetch --profile {subject.name}"
    if hub_answers() if on_hub else registry_answers():
        cure = f"fetched on first use, or by `{command}`"
        return Finding(check, "warning", f"{what} is not in the cache", cure)
    cure = f"run `{command}` where there is network, with ADAPTPRUNE_CACHE on a shared disk"
    return Finding(check, "missing", f"{what} is not in the cache and {place} is silent", cure)


def check_readers(subject: Subject) -> Finding:
    """Look for what reads the files of the profile's models and texts, and answers of its tasks."""
    profile = subject.profile
    wanted: dict[str, str] = {}
    for model in profile.all_models:
        source = None if is_local(model) else source_of(model)
        if isinstance(source, HubSource):
            wanted |= dict.fromkeys(source.readers, f"the tokenizer of {model}")
    for name in texts_of(profile):
        corpus = find_corpus(name)
        if isinstance(corpus, HubCorpus) and corpus.reader:
            wanted[corpus.reader] = f"the text {name}"
    for benchmark in load_suite(profile.evaluation.suite).benchmarks:
        wanted |= dict.fromkeys(benchmark.readers, f"the task {benchmark.task}")
    lacking = [f"{name} ({what})" for name, what in wanted.items() if not is_installed(name)]
    if lacking:
        cure = f"pip install --constraint {subject.constraints.name} --editable ."
        return Finding("readers", "missing", f"no {', no '.join(lacking)}", cure)
    return Finding("readers", "ok", ", ".join(wanted) or "none besides those of all profiles")


def is_installed(module: str) -> bool:
    """Say whether a module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that it would be in
        return False


def check_models(subject: Subject) -> list[Finding]:
    """Look for the weights of every model and read them through."""
    return [_check_model(model, subject) for model in subject.profile.all_models]


def _check_model(model: str, subject: Subject) -> Finding:
    check, folder = "model", folder_of(model)
    if is_local(model):
        if not any(folder.glob("*.safetensors")):
            cure = "convert its weights to safetensors"
            return Finding(check, "missing", f"{model} holds no safetensors", cure)
        return Finding(check, "ok", f"{model} is a local folder")
    if is_fetched(model):
        return _verified(check, model, folder)
    source = source_of(model)
    if isinstance(source, HubSource):
        if source.repository.startswith(GATED) and not _has_token():
            text = f"{model} is not in the cache, and its owner asks who wants it"
            return Finding(check, "missing", text, "ask on its page, then `hf auth login`")
        return absent(check, model, on_hub=True, subject=subject)
    if isinstance(source, WheelSource):
        if (cache_directory() / "downloads" / source.file).is_file():
            return Finding(check, "ok", f"{model} is downloaded, converted on first use")
        return absent(check, model, on_hub=False, subject=subject)
    return Finding(check, "ok", f"{model} is made on first use")


def _has_token() -> bool:
    import huggingface_hub

    return huggingface_hub.get_token() is not None


def _verified(check: str, what: str, folder: Path) -> Finding:
    """Compare all bytes of a cache folder with its manifest."""
    try:
        verify_folder(folder)
    except UserError as error:
        reason, _, cure = str(error).partition("; ")
        return Finding(check, "missing", f"{what}: {reason}", cure)
    return Finding(check, "ok", f"{what} is in the cache, hashes right")


def _local_source(check: str, what: str, source: LocalSource, subject: Subject) -> Finding:
    """Look for data that are built in the cache."""
    if source == "tiny":
        return Finding(check, "ok", f"{what} is made on first use")
    from adaptprune.data.bigbench import RELEASE, local_data_directory

    folder = local_data_directory()
    if (folder / MANIFEST).is_file():
        return _verified(check, what, folder)
    if RELEASE.path.is_file():
        return Finding(check, "ok", f"{what} is downloaded, built on first use")
    return absent(check, what, on_hub=False, subject=subject)


def check_tasks(subject: Subject) -> list[Finding]:
    """Look for the documents of every benchmark of the profile's suite."""
    suite = load_suite(subject.profile.evaluation.suite)
    if suite.data != "hub":
        return [_local_source("tasks", f"suite {suite.name}", suite.data, subject)]
    from adaptprune.evaluation.suitedata import suite_sources

    folder = subject.profile.local_data
    findings, datasets, lacking = [], set(), set()
    for asked in suite_sources(suite):
        datasets.add(asked.source.dataset)
        if folder is None and not asked.source.is_in(hub_folder()):
            lacking.add(asked.source.dataset)
            continue
        try:
            asked.source.files(Path(folder) if folder else hub_folder())
        except UserError as error:
            to = f" --to {folder}" if folder else ""
            cure = f"`python -m adaptprune prefetch --profile {subject.name}{to}`"
            findings.append(Finding("tasks", "missing", f"{asked.task}: {error}", cure))
    if lacking:
        names = ", ".join(sorted(lacking))
        what = f"data of {len(lacking)} of {len(datasets)} data sets ({names})"
        findings.append(absent("tasks", what, on_hub=True, subject=subject))
    return findings or [Finding("tasks", "ok", f"all data of suite {suite.name} are there")]


def check_texts(subject: Subject) -> list[Finding]:
    """Look for the texts that the profile calibrates and trains with."""
    return [_check_text(name, subject) for name in texts_of(subject.profile)]


def _check_text(name: str, subject: Subject) -> Finding:
    corpus, folder = find_corpus(name), subject.profile.local_data
    if not isinstance(corpus, HubCorpus):
        return _local_source("text", name, corpus.kind, subject)
    if folder is not None:
        try:
            split_file(Path(folder), corpus.repository, corpus.configuration, corpus.split)
        except UserError as error:
            cure = f"`python -m adaptprune prefetch --profile {subject.name} --to {folder}`"
            return Finding("text", "missing", f"{name}: {error}", cure)
        return Finding("text", "ok", f"{name} is in {folder}")
    if cached_documents(corpus).is_file():
        return Finding("text", "ok", f"{name} is in the cache")
    return absent("text", name, on_hub=True, subject=subject)
