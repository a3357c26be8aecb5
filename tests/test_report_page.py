"""The report as a browser shows it: phone, tablet, laptop, dark mode, keys alone, paper."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from browser import COLOURS, chromium
from report_examples import draw_figure, run_of, write_markdown

from adaptprune.papers.adapt_pruner.evidence import BASELINES, OURS
from adaptprune.report.page import render_report
from adaptprune.results.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from browser import Browser

WIDTHS = (390, 768, 1366)
SCHEMES = ("light", "dark")


def ask(browser: Browser, expression: str) -> Any:
    """Return the value of an expression that may use the functions above."""
    return browser.find(f"(() => {{ {COLOURS} return {expression}; }})()")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run with a table and a figure, where one method leads by far."""
    folder = tmp_path_factory.mktemp("report")
    evidence = run_of(folder, {OURS: 0.97} | dict.fromkeys(BASELINES, 0.5))
    draw_figure(evidence.generated / "figures" / "fig1.png")
    write_markdown(evidence.generated / "table1.md")
    path = folder / "report.html"
    path.write_text(render_report(evidence), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("browser")) as started:
        yield started


def test_nothing_lies_outside_of_the_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"(?!#|data:)|url\(|@import", text)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window(page: Path, browser: Browser, width: int) -> None:
    browser.show(page, width)
    browser.find("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.find("innerWidth") == width
    assert browser.find("document.documentElement.scrollWidth - innerWidth") <= 0
    wide = "[...document.querySelectorAll('.table')].map(t => t.scrollWidth - t.clientWidth)"
    assert max(browser.find(wide)) > 0 or width > 1000, "a wide table scrolls by itself"
    assert browser.find("[...document.images].map(i => i.complete && i.naturalWidth > 0)") == [True]
    ids = browser.find("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = browser.find("[...document.links].map(a => a.getAttribute('href'))")
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert browser.find("[...document.querySelectorAll('h2')].map(h => h.textContent)") == [
        "Adapt-Pruner (arXiv 2502.03460)",
        "Adaptive Sparse Trainer (arXiv 2407.20584)",
        "What was run, and on what",
        "Cells without a result",
        "Tables",
        "Figures",
        "Tables and figures that were not run",
        "What follows from architecture and arithmetic alone",
    ]


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1366, 768)])
def test_the_first_screen_says_what_came_out(
    page: Path, browser: Browser, width: int, height: int
) -> None:
    browser.show(page, width, height)
    low = "document.querySelector('.tally').getBoundingClientRect().bottom"
    assert browser.find(low) <= height
    words = "[...document.querySelectorAll('.tally .badge')].map(b => b.innerText.slice(2).trim())"
    assert [" ".join(word.split()) for word in browser.find(words)] == [*Outcome]
    counts = browser.find("[...document.querySelectorAll('.tally td')].map(c => c.innerText)")
    assert counts[1:] == ["6", "3", "1", "8", "0", "0", "0", "11"]
    assert "25 of 25 cells have their numbers" in browser.find("document.body.innerText")
    if width == 1366:
        lines = "[...document.querySelectorAll('#adapt_pruner > details')]"
        lows = browser.find(f"{lines}.map(d => d.getBoundingClientRect().bottom)")
        assert len(lows) == 5, "what was not run is one line"
        assert max(lows) <= height


@pytest.mark.parametrize("width", WIDTHS)
def test_the_contents_stay_in_sight(page: Path, browser: Browser, width: int) -> None:
    browser.show(page, width, prefers_reduced_motion="reduce")
    for target in ("table1", "figure-fig1", "arithmetic"):
        browser.find(f"location = '#{target}'")
        top, bottom = (
            browser.find(f"document.querySelector('nav').getBoundingClientRect().{side}")
            for side in ("top", "bottom")
        )
        place = browser.find(f"document.getElementById('{target}').getBoundingClientRect().top")
        assert top == pytest.approx(0, abs=25)
        assert place >= (-1 if width > 1100 else bottom - 1), "not beneath the contents"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_stands_out(page: Path, browser: Browser, scheme: str) -> None:
    """By the ratio that WCAG 2 asks for (AA, 4.5), whatever the size of the text."""
    browser.show(page, 1366, prefers_color_scheme=scheme)
    browser.find("document.querySelectorAll('details').forEach(d => d.open = true)")
    is_dark = ask(browser, "luminance(behind(document.body))") < 0.2
    assert is_dark == (scheme == "dark")
    assert browser.faint() == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_four_outcomes_differ_without_colour(page: Path, browser: Browser, scheme: str) -> None:
    browser.show(page, 1366, prefers_color_scheme=scheme)
    found = ask(
        browser,
        """[...document.querySelectorAll(".tally .badge")].map(
        b => [luminance(behind(b)), b.firstElementChild.textContent, behind(b)])""",
    )
    assert len(found) == 4
    lightness = [116 * luminance ** (1 / 3) - 16 for luminance, _, _ in found]
    assert all(abs(one - other) > 12 for one, other in itertools.combinations(lightness, 2))
    for column in (1, 2):
        assert len({row[column] for row in found}) == 4, "symbols, and colours"


def test_all_that_opens_scrolls_or_leads_is_reached_by_keys(page: Path, browser: Browser) -> None:
    browser.show(page, 390, prefers_reduced_motion="reduce")
    browser.find("window.seen = new Set()")
    wanted = browser.find(
        """[...document.querySelectorAll("a, summary, .table, .picture")]
        .filter(e => e.checkVisibility({contentVisibilityAuto: true})).length"""
    )
    for _ in range(wanted):
        browser.press("Tab", 9)
        browser.find("window.seen.add(document.activeElement)")
        assert browser.find("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        top = browser.find("document.activeElement.getBoundingClientRect().top")
        assert -1 <= top < browser.find("innerHeight")
    assert browser.find("window.seen.size") == wanted
    first = "document.querySelector('#adapt_pruner > details')"
    browser.find(f"{first}.querySelector('summary').focus()")
    browser.press("Enter", 13)
    assert browser.find(f"{first}.open")
    assert "larger than chance explains" in browser.find(f"{first}.innerText")


@pytest.mark.parametrize(("motion", "scrolls"), [("reduce", "auto"), ("no-preference", "smooth")])
def test_nothing_moves_for_who_wants_no_motion(
    page: Path, browser: Browser, motion: str, scrolls: str
) -> None:
    browser.show(page, 1366, prefers_reduced_motion=motion)
    assert browser.find("getComputedStyle(document.documentElement).scrollBehavior") == scrolls
    moving = """[...document.querySelectorAll("*")].filter(e => (s => s.animationName !== "none"
    || s.transitionDuration !== "0s")(getComputedStyle(e))).length"""
    assert browser.find(moving) == 0


def test_paper_shows_what_is_folded(page: Path, browser: Browser) -> None:
    browser.show(page, 700, media="print", prefers_color_scheme="dark")
    assert browser.find("document.querySelector('details').open") is False
    heights = browser.find(
        "[...document.querySelectorAll('.behind')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) > 10
    assert browser.find("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert browser.find("document.documentElement.scrollWidth - innerWidth") <= 0
    assert ask(browser, "luminance(behind(document.body))") == 1
