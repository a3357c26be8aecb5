"""The page of a comparison: what it says first, its numbers, and how it lies in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from browser import chromium
from matrix_examples import stored, write_cells, write_dense

from adaptprune.comparison.report import (
    Comparison,
    compare_files,
    render_html,
    render_markdown,
    write_comparison,
)

MATRIX = Path(__file__).parents[1] / "results" / "offline.csv"
#: At each width: by how much the page is too wide, whether some table is, and how far the first
#: column of that table moves when its other columns are scrolled.
LOOK = """
<pre id="facts"></pre>
<iframe id="page" srcdoc="{page}" style="height: 800px; border: 0"></iframe>
<script>
  const frame = document.getElementById("page"), facts = {};
  frame.onload = () => {
    for (const width of [390, 768, 1366]) {
      frame.style.width = width + "px";
      const page = frame.contentDocument.documentElement;
      const tables = [...frame.contentDocument.querySelectorAll(".table")];
      const wide = tables.find(table => table.scrollWidth > table.clientWidth + 80);
      let moved = null;
      if (wide) {
        const first = wide.querySelector("tbody th[scope=row]");
        const before = first.getBoundingClientRect().left;
        wide.scrollLeft = 80;
        moved = first.getBoundingClientRect().left - before;
        wide.scrollLeft = 0;
      }
      facts[width] = {overflow: page.scrollWidth - width, moved};
    }
    document.getElementById("facts").textContent = JSON.stringify(facts);
  };
</script>
"""


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A method that explodes beside two that do not, one of which is larger."""
    folder = tmp_path_factory.mktemp("page")
    larger = {"counts__params": 900, "counts__nonzeros": 900}
    baselines = [
        write_dense(folder / "old"),
        *write_cells(folder / "old", ["flap"]),
        *write_cells(folder / "old", ["slicegpt"], pruning=larger),
    ]
    new = write_cells(folder / "new", ["mine"], skill=0.4, nats=18.0)
    files = stored(folder, "tiny", baselines), stored(folder, "new", new)
    return compare_files(*files, "mine")


def test_verdicts_pictures_warnings_and_tables_come_in_this_order(comparison: Comparison) -> None:
    page = render_html(comparison)
    marks = ['<ul class="verdicts">', "<svg", 'class="warnings"', "<table"]
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)
    assert page.count("<svg") == 2, "one for each sparsity"
    (verdicts,) = re.findall(r'<ul class="verdicts">(.*?)</ul>', page, flags=re.DOTALL)
    assert verdicts.count("<strong>At ") == 2


def test_sizes_that_differ_are_warned_of_in_every_format(
    comparison: Comparison, tmp_path: Path
) -> None:
    write_comparison(comparison, tmp_path / "out")
    warning = "At 20 %, beside mine on tiny-llama: SliceGPT +"
    for suffix in (".md", ".html"):
        assert warning in (tmp_path / f"out{suffix}").read_text(encoding="utf-8")
    assert r"At 20 \%, beside mine on tiny-llama: SliceGPT +" in (tmp_path / "out.tex").read_text()


def test_numbers_have_one_notation(comparison: Comparison, tmp_path: Path) -> None:
    """No exponent of a programming language, no percent sign without its space."""
    for text in (render_markdown(comparison), visible(render_html(comparison))):
        assert re.search(r"[0-9)]·10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", text)
        assert not re.search(r"[0-9][eE][+-]?[0-9]", text)
        assert not re.search(r"[0-9]%", text)
    write_comparison(comparison, tmp_path / "out")
    latex = (tmp_path / "out.tex").read_text(encoding="utf-8")
    assert r"$\cdot$10$^{" in latex
    assert not re.search("[·⁻⁰¹²³⁴⁵⁶⁷⁸⁹]", latex)


def test_every_p_says_how_it_was_corrected(comparison: Comparison, tmp_path: Path) -> None:
    headers = [header for panel in comparison.panels for header in panel.flat_headers]
    of_p = [header for header in headers if re.search(r"\bp\b", header)]
    assert of_p
    assert all(header.endswith("p (Holm)") for header in of_p)
    assert all(sentence.count("corrected p (Holm)") == 2 for sentence in comparison.sentences)
    write_comparison(comparison, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out.csv")
    for (kind, seed), rows in table.groupby(["kind", "seed"]):
        tests = f"Holm, {len(rows)} tests"
        assert set(rows["correction"]) == {
            "Holm, within each seed" if (kind, seed) == ("task", "all") else tests
        }
    metrics = table.groupby("measure")["metric"].agg(set)
    assert metrics["average"] == {"mean"}
    assert metrics["tiny_local_place"] == {"acc"}
    assert metrics["tiny_local_thing"] == {"acc_norm"}


def visible(page: str) -> str:
    """Return what a page shows, its style left out."""
    text = re.sub(r"<style>.*?</style>|<svg viewBox=\"[^\"]*\"", "", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    page = html.escape(render_html(compare_files(MATRIX, MATRIX, "adapt-pruner")), quote=True)
    (tmp_path / "look.html").write_text(LOOK.replace("{page}", page), encoding="utf-8")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", f"--user-data-dir={tmp_path / 'browser'}"),
            *("--window-size=1500,900", "--virtual-time-budget=10000"),
            *("--dump-dom", (tmp_path / "look.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
    )
    (found,) = re.findall(r'<pre id="facts">(.+?)</pre>', done.stdout)
    facts = json.loads(html.unescape(found))
    for width in ("390", "768", "1366"):
        assert facts[width]["overflow"] <= 0, width
    for width in ("390", "768"):
        assert facts[width]["moved"] == pytest.approx(0, abs=8), "the first column stays in sight"


def test_text_stands_out_in_light_and_dark(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_html(compare_files(MATRIX, MATRIX, "adapt-pruner")), encoding="utf-8")
    with chromium(tmp_path) as browser:
        for scheme in ("light", "dark"):
            browser.show(page, 1366, prefers_color_scheme=scheme)
            assert browser.faint() == [], scheme
