"""Every kind of table that the suite writes as LaTeX, in one document that pdflatex compiles."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import table_examples
import test_listed_tables as listed
from matrix_examples import stored, write_cells, write_dense
from run_examples import tiny_source, write_provenance, write_results
from test_speed import write_record
from training_rows import write_training_hub

from adaptprune.comparison.report import compare_files, write_comparison
from adaptprune.data.tokencount import write_counts
from adaptprune.data.training import find_data
from adaptprune.evaluation.suites import load_suite
from adaptprune.papers.adapt_pruner.costs import render_costs
from adaptprune.papers.adapt_pruner.table2 import render_data_table
from adaptprune.tables.benchmarks import render_overview
from adaptprune.tables.speed import render_speed
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.xdist_group("lm_eval")


def tables(folder: Path) -> None:
    """Render an example with every kind of entry, and a table of several models."""
    table_examples.example(folder)
    rows = table_examples.full_matrix(profile="paper")
    table_examples.render(folder / "several", rows, profile="paper", name="table7")


def listed_table(folder: Path) -> None:
    """Render a table of listed rows with a failed one."""
    listed.render(folder, listed.example(), listed.declared(listed.ROWS))


def comparison(folder: Path) -> None:
    """Render a comparison of a new method with two others."""
    baselines = [write_dense(folder / "old"), *write_cells(folder / "old")]
    new = write_cells(folder / "new", ["mine"], skill=0.85, nats=2.5)
    files = stored(folder, "tiny", baselines), stored(folder, "new", new)
    write_comparison(compare_files(*files, "mine"), folder / "comparison")


def costs(folder: Path) -> None:
    """Render what pruning took in time."""
    source = tiny_source(folder, ("dense", "flap"), sparsities="20", seeds="0,1")
    write_results(source)
    write_provenance(source, score_s=10.0, cut_s=2.0)
    render_costs(source, folder / "cost")


def speed(folder: Path) -> None:
    """Render how fast pruned models are."""
    overrides = {"methods": "dense,flap,slicegpt", "sparsities": "20"}
    source = Source("tiny", load_profile(ROOT / "config", "tiny", overrides), folder)
    for method in ("flap", "slicegpt"):
        write_record(source, method, 20)
    render_speed(source, folder / "speed")


def training_data(folder: Path) -> None:
    """Render Table 2."""
    data = find_data("paper", write_training_hub(folder / "hub"))
    write_counts(data, "tiny-llama", folder / "counts.json")
    claims = ROOT / "paper_tables" / "adapt_pruner" / "quoted" / "claims.yaml"
    render_data_table(folder / "counts.json", claims, folder / "table2")


def benchmarks(folder: Path) -> None:
    """Render Table 6."""
    render_overview(load_suite("all-paper"), folder / "table6")


WRITERS: tuple[Callable[[Path], None], ...] = (
    tables,
    listed_table,
    comparison,
    costs,
    speed,
    training_data,
    benchmarks,
)


def test_latex_compiles(cache: Path, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine: apt-get install texlive-latex-recommended")
    for write in WRITERS:
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
    written = [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*.tex"))]
    assert len(written) == len(WRITERS) + 1
    inputs = "\n".join(rf"\input{{{path}}}\clearpage" for path in written)
    # The packages that the files say they need, and no others.
    document = (
        "\\documentclass[a4paper]{article}\n\\usepackage{booktabs,graphicx}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    (tmp_path / "document.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    for _ in range(2):  # the second run knows the labels
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout[-2000:]
    assert "undefined" not in run.stdout
