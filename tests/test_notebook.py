"""The notebook of the documentation runs from its first cell to its last, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from matrix_examples import stored, write_cells, write_dense
from nbclient import NotebookClient

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
#: What the first cell of code says, and what it says here.
REAL = 'model_name, texts = "smollm2-135m", "bigbench-prose"\n'
REAL += 'suite, documents = "commonsense-offline", 5\nmatrix = "../results/offline.csv"'
TINY = 'model_name, texts = "tiny-llama", "tiny-prose"\nsuite, documents = "commonsense-tiny", 3\n'


def test_the_notebook_runs(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    notebook = nbformat.read(PAGE, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source == REAL
    cells = write_cells(tmp_path / "cells", sparsities=[20])
    matrix = stored(tmp_path, "matrix", [write_dense(tmp_path / "cells"), *cells])
    first.source = f'{TINY}matrix = "{matrix}"'
    folder = {"metadata": {"path": str(PAGE.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder).execute()
    assert "params_dense" in str(notebook.cells)


def test_the_notebook_holds_its_outputs() -> None:
    notebook = nbformat.read(PAGE, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.execution_count
            assert all(output.output_type != "error" for output in cell.outputs)
    assert PAGE.stat().st_size < 100_000
