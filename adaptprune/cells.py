"""Cells and where their files lie. Torch-free: the workflow builds its graph from this."""

from __future__ import annotations

import os
from dataclasses import dataclass
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


def slug(model: str) -> str:
    """Return a model's name as one folder name; a local folder goes by its own name."""
    return _absolute(model).name if is_path(model) else _joined(model)


def possible_slugs(model: str) -> set[str]:
    """Return what ``slug`` can have said of a model, whose folder may be gone by now."""
    return {_absolute(model).name, _joined(model)}


def _absolute(model: str) -> Path:
    """Return a folder without ``~``, ``.`` and ``..``; a link keeps its name."""
    return Path(os.path.abspath(os.path.expanduser(model)))


def _joined(model: str) -> str:
    return model.replace("/", "__")


def is_path(model: str) -> bool:
    """Say whether a model is named by the folder it lies in."""
    return model.startswith((".", "/", "~")) or os.path.isdir(model)


def join_variant(name: str, variant: str | None) -> str:
    """Return ``name@variant``, or the plain name where there is no variant."""
    return f"{name}@{variant}" if variant else name


def split_variant(method: str) -> tuple[str, str | None]:
    """Split ``name@variant`` into its parts; a plain name has no variant."""
    name, separator, variant = method.partition("@")
    return name, variant if separator else None


#: The method that leaves a model as it is, the only one with sparsity 0.
DENSE = "dense"
#: The recovery of a cell that is pruned and not trained.
NO_RECOVERY = "none"


def record_name(recovery: str) -> str:
    """Return which file says how the model of a cell was made."""
    return "pruning.json" if recovery == NO_RECOVERY else "recovery.json"
