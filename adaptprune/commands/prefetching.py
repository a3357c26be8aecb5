"""The command that brings everything to a machine before its network is off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands import written
from adaptprune.commands.options import print_json
from adaptprune.commands.profiles import (
    ConfigFolderOption,
    OverrideOption,
    ProfileOption,
    read_profile,
)


def prefetch(
    profile: ProfileOption,
    to: Annotated[Path | None, typer.Option(help="folder to fill instead of the cache")] = None,
    config_folder: ConfigFolderOption = Path("config"),
    override: OverrideOption = None,
) -> None:
    """Fetch all models and data that a profile needs, so that it runs without network."""
    from adaptprune.commands.outputs import check_cache_to_fill
    from adaptprune.data.hub_rows import MANIFEST
    from adaptprune.workflow.prefetch import prefetch as fetch_all

    chosen = read_profile(profile, config_folder, override)
    if to is not None:
        check_cache_to_fill(to)
        to = to.resolve()
        written.note(to / MANIFEST)
        os.environ["ADAPTPRUNE_CACHE"] = str(to)  # the folder is a cache, too
    print_json(fetch_all(chosen, to))
