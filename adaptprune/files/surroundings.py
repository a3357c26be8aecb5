"""The environment as input: variables that name paths, the home folder, the encoding of text."""

from __future__ import annotations

import getpass
import locale
import os
import sys
from typing import TYPE_CHECKING

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

#: Stands for the home of an account that has none; no folder is ever made there.
NO_HOME = "/nonexistent"
_BEGUN_AGAIN = "ADAPTPRUNE_BEGUN_AGAIN"

#: Variables that name a file or a folder, of this suite and of the libraries under it. A shell
#: expands ``~`` in them; a CI file, a Dockerfile or a job script does not.
PATHS = (
    "ADAPTPRUNE_CACHE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ASSETS_CACHE",
    "HF_XET_CACHE",
    "HF_TOKEN_PATH",
    "HF_DATASETS_CACHE",
    "HF_DATASETS_DOWNLOADED_DATASETS_PATH",
    "HF_DATASETS_EXTRACTED_DATASETS_PATH",
    "HF_MODULES_CACHE",
    "TRANSFORMERS_CACHE",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "MPLCONFIGDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "TMPDIR",
    "TEMP",
    "TMP",
    "PIP_CONFIG_FILE",
    "PIP_CACHE_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


def expanded(path: Path) -> Path:
    """Return a path with ``~`` and ``~name`` as the home folders they stand for.

    Raises:
        UserError: there is no such home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home folder; write the path out") from None


def settle() -> None:
    """Make the environment one that libraries can live with, before any of them is imported.

    ``~`` and variables are expanded where a variable names a path. Where the account has no home,
    or no name, libraries would make a folder called ``~``, or end in a KeyError: they are given
    the cache as home, or else a place that cannot be, and a name made of the user id. Text is
    UTF-8 in the processes that this one starts.
    """
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)  # an empty one would stand for the root folder
        if os.path.expanduser("~") == "~":
            os.environ["HOME"] = NO_HOME
    for name in PATHS:
        if (value := os.environ.get(name, "")).startswith(("~", "$")):
            os.environ[name] = os.path.expanduser(os.path.expandvars(value))
    if os.environ.get("HOME") == NO_HOME and os.environ.get("ADAPTPRUNE_CACHE"):
        os.environ["HOME"] = os.path.abspath(os.environ["ADAPTPRUNE_CACHE"])
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the one or the other, by Python's version
        os.environ["LOGNAME"] = f"uid-{os.getuid()}"
    os.environ["PYTHONUTF8"] = "1"


def check() -> None:
    """Refuse a variable that names the home folder of nobody.

    Raises:
        UserError: names it.
    """
    for name in PATHS:
        if (value := os.environ.get(name, "")).startswith(("~", "$")):
            raise UserError(f"environment variable {name}={value}: nothing that it stands for")


def speak_utf8() -> None:
    """Begin this process again where it would take text for anything but UTF-8."""
    encodings = {sys.getfilesystemencoding(), locale.getpreferredencoding(False)}
    if {name.lower().replace("-", "") for name in encodings} == {"utf8"}:
        return
    if os.environ.get(_BEGUN_AGAIN) is None:  # once: a flag may forbid it
        os.environ |= {_BEGUN_AGAIN: "1", "PYTHONUTF8": "1"}
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
