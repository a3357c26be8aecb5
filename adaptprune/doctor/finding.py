"""What a check is asked about, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.profiles import Profile

Level = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes:
        check: what was looked at.
        level: ``missing`` where a run cannot do without it.
        text: what was found.
        cure: what to do about it; empty where nothing has to be done.
    """

    check: str
    level: Level
    text: str
    cure: str = ""

    def line(self) -> str:
        """Return the finding as one line."""
        return f"{self.level:8}{self.check:20}{self.text}{f'; {self.cure}' if self.cure else ''}"


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes:
        name: of the profile.
        profile: what is to be run.
        runs: folder of the results.
        constraints: file of pinned versions.
        cores: that the run is given.
        gpus: the same.
    """

    name: str
    profile: Profile
    runs: Path
    constraints: Path
    cores: int
    gpus: int = 1

    @property
    def at_once(self) -> int:
        """Return how many jobs compute at the same time."""
        if self.profile.device.startswith("cuda"):
            return self.gpus
        return max(1, self.cores // self.profile.threads)


def in_units(size: float) -> str:
    """Print a number of bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
