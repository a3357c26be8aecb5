"""README.md is short, its numbers are those of the stored matrix, and its folders are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_results_readme import RESULTS, SUITE, check, measured, stored_grid

from adaptprune.figures.size import draw
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
#: Method, then size, accuracy and perplexity at 20, 40 and 60 %; variants are left to the page.
LINE = re.compile(r"^\| (?!Method)([A-Z][\w -]+?) " + r"\| ([^|]+) " * 9 + r"\|$", re.M)
#: Of the repository, of the package.
FOLDERS = re.compile(r"^(?:Snakefile, )?([a-z_]+)/ ", re.M), re.compile(r"^  ([a-z_]+)/ ", re.M)


def test_the_readme_is_read_in_minutes() -> None:
    assert len(README.split()) <= 900


def test_the_printed_numbers_are_those_of_the_matrix() -> None:
    printed = {
        (sparsity, line[0]): line[place : place + 3]
        for line in LINE.findall(README)
        for sparsity, place in ((20, 1), (40, 4), (60, 7))
        if line[place] != "–"
    }
    (dense,) = re.findall(r"Dense: (\S+), (\S+), (\S+)\.\n", README)
    printed[0, "Dense"] = dense
    shown = {
        (sparsity, title): entries
        for (sparsity, title), entries in measured().items()
        if sparsity in (0, 20, 40, 60) and "(" not in title
    }
    assert set(printed) == set(shown)
    for place, entries in shown.items():
        size, accuracy, perplexity = printed[place]
        value = entries["params"].value
        assert value is not None
        assert size == f"{value / 1e6:.1f}M"
        for text, name in ((accuracy, "average"), (perplexity, "perplexity")):
            check(text, entries[name], spread=False)


def test_the_caption_says_chance_and_standard_error() -> None:
    text = " ".join(README.split())
    chance = 100 * sum(task.chance or 0 for task in SUITE.tasks) / len(SUITE.tasks)
    assert all(task.chance for task in SUITE.tasks)
    assert f"Chance is {chance:.1f}." in text
    stderr = stored_grid().average_stderr
    assert stderr is not None
    assert f"standard error {stderr:.1f}." in text


def test_the_figure_shows_the_matrix(tmp_path: Path) -> None:
    """The image was drawn by the code of today from the results of today."""
    run = tmp_path / "offline"
    run.mkdir()
    (run / "results.csv").symlink_to(RESULTS / "offline.csv")
    assert "(docs/images/offline-size.png)" in README
    drawing = draw(Source("offline", load_profile(ROOT / "config", "offline"), tmp_path))
    shown = pd.read_csv(ROOT / "docs/images/offline-size.csv", dtype={"seeds": "str"})
    pd.testing.assert_frame_equal(shown, drawing.data, check_dtype=False, rtol=1e-9)


def test_a_line_for_every_folder() -> None:
    top, package = (pattern.findall(README) for pattern in FOLDERS)
    tracked = {path.parent.name for path in ROOT.glob("*/*") if path.is_file()}
    hidden = {name for name in tracked if name.startswith((".", "_")) or "." in name}
    assert set(top) == tracked - hidden | {"profiles"}
    inside = {path.relative_to(ROOT / "adaptprune") for path in ROOT.rglob("adaptprune/**/*.*")}
    assert set(package) == {path.parts[0] for path in inside if len(path.parts) > 1} - {
        "__pycache__"
    }
    boxes = set(re.findall(r"[a-z_]+", README.split("flowchart LR\n")[1].split("```")[0]))
    assert boxes <= {*top, *package}


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", index)}
    assert {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"} <= linked
    parts = re.findall(r"^## (.+)$", index, re.M)
    assert parts == ["Start", "How to", "Reference", "Explanation"]


def test_the_files_of_the_page_of_the_layout_are_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text().split("## Which door")[1]
    rows = "".join(line for line in page.splitlines() if line.startswith("| "))
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", rows)
    assert len(named) > 20
    for path in named:
        assert (ROOT / "adaptprune" / path).exists(), path


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.+)$", page, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "results/README.md", "docs"])
def test_links_lead_somewhere(page: str) -> None:
    for path in sorted((ROOT / page).glob("*.md")) or [ROOT / page]:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if target.startswith("http"):
                continue
            name, _, anchor = target.partition("#")
            other = path.parent / name if name else path
            assert other.exists(), f"{path.name}: {target}"
            if anchor:
                assert anchor in anchors(other.read_text()), f"{path.name}: {target}"


#: What stands in for the page's model, texts, suite and number of documents.
SMALL = {
    "smollm2-135m": "tiny-llama",
    "bigbench-prose": "tiny-prose",
    "commonsense-offline": "commonsense-tiny",
    "documents_per_task=29": "documents_per_task=4",
}


def test_the_python_door_opens(cache: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    for name, small in SMALL.items():
        assert name in block
        block = block.replace(name, small)
    *lines, last = block.strip().splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    scores = eval(last, names).set_index(["task", "metric"])
    assert set(scores["n"]) >= {4}
    assert names["pruned"].counts["sparsity_reached"] > 0
