"""Synthetic results, and tables rendered from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.results.rows import CELL, COLUMNS, PROVENANCE, PROVENANCE_KEYS, Row
from adaptprune.tables.render import render_table
from adaptprune.workflow.papers import declared_tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLES = Path(__file__).parents[1] / "paper_tables"
DECLARATIONS = TABLES / "adapt_pruner"
#: Every declared table of the repository.
DECLARED = list(declared_tables(TABLES).values())


MODEL = "meta-llama/Llama-3.1-8B"


@dataclass(frozen=True)
class Task:
    task: str
    title: str
    metric: str
    chance: float
    documents: int
    note: str = ""


@dataclass(frozen=True)
class Perplexity:
    task: str
    title: str
    metric: str
    convention: str


@dataclass(frozen=True)
class Suite:
    name: str
    tasks: list[Task]
    perplexity: Perplexity


@dataclass(frozen=True)
class Run:
    """What a table of methods needs of a profile."""

    models: Sequence[str] = (MODEL,)
    sparsities: Sequence[int] = (20, 40)
    seeds: Sequence[int] = (0, 1, 2)
    title: str = "few: made up"
    note: str = ""
    recoveries: Mapping[str, Any] = field(default_factory=dict)
    #: Methods that are run with the first seed alone.
    seedless: Sequence[str] = ()

    @property
    def all_sparsities(self) -> Sequence[int]:
        return self.sparsities

    def sparsities_of(self, method: str) -> Sequence[int]:
        return self.sparsities

    def seeds_of(self, method: str) -> Sequence[int]:
        return self.seeds[:1] if method in self.seedless else self.seeds

    def with_variants(self, declared: list[str], more: list[str]) -> Run:
        return self

    def with_sparsities(self, declared: list[str], sparsities: list[int]) -> Run:
        return replace(self, sparsities=sparsities)


SUITE = Suite(
    "few",
    [Task("social_iqa", "SIQA", "acc", 1 / 3, 40), Task("piqa", "PIQA", "acc_norm", 0.5, 60)],
    Perplexity("wikitext", "WikiText2 ppl.", "word_perplexity", "words of the raw text"),
)
METHODS = ["llm-pruner", "flap", "slicegpt", "adapt-pruner"]


def cell(
    method: str,
    sparsity: int,
    seed: int,
    accuracies: tuple[float, float] = (0.4, 0.6),
    perplexity: float = 20.0,
    params: int = 94_080_000,
    **changes: Any,
) -> list[Row]:
    """Return the rows of one finished cell."""
    base = Row(
        profile="mini",
        model=MODEL,
        model_revision="main",
        method=method,
        method_version=1,
        variant="",
        sparsity=sparsity,
        recovery="none",
        seed=seed,
        params=params,
        max_length="1024",
    )
    social, piqa = accuracies
    rows = [
        replace(base, task="social_iqa", metric="acc", value=social, stderr=0.03, n=40),
        replace(base, task="piqa", metric="acc", value=0.1, stderr=0.04, n=60),
        replace(base, task="piqa", metric="acc_norm", value=piqa, stderr=0.04, n=60),
        replace(base, task="wikitext", metric="word_perplexity", value=perplexity, n=3),
    ]
    return [replace(row, **changes) for row in rows]


def stopped(
    method: str, sparsity: int, seed: int, status: str, reason: str, **changes: Any
) -> list[Row]:
    (row, *_) = cell(method, sparsity, seed, status=status, reason=reason, **changes)
    return [replace(row, task="", metric="", value=None, stderr=None, n=None)]


def full_matrix(seeds: tuple[int, ...] = (0, 1, 2), **changes: Any) -> list[Row]:
    """Return a complete matrix in which every method and seed differ."""
    rows = cell("dense", 0, 0, (0.5, 0.7), 12.0, 134_515_008, **changes)
    for place, method in enumerate(METHODS):
        for sparsity in (20, 40):
            for seed in seeds:
                accuracy = 0.35 + 0.02 * place - 0.001 * sparsity + 0.01 * seed
                rows += cell(
                    method,
                    sparsity,
                    seed,
                    (accuracy, accuracy + 0.2),
                    100.0 - 10 * place + sparsity + seed,
                    94_080_000 + 10_000 * seed * (place == 3),
                    **changes,
                )
    return rows


def render(
    folder: Path,
    rows: list[Row],
    name: str = "table1",
    declarations: Path = DECLARATIONS,
    **changes: Any,
) -> Path:
    """Write the rows and render a declared table; returns the stem of the outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    write_trained(folder, rows)
    suite = changes.pop("suite", SUITE)
    profile = changes.pop("profile", "mini")
    stem = folder / name
    render_table(
        declarations / f"{name}.yaml",
        folder / "results.csv",
        folder / "provenance.csv",
        stem,
        name=profile,
        profile=Run(**changes),
        suite=suite,
    )
    return stem


def tidy(stem: Path) -> pd.DataFrame:
    """Return the CSV of a table by sparsity, method and column."""
    table = pd.read_csv(stem.with_suffix(".csv"), keep_default_na=False, na_values=[""])
    return table.set_index(["sparsity", "method", "column"]).sort_index()


def example(folder: Path) -> Path:
    """Render a table that holds every kind of entry."""
    rows = full_matrix()
    rows = [row for row in rows if (row.method, row.sparsity) != ("slicegpt", 40)]
    rows = [row for row in rows if (row.method, row.sparsity, row.seed) != ("flap", 20, 2)]
    rows = [row for row in rows if (row.method, row.sparsity) != ("flap", 40)]
    for seed in (0, 1, 2):
        rows += stopped("flap", 40, seed, "failed", "loss is NaN in layer_3 & 100% of steps")
    return render(folder, rows, note="Measured on 2 cores.")


def write_trained(folder: Path, rows: Sequence[Row], suffix: str = "") -> tuple[Path, Path]:
    """Write results, and provenance in which a training takes 90 s and what lies between 30 s.

    Returns:
        Both paths, ``results<suffix>.csv`` and ``provenance<suffix>.csv``.
    """
    frame = pd.DataFrame([asdict(row) for row in rows], columns=COLUMNS)
    for column in ("n", "params", "tokens", "teacher_tokens"):
        frame[column] = frame[column].astype("Int64")
    results, provenance = (folder / f"{kind}{suffix}.csv" for kind in ("results", "provenance"))
    frame.to_csv(results, index=False)
    trained = frame[frame["recovery"] != "none"][CELL].drop_duplicates()
    trained = trained.assign(stage="recover", train_s=90.0, preparing_s=30.0)
    trained.reindex(columns=[*PROVENANCE_KEYS, *PROVENANCE]).to_csv(provenance, index=False)
    return results, provenance
