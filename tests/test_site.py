"""`make docs`: the site is built without a warning, asks nothing of anybody, and can be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from browser import chromium

from adaptprune.cli import app
from adaptprune.workflow.profiles import Profile

if TYPE_CHECKING:
    from typing import Any

#: One process builds the site once.
pytestmark = pytest.mark.xdist_group("site")

ROOT = Path(__file__).parent.parent


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Do what `make docs` does, with another folder in the place of ``build``."""
    (recipe,) = re.findall(r"^docs: .*\n\t\$\(BIN\)/python (.+)$", MAKEFILE, re.M)
    assert recipe.endswith(" . build/site")
    words = recipe.replace("build/", f"{folder}/").split()
    return subprocess.run(
        [sys.executable, *words], cwd=source, capture_output=True, text=True, timeout=240
    )


MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return folder / "site"


#: Pages that lie beside what they are about.
ELSEWHERE = {Path("CONTRIBUTING.md")}
ELSEWHERE |= {Path(folder, "README.md") for folder in ("results", "paper_tables")}
#: Pages that are made of no Markdown.
ALONE = {"index.html", "search.html", "leaderboard.html"}


def test_every_page_is_in_the_navigation(site: Path) -> None:
    pages = {path.relative_to(ROOT) for path in ROOT.glob("docs/**/*.md")} | ELSEWHERE
    first = (site / "docs/README.html").read_text()
    (tree,) = re.findall(r'<div class="sidebar-tree">(.*?)</div>', first, re.S)
    captions = re.findall(r'<p class="caption"[^>]*><span[^>]*>([^<]+)', tree)
    assert captions == ["Start", "How to", "Reference", "Explanation"]
    listed = re.findall(r'href="([^"#]+)"', tree)
    built = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert built == {str(page.with_suffix(".html")) for page in pages} | ALONE
    linked = {os.path.normpath(f"docs/{link}") for link in listed}
    assert linked == built - {"docs/README.html", *ALONE}
    assert 'url=docs/README.html"' in (site / "index.html").read_text()
    for page in ("docs/reading-results.html", "results/README.html"):
        assert 'href="../leaderboard.html"' in (site / page).read_text()


def test_a_link_that_leads_nowhere_stops_the_building(tmp_path: Path) -> None:
    for name in ("results", "docs", "paper_tables"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("runs", "generated")
        )
    shutil.copy(ROOT / "CONTRIBUTING.md", tmp_path)
    with (tmp_path / "docs/glossary.md").open("a") as page:
        page.write("\n[one](absent.md) [two](targets.md#absent) ![three](absent.png)\n")
    (tmp_path / "docs/lonely.md").write_text("# Nobody leads here\n")
    done = build(tmp_path, tmp_path / "build")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 4, done.stderr
    for complaint in ("'absent.md'", "absent.png", "'docs/targets': 'absent'", "lonely.md"):
        assert complaint in done.stderr, done.stderr


def test_nothing_is_asked_of_any_server(site: Path) -> None:
    """Links may lead elsewhere; what a page loads by itself may not."""
    for page in site.rglob("*.html"):
        text = page.read_text()
        loads = re.findall(r"<(?:script|link|img|iframe|source)[^>]*?(?:src|href)=\"([^\"]*)", text)
        assert [url for url in loads if re.match(r"(https?:)?//", url)] == [], page
    for sheet in site.rglob("*.css"):
        imported = re.findall(r"@import[^;]*|url\([^)]*\)", sheet.read_text())
        assert [one for one in imported if "//" in one and "data:" not in one] == [], sheet
    scripts = "".join(script.read_text() for script in site.rglob("*.js"))
    assert not re.search(r"google-analytics|gtag\(|fonts\.g", scripts)


def text_of(page: Path) -> str:
    """Return the words of a built page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text()))


def test_the_reference_lists_every_option_and_every_key(site: Path) -> None:
    options, keys = (text_of(site / f"docs/{name}.html") for name in ("commands", "profiles"))
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        if command.hidden:
            assert f" {name} " not in options.split("All options")[1]
            continue
        assert f" {name} " in options.split("All options")[1]
        for option in command.params:
            assert max(option.opts, key=len).lower() in options.lower(), f"{name}: {option.opts}"
    schema = keys.split("Types and defaults")[1]
    for definition in [Profile.model_json_schema(), *Profile.model_json_schema()["$defs"].values()]:
        for key in definition["properties"]:
            assert f" {key} " in schema, key


#: What a page says of itself, at whatever width.
FACTS = """(() => {
  const luminance = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const back = luminance(getComputedStyle(document.body).backgroundColor);
  const contrasts = [...document.querySelectorAll("article :is(p, li, td, th, h1, h2, h3, a)")]
    .map(e => luminance(getComputedStyle(e).color))
    .map(l => (Math.max(l, back) + 0.05) / (Math.min(l, back) + 0.05));
  return {
    overflow: document.documentElement.scrollWidth - innerWidth,
    contrast: Math.min(...contrasts), dark: back < 0.2,
    broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
    loaded: performance.getEntriesByType("resource").map(r => r.name)
      .filter(name => !name.startsWith("file:") && !name.startsWith("data:")),
  };
})()"""
WIDTHS = {390: "**/*.html", 768: "docs/[cr]*.html", 1366: "docs/[ft]*.html"}


def test_the_pages_are_readable_in_a_browser(site: Path, tmp_path: Path) -> None:
    """All of them on a phone, some on wider screens."""
    with chromium(tmp_path) as browser:
        for width, pattern in WIDTHS.items():
            pages = [page for page in site.glob(pattern) if page.parent != site]
            assert len(pages) > 2
            for page in pages:
                browser.show(page, width)
                facts = browser.find(FACTS)
                assert facts["overflow"] <= 0, (page, width)
                assert facts["contrast"] >= 4.5, (page, width)
                assert (facts["broken"], facts["loaded"]) == (0, []), (page, width)
        browser.show(site / "docs/README.html", 1366, prefers_color_scheme="dark")
        facts = browser.find(FACTS)
        assert facts["dark"]
        assert facts["contrast"] >= 4.5


def test_the_search_finds_pages_without_a_server(site: Path, tmp_path: Path) -> None:
    with chromium(tmp_path) as browser:
        searched = site / "search.html"
        browser.show(searched, 1366)
        browser.find("Search.performSearch('kv head'), 1")
        for _ in range(100):
            found = browser.find("[...document.querySelectorAll('ul.search a')].map(a => a.text)")
            if found and "Glossary" in found:
                break
        assert "Glossary" in found
