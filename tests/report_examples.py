"""A run that a report is made of, and a table and a figure that may lie there."""

from __future__ import annotations

from pathlib import Path

from matrix_examples import write_cells, write_dense
from run_examples import tiny_source

from adaptprune.figures.style import PAGE, new_figure
from adaptprune.papers.adapt_pruner.evidence import BASELINES, OURS
from adaptprune.papers.adapt_pruner.evidence import PruningEvidence as Evidence
from adaptprune.results.rows import collect, write_results

DECLARATIONS = Path(__file__).parents[1] / "paper_tables"
METHODS = ("dense", OURS, *BASELINES)


def run_of(folder: Path, skills: dict[str, float], **changes: float) -> Evidence:
    """Write a run of the tiny profile whose methods answer right with the given probability."""
    source = tiny_source(folder / "runs", METHODS, sparsities="20,40,60")
    cells = [write_dense(source.folder / "cells")]
    for method, skill in skills.items():
        cells += write_cells(
            source.folder / "cells", [method], (20, 40, 60), skill=skill, nats=4 - skill, **changes
        )
    files = (source.folder / "results.csv", source.folder / "provenance.csv")
    write_results(collect(cells, "tiny"), *files)
    return Evidence(source, DECLARATIONS, folder / "generated" / "tiny")


def draw_figure(path: Path) -> None:
    """Draw something as wide as the suite's figures are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = new_figure(PAGE, 2.0)
    drawn.subplots().plot([1, 2])
    drawn.savefig(path)


def write_markdown(path: Path) -> None:
    """Write a table of fifteen columns."""
    header = "| " + " | ".join(f"Column {i}" for i in range(15)) + " |"
    line = "| " + " | ".join("**44.83 ± 5.97**" for _ in range(15)) + " |"
    path.write_text(f"# Caption\n\n{header}\n|{'---|' * 15}\n{line}\n\n- A note <b>&.\n")
