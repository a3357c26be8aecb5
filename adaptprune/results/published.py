"""The papers' numbers and words: ``published.csv`` and ``quoted/claims.yaml``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.declared import Closed

if TYPE_CHECKING:
    from pathlib import Path

#: Powers of ten behind the units that the papers print.
UNITS = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "TFLOP": 1e12}


@dataclass(frozen=True)
class Printed:
    """One printed number.

    Args:
        table: its table's number in the arXiv text.
        table_acl: the same in a submission, None where the paper has none.
        model: name as printed.
        model_id: the hub id it stands for.
        sparsity: percent; 0 where the table has none.
        method: name of the method in this suite.
        amplitude: A of Eq. 6 where the table varies it.
        row_label: as printed.
        column: as printed.
        key: task, ``average`` or ``params``.
        metric: of the task, as this suite calls it.
        value: as printed, in ``unit``; a printed fraction (``2/3``) is divided.
        std: printed behind ``±``, None without one.
        unit: ``%``, ``ppl``, ``M``, ``B``, …
        text: value and deviation as they are printed.
    """

    table: int
    table_acl: int | None
    model: str
    model_id: str
    sparsity: int
    method: str
    amplitude: float | None
    row_label: str
    column: str
    key: str
    metric: str
    value: float
    std: float | None
    unit: str
    text: str

    @property
    def counted(self) -> float:
        """The value, counted singly: the powers of ten behind ``k``, ``M``, ``B``, ``T`` put in."""
        return self.value * UNITS.get(self.unit, 1.0)

    @property
    def counted_std(self) -> float | None:
        """The deviation, counted singly."""
        return None if self.std is None else self.std * UNITS.get(self.unit, 1.0)

    @property
    def label(self) -> str:
        """The method; a variant named after the amplitude where the table varies that."""
        return (
            self.method if self.amplitude is None else f"{self.method}@amplitude-{self.amplitude:g}"
        )


class Quotation(Closed):
    """Words, and where they stand."""

    source: str
    words: str

    @property
    def said(self) -> str:
        """The words with their place."""
        return f'"{self.words}" ({self.source}).'


class TrainingData(Closed):
    """Tokens of each data set and their total, as printed (``1.80B``, ``74M``)."""

    source: str
    tokens: dict[str, str]
    total: str


class PruningRatio(Quotation):
    """The printed power that leads to the ratio per training, and the sizes (10⁶) it names."""

    small: int
    large: int
    interleaves: int
    percent: float
    models: str
    named_large: int


class Interleaves(Quotation):
    """Ratios per training, as printed, and the numbers of interleaves they correspond to."""

    large_model: str
    small_model: str
    ratios: list[str]
    counts: list[int]


class Allocation(Quotation):
    """Tokens of each training, as printed and as the official code does it."""

    code_source: str
    code_words: str


class Targets(Allocation):
    """Sizes between two trainings, as printed and as the official script computes them."""

    large: int
    small: int
    interleaves: int


class SparsityRule(Quotation):
    """Eq. 6, what is said about its average, and the steps of the amplitude ablation."""

    average_words: str
    steps: int


class Margins(Quotation):
    """The margin over the best baseline, in points."""

    lowest: float
    highest: float


class BestAmplitude(Quotation):
    """The amplitude that is said to be best."""

    amplitude: float


class Comparison(Closed):
    """One question that several sources answer: their words, and the answers in that order."""

    topic: str
    words: dict[str, str]
    answers: list[str]


class Claims(Closed):
    """What the paper says outside its results tables."""

    sources: dict[str, str]
    training_data: TrainingData
    pruning_ratio: PruningRatio
    interleaves: Interleaves
    allocation: Allocation
    targets: Targets
    sparsity: SparsityRule
    margins: Margins
    best_amplitude: BestAmplitude
    comparisons: list[Comparison]


def load_published(path: Path) -> list[Printed]:
    """Read the printed numbers.

    Raises:
        UserError: the file is absent, or a line is not what it should be.
    """
    rows = csv.DictReader(_text(path).splitlines())
    try:
        return [_printed(row) for row in rows]
    except (KeyError, ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{path}: line {rows.line_num}: {error!r}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


def _printed(row: dict[str, Any]) -> Printed:
    std = row["std"]
    return Printed(
        table=int(row["table_arxiv"]),
        table_acl=int(row["table_acl"]) if row.get("table_acl") else None,
        model=row["model"],
        model_id=row["model_id"],
        sparsity=int(row["sparsity"] or 0),
        method=row["method"],
        amplitude=float(row["amplitude"]) if row.get("amplitude") else None,
        row_label=row["row_label"],
        column=row["column"],
        key=row["key"],
        metric=row["metric"],
        value=float(Fraction(row["value"])),
        std=float(std) if std else None,
        unit=row["unit"],
        text=f"{row['value']} ± {std}" if std else row["value"],
    )
