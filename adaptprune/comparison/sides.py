"""Both sides of a comparison: the stored baselines, the new results, and what to call them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.cells import DENSE, split_variant
from adaptprune.comparison.conditions import check_between
from adaptprune.comparison.paired import Cells, Pairing
from adaptprune.errors import UserError, unknown
from adaptprune.evaluation.suites import load_suite
from adaptprune.pruning.registry import find_method, method_title
from adaptprune.results.matrix import read_matrix
from adaptprune.results.rows import labels_of

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.evaluation.suites import Suite
    from adaptprune.results.matrix import Matrix


@dataclass(frozen=True)
class Sides:
    """The stored baselines and the new results, and what each method is called in print."""

    baseline: Matrix
    new: Matrix
    names: tuple[str, str]
    suite: Suite

    @cached_property
    def clashes(self) -> set[str]:
        """Return the methods that both files hold."""
        return set(self.labels(self.baseline)) & set(self.labels(self.new))

    @staticmethod
    def labels(matrix: Matrix) -> list[str]:
        """Return the methods (with variants) of one file, but dense."""
        return sorted(set(labels_of(matrix.results)) - {DENSE})

    def stored(self, label: str) -> str:
        """Return the key of a baseline: its name, with its file where the new one has it too."""
        return f"{label} ({self.names[0]})" if label in self.clashes else label

    def titles(self) -> dict[str, str]:
        """Return the printed names of all rows by key, in printed order."""
        stored = {self.stored(label): label for label in self.labels(self.baseline)}
        found = {DENSE: "Dense"}
        for key, label in stored.items():
            found[key] = (
                title_of(label) + key.removeprefix(label) + self._apart(self.baseline, label)
            )
        for label in self.labels(self.new):
            found[label] = title_of(label) + self._apart(self.new, label)
        return found

    def _apart(self, matrix: Matrix, label: str) -> str:
        """Return what a variant was calibrated on, where that is not the set of plain methods."""
        plain = {
            drawn
            for side in (self.baseline, self.new)
            for drawn in side.results.loc[side.results["variant"] == "", "calibration"]
        }
        own = set(matrix.results.loc[labels_of(matrix.results) == label, "calibration"])
        return "".join(f" on {drawn}" for drawn in sorted(own - plain - {""}))

    def together(self, kind: str) -> pd.DataFrame:
        """Return results or provenance of both files, every row under its key as method."""
        stored, new = getattr(self.baseline, kind), getattr(self.new, kind)
        keys = labels_of(stored).map(self.stored)
        both = [
            stored.assign(method=keys, variant=""),
            new.assign(method=labels_of(new), variant=""),
        ]
        if (stored["method"] == DENSE).any():
            both[1] = both[1][both[1]["method"] != DENSE]
        return pd.concat(both, ignore_index=True)


def title_of(label: str) -> str:
    """Return the printed name of a method or variant: its title where it is known here."""
    try:
        return method_title(label)
    except UserError:
        return label  # somebody else's results


def family_of(label: str) -> str:
    """Return what a method removes; empty where it is not known here."""
    try:
        return find_method(split_variant(label)[0]).family
    except UserError:
        return ""  # somebody else's results


def _split(matrix: Matrix, method: str, source: Path) -> tuple[Matrix, Matrix]:
    """Return one method of a matrix, and all others."""
    known = sorted(set(labels_of(matrix.results)))
    if method not in known:
        raise unknown(f"method in {source}", method, known)
    masks = [labels_of(frame) == method for frame in matrix]

    def kept(masks: list[pd.Series]) -> Matrix:
        frames = zip(matrix, masks, strict=True)
        return type(matrix)(*(frame[mask].reset_index(drop=True) for frame, mask in frames))

    return kept(masks), kept([~mask for mask in masks])


def _names(one: Path, two: Path) -> tuple[str, str]:
    """Return what two files are called in print: as short as tells them apart."""
    return (one.stem, two.stem) if one.stem != two.stem else (str(one), str(two))


def read_sides(baseline_csv: Path, new_csv: Path, method: str | None) -> Sides:
    """Read two results files with their documents, and check that they may be compared.

    Args:
        baseline_csv: the baselines.
        new_csv: the new results.
        method: keep this method of the new results alone. Where both are the same file it meets
            the others there, not itself.

    Raises:
        UserError: a file cannot be trusted, holds no such method or nothing finished, or the
            conditions differ.
    """
    is_same = baseline_csv.resolve() == new_csv.resolve()
    baseline = read_matrix(baseline_csv)
    new = baseline if is_same else read_matrix(new_csv)
    if method is not None:
        new, others = _split(new, method, new_csv)
        if is_same:
            baseline = others
            if not Sides.labels(others):
                raise UserError(f"{new_csv}: holds no method to compare {method!r} with")
    check_between(baseline.results, new.results, (str(baseline_csv), str(new_csv)))
    suites = sorted(set(new.results["suite"]) - {""})
    if not suites:
        raise UserError(f"{new_csv}: holds no finished cell")
    return Sides(baseline, new, _names(baseline_csv, new_csv), load_suite(suites[0]))


def pairings_of(sides: Sides, method: str | None) -> list[Pairing]:
    """Set the new methods against the baselines.

    A method that was asked for meets all of them; of two whole runs, a method meets itself, and
    one that the baselines do not hold meets all.
    """
    new, baselines = Cells(sides.new), Cells(sides.baseline)
    pairings = []
    for label in new.labels():
        alone = method is None and label in sides.clashes
        for place in new.places(label):
            for other in [label] if alone else baselines.labels():
                if place in baselines.places(other):
                    pairings.append(Pairing(place, new, label, baselines, other))
    return sorted(pairings, key=lambda pairing: (pairing.place, pairing.method, pairing.baseline))
