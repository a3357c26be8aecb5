"""The commands of a workflow's dry run, run in this process: torch is imported once for all."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Commands in the order in which the stages need one another.
STAGES = (
    *("fetch", "calibrate", "score", "prune", "recover", "evaluate", "gate"),
    *("collect", "table", "figure"),
)


def planned_commands(told: str) -> list[str]:
    """Return the shell commands that a dry run with ``--printshellcmds`` tells, in their order.

    Raises:
        ValueError: a command is of no known stage.
    """
    commands = re.findall(r"^Shell command: (.*python -m .*)$", told, re.MULTILINE)
    return sorted(commands, key=lambda command: STAGES.index(_words(command)[0][2]))


def run_here(command: str, folder: Path) -> None:
    """Run a shell command of a rule: commands of the suite, and ``cp``, joined by ``&&``.

    Raises:
        AssertionError: one of them failed.
    """
    with _inside(folder):
        for words in _words(command):
            if words[0] == "cp":
                Path(words[2]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(words[1], words[2])
            else:
                _adaptprune(words[2:])


def _words(command: str) -> list[list[str]]:
    """Return the words of each part; the first two of the suite's are ``python -m``."""
    without_log = re.sub(r" > \S+ 2>&1$", "", command)
    parts = without_log.removeprefix("(").removesuffix(")").split(" && ")
    return [[word for word in shlex.split(part) if word != "adaptprune"] for part in parts]


def _adaptprune(arguments: list[str]) -> None:
    from adaptprune.cli import main

    with mock.patch("sys.argv", ["adaptprune", *arguments]):
        status: object = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code
        assert not status, arguments


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
