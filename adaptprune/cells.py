"""Cells and where their files lie. Torch-free: the workflow builds its graph from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.models.catalogue import slug

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, order=True)
class Cell:
    """One pruned checkpoint and all that is measured on it.

    Args:
        model: id, folder or hub id.
        method: ``name`` or ``name@variant``.
        sparsity: percent; 0 for dense alone.
        recovery: named preset, ``none`` for prune-only.
        seed: of the calibration draw and of the method.
    """

    model: str
    method: str
    sparsity: int
    recovery: str
    seed: int

    @property
    def key(self) -> str:
        """Return the cell's path below the cells' folder."""
        return f"{slug(self.model)}/{self.method}/{self.sparsity}/{self.recovery}/s{self.seed}"


def grid(
    models: list[str],
    methods: list[str],
    sparsities: list[int],
    seeds: list[int],
    recovery: str = "none",
) -> list[Cell]:
    """Return all cells of a matrix; dense is one cell per model, at the first seed."""
    cells = []
    for model in models:
        for method in methods:
            if method == "dense":
                cells.append(Cell(model, method, 0, "none", seeds[0]))
                continue
            cells += [
                Cell(model, method, sparsity, recovery, seed)
                for sparsity in sparsities
                for seed in seeds
            ]
    return cells


def cell_folder(runs: Path, profile: str, cell: Cell) -> Path:
    """Return the folder of a cell's files."""
    return runs / profile / "cells" / cell.key
