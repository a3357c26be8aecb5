"""The Python, methods and profiles that the pages print are run as they are printed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_documented_commands import as_the_pages_assume

from adaptprune.models.catalogue import locate
from adaptprune.pruning.methodfile import load_method_file
from adaptprune.testing import check_method
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parent.parent


def blocks(page: str) -> list[str]:
    """Return a page's blocks of Python."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def run(block: str, names: dict[str, Any]) -> Any:
    """Run a block; return the value of its last line."""
    *lines, last = block.strip().splitlines()
    exec("\n".join(lines), names)
    return eval(last, names)


def printed(page: str, heads: str) -> list[list[str]]:
    """Return the rows of the table whose head begins so."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    (table,) = re.findall(rf"^\| {re.escape(heads)} .*\n\|[-:|]+\n((?:\|.*\n)+)", text, re.M)
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]


def test_the_recipes_for_pandas_give_what_the_page_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    averages, answers = blocks("reading-results")
    found: pd.DataFrame = run(averages, names)
    assert found.reset_index().astype("str").values.tolist() == printed(
        "reading-results", "variant"
    )
    counted: pd.DataFrame = run(answers, names)
    table = printed("reading-results", "adapt-pruner, llm-pruner")
    assert [[int(cell) for cell in row[1:]] for row in table] == counted.values.tolist()
    alone = counted.loc[1, 0] - counted.loc[0, 1]
    assert f"{100 * alone / counted.values.sum():+.1f}" == "+2.7"


@pytest.mark.parametrize("number", range(3))
def test_a_method_of_another_kind_holds_all_rules(
    number: int, tmp_path: Path, forget_registered: None
) -> None:
    source = blocks("other-methods")[number]
    file = tmp_path / "method.py"
    file.write_text(source)
    rules: list[str] = []
    check_method(load_method_file(file), sparsities=[50], report=rules.append)
    assert len(rules) >= 25
    assert [line for line in source.splitlines() if len(line) > 100] == []


def test_every_method_of_that_page_is_tried() -> None:
    assert len(blocks("other-methods")) == 3


def test_a_model_of_transformers_is_pruned_from_python(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(locate("tiny-llama"), tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("my-model")
    names: dict[str, Any] = {}
    run(block, names)
    assert names["pruned"].counts["sparsity_reached"] > 0
    assert (tmp_path / "my-pruned-here" / "model.safetensors").is_file()


def test_the_profiles_of_the_pages_are_some(tmp_path: Path) -> None:
    as_the_pages_assume(tmp_path)
    mine, gpu = (load_profile(tmp_path / "config", name) for name in ("mine", "my-gpu"))
    assert mine.evaluation.documents_per_task == 100
    assert mine.evaluation.suite == load_profile(ROOT / "config", "mini").evaluation.suite
    assert mine.settings_of("adapt-pruner@gentle").parameters["amplitude"] == 0.1
    assert (gpu.dtype, gpu.device) == ("bfloat16", "cuda")
    assert gpu.evaluation == load_profile(ROOT / "config", "offline").evaluation
