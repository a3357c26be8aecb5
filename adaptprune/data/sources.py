"""Task documents and prose that are built in the cache, by the name of their source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

LocalSource = Literal["bigbench", "tiny"]


def data_folder(source: LocalSource) -> Path:
    """Return where a source lies in the cache, built or not."""
    if source == "bigbench":
        from adaptprune.data.bigbench import local_data_directory

        return local_data_directory()
    from adaptprune.data.madeup import tiny_data_directory

    return tiny_data_directory()


def ensure_source(source: LocalSource) -> Path:
    """Return the folder of a source, building it when absent, verified by its manifest.

    It holds ``tasks/<task>.jsonl`` and ``prose/<part>.jsonl``.

    Raises:
        UserError: the data cannot be had, or a file of the folder is missing or altered.
    """
    if source == "bigbench":
        from adaptprune.data.bigbench import ensure_local_data

        return ensure_local_data()
    from adaptprune.data.madeup import ensure_tiny_data

    return ensure_tiny_data()
