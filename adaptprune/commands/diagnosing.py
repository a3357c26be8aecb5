"""The command that looks before a run whether all is there, and how long it will take."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands.options import print_json
from adaptprune.commands.profiles import (
    ConfigFolderOption,
    OverrideOption,
    ProfileOption,
    RunsOption,
    read_profile,
)


def doctor(
    profile: ProfileOption = "mini",
    runs: RunsOption = Path("results/runs"),
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="that the run is given; default: all")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="that the run is given")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0, help="to time each kind of pass; 0: no forecast")
    ] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Say what a profile lacks on this machine, and predict time and disk of its matrix.

    Nothing is downloaded. The exit status is 1 where something is missing.
    """
    from adaptprune.doctor.examine import examine
    from adaptprune.doctor.finding import Subject

    there = os.cpu_count() or 1
    subject = Subject(
        name=profile,
        profile=read_profile(profile, config_folder, override),
        runs=runs,
        constraints=config_folder.parent / "constraints.txt",
        # More jobs than cores compute no faster.
        cores=min(cores or there, there),
        gpus=gpus,
    )
    diagnosis = examine(subject, seconds)
    if as_json:
        print_json(diagnosis.to_json())
    else:
        print("\n".join(diagnosis.lines()))
    if not diagnosis.is_healthy:
        sys.exit(1)
