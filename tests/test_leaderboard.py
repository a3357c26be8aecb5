"""The leaderboard shows the numbers of the stored matrix, also once its script has run."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
import re
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import pytest
from browser import chromium
from matrix_examples import write_scored_cell

import adaptprune
from adaptprune.evaluation.suites import load_suite
from adaptprune.leaderboard.entries import read_board
from adaptprune.leaderboard.page import perplexity, render_leaderboard
from adaptprune.results.matrix import store_cells

ROOT = Path(adaptprune.__file__).parents[1]
STORED, PAGE = ROOT / "results" / "offline.csv", ROOT / "results" / "leaderboard.html"
KEYS = ("method", "sparsity", "recovery", "model")
REMAKE = "stale: run `snakemake leaderboard --cores 1`"

#: Sorts by the average, falling, then shows single weights alone; and steps through the picture.
LOOK = """(() => {
const heads = [...document.querySelectorAll("thead th")];
const average = heads.find((head) => head.dataset.key === "Average (%)");
average.firstChild.click(); average.firstChild.click();
const order = [...document.querySelectorAll("tbody tr")].map(
  (row) => Number(row.cells[average.cellIndex].dataset.value));
const points = [...document.querySelectorAll(".point")].filter((point) => point.tabIndex === 0);
points[0].focus();
points[0].dispatchEvent(new FocusEvent("focus"));  // a page that no window shows gets none
const first = document.querySelector(".told").textContent;
points[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
const second = document.querySelector(".told").textContent;
document.querySelector("[name=family]").value = "single weights";
document.querySelector(".filters").dispatchEvent(new Event("input", { bubbles: true }));
const left = [...document.querySelectorAll("tbody tr")].filter((row) => !row.hidden);
return {
  order, sorted: average.getAttribute("aria-sort"), stops: points.length, first, second,
  left: left.map((row) => row.dataset.family),
  marks: [...document.querySelectorAll(".point:not([hidden])")].length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
})()"""


def embedded(page: str) -> Any:
    """Return the data that a page holds."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def assert_alike(found: Any, wanted: Any) -> None:
    """Compare data; numbers may differ by their last digits."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), REMAKE
        for key in wanted:
            assert_alike(found[key], wanted[key])
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), REMAKE
        for one, other in zip(found, wanted, strict=True):
            assert_alike(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-9), REMAKE
    else:
        assert found == wanted, REMAKE


def test_the_stored_page_shows_the_stored_matrix() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert_alike(embedded(page), json.loads(json.dumps([read_board(STORED).data()])))
    assert len(page.encode()) < 3_000_000
    loaded = re.findall(r'(?:src|srcset|action)="|url\(|@import|<link', page)
    assert not loaded, "nothing lies outside of the page"
    for target in re.findall(r'href="(?!data:|https://arxiv\.org/abs/)([^"]*)"', page):
        assert (PAGE.parent / target).is_file()


def rows_of(dom: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Return what every row of the table prints, by its keys."""
    headers = [html.unescape(key) for key in re.findall(r'<th[^>]* data-key="([^"]*)"', dom)]
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", dom, re.S)
    found = {}
    for attributes, row in re.findall(r"<tr([^>]*)>(.*?)</tr>", body, re.S):
        keys = dict(re.findall(r'data-(\w+)="([^"]*)"', attributes))
        cells = re.findall(r"<(?:th|td)[^>]*>(.*?)(?:<details>.*?)?</(?:th|td)>", row, re.S)
        texts = [html.unescape(cell).strip() for cell in cells]
        found[tuple(keys[key] for key in KEYS)] = dict(zip(headers, texts, strict=True))
    return found


def check_numbers(dom: str) -> None:
    """Compare what is printed with means taken from the file itself."""
    results = pd.read_csv(STORED, keep_default_na=False)
    results["method"] += results["variant"].map(lambda variant: f"@{variant}" if variant else "")
    suite = load_suite("commonsense-offline")
    shown = rows_of(dom)
    groups = results.groupby(list(KEYS))
    assert set(shown) == {tuple(map(str, key)) for key in groups.groups}
    for key, rows in groups:
        printed = shown[tuple(map(str, key))]
        averages, errors = [], []
        for _, cell in rows.groupby("seed"):
            number = cell.set_index(["task", "metric"])
            tasks = [number.loc[(task.task, task.metric)] for task in suite.tasks]
            averages.append(100 * fmean(float(task["value"]) for task in tasks))
            errors.append(100 * math.hypot(*(float(t["stderr"]) for t in tasks)) / len(tasks))
        mean, error = fmean(averages), 1.96 * max(errors)
        assert printed["Average (%)"] == f"{mean:.2f}"
        assert printed["95 % interval"] == f"[{mean - error:.2f}, {mean + error:.2f}]"
        if len(averages) > 1:
            assert printed["Over seeds (±)"] == f"{stdev(averages):.2f}"
        for task in suite.tasks:
            of_task = rows[(rows["task"] == task.task) & (rows["metric"] == task.metric)]
            assert printed[task.title] == f"{100 * fmean(map(float, of_task['value'])):.2f}"
        text = rows[rows["metric"] == "word_perplexity"]["value"]
        assert printed["Perplexity"] == perplexity(fmean(map(float, text)))
        by_seed = rows.drop_duplicates("seed")
        for header, column in (("Parameters", "params"), ("Nonzeros", "nonzeros")):
            count = fmean(map(float, by_seed[column]))
            assert printed[header] == f"{round(count) / 1e6:.1f}M"
        assert printed["Seeds"] == str(len(averages))


def test_every_number_on_the_page_is_that_of_the_file() -> None:
    check_numbers(PAGE.read_text(encoding="utf-8"))


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        browser.show(PAGE, 768)
        facts = browser.find(LOOK)
        check_numbers(browser.find("document.documentElement.outerHTML"))
    assert facts["sorted"] == "descending"
    assert facts["order"] == sorted(facts["order"], reverse=True)
    assert facts["stops"] == 1
    assert "interval [" in facts["first"]
    assert "interval [" in facts["second"]
    assert facts["first"] != facts["second"]
    assert facts["left"]
    assert set(facts["left"]) == {"single weights"}
    assert facts["marks"] == len(facts["left"])
    assert facts["overflow"] <= 0


def test_text_stands_out_in_light_and_dark(tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        for scheme in ("light", "dark"):
            browser.show(PAGE, 1366, prefers_color_scheme=scheme)
            assert browser.faint() == [], scheme


def test_methods_of_others_and_cells_without_a_result_are_listed(tmp_path: Path) -> None:
    stopped = {"status": "failed", "reason": "loss is <not> finite"}
    cells = [
        write_scored_cell(tmp_path, "dense", 0),
        write_scored_cell(tmp_path, "flap", 20, 0),
        write_scored_cell(tmp_path, "flap", 20, 1, evaluation=stopped),
        write_scored_cell(tmp_path, "theirs", 20, 0, pruning={"counts__params": 700}),
    ]
    store_cells(cells, "tiny", tmp_path / "tiny.csv")
    board = read_board(tmp_path / "tiny.csv")
    dense, flap, theirs = board.entries
    assert (dense.family, flap.family, theirs.family) == ("dense", "units", "other")
    assert (flap.seeds, flap.std) == ([0], None)
    assert flap.without_result == ["seed 1 failed: loss is <not> finite"]
    assert theirs.title == "theirs"
    assert theirs.unlike == pytest.approx(700 / 770 - 1)
    page = render_leaderboard([board, board], "adaptprune leaderboard tiny.csv", tmp_path)
    assert page.count("loss is &lt;not&gt; finite") == 2
    (first, _) = re.findall(r'href="data:text/csv;base64,([^"]*)"', page)
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(first).decode())))
    assert [row["method"] for row in rows] == ["dense", "flap", "theirs"]
    assert float(rows[1]["Average (%)"]) == pytest.approx(flap.average)
    assert "code</a>" not in page, "the page lies elsewhere"


def test_perplexities_have_one_notation() -> None:
    shown = [perplexity(value) for value in (None, 93.61, 1698.4, 9.14e7)]
    assert shown == ["–", "93.6", "1,698", "9.1·10⁷"]
