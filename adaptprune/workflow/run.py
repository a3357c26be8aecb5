"""A profile's run: what was run, and where its files lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.cells import Cell, cell_folder

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.profiles import Profile, SpeedConfig

#: How many sequences at once quality is set against speed for.
TRADEOFF_BATCHES = (1, 8)


def other_batch(batch: int | None, speed: SpeedConfig) -> str:
    """Return what the file of a measurement is called after where its batch is not the profile's.

    Args:
        batch: sequences at once, None for those of the profile.
        speed: of the profile.
    """
    return "" if batch in (None, speed.batch) else f"-batch{batch}"


@dataclass(frozen=True)
class Source:
    """The run that a figure shows.

    Args:
        name: of the profile.
        profile: what was run.
        runs: where the profiles' runs lie.
        stored: the results of a stored matrix, where that is shown in place of the run.
    """

    name: str
    profile: Profile
    runs: Path
    stored: Path | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of the profile's run."""
        return self.runs / self.name

    @property
    def results(self) -> Path:
        """Return the results of the profile's matrix."""
        return self.stored or self.folder / "results.csv"

    @property
    def provenance(self) -> Path:
        """Return what their cells cost."""
        if self.stored is None:
            return self.folder / "provenance.csv"
        return self.stored.with_name(f"{self.stored.stem}.provenance.csv")

    @property
    def methods(self) -> list[str]:
        """Return the profile's methods but for dense."""
        return [method for method in self.profile.methods if method != "dense"]

    def cell(self, model: str, method: str, sparsity: int) -> Path:
        """Return the folder of a cell at the first seed."""
        cell = Cell(model, method, sparsity, "none", self.profile.seeds[0])
        return cell_folder(self.runs, self.name, cell)
