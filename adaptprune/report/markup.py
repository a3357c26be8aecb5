"""Tables and statements, written as Markdown, and figures as parts of a page."""

from __future__ import annotations

import base64
import re
import struct
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from markdown_it.token import Token

#: Headings stand two levels lower: a page and its part are above them.
_LOWER = 2
#: Pixels of a picture's file to one of the page: text of 7.5 points is printed at 12 pixels.
_DENSITY = 5 / 3


#: The spread of a number stands below it: tables of many columns fit a page so.
_SPREAD = re.compile(r"± [^\s<]+")
_PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")


def html_of(text: str, name: str) -> Markup:
    """Turn Markdown into HTML whose wide tables are scrolled, with their labels in sight.

    Args:
        text: without HTML, but for underlined numbers.
        name: what a reader is told that scrolls.
    """
    tokens = _PARSER.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{int(token.tag[1:]) + _LOWER}"
        if token.type == "bullet_list_open":
            token.attrJoin("class", "notes")
    parts, start = [], 0
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            parts.append(_render(tokens[start:place]))
            start = place
        if token.type == "table_close":
            parts.append(_table(tokens[start : place + 1], name))
            start = place + 1
    return Markup("").join([*parts, _render(tokens[start:])])


def _render(tokens: Sequence[Token]) -> Markup:
    html = _PARSER.renderer.render(tokens, _PARSER.options, {})
    return Markup(html.replace("&lt;u&gt;", "<u>").replace("&lt;/u&gt;", "</u>"))


def _table(tokens: Sequence[Token], name: str) -> Markup:
    """Return a table that scrolls; a first label that is the same in all lines stands above it."""
    said = Markup("")
    opens = [place for place, token in enumerate(tokens) if token.type == "tr_open"]
    firsts = [tokens[place + 2].content for place in opens]
    headers = [token for token in tokens if token.type == "th_open"]
    # Labels stand to the left, numbers to the right; words alone have one label.
    aligned = [bool(token.attrGet("style")) for token in headers]
    labels = aligned.index(True) if any(aligned) else 1
    if labels > 1 and len(firsts) > 2 and len(set(firsts[1:])) == 1:
        said = Markup('<p class="notes">{}: {}</p>').format(firsts[0], firsts[1])
        tokens, labels = _without_first(tokens), labels - 1
    tokens[0].attrJoin("class", f"labels-{max(1, labels)}")
    opened = Markup('<div class="table" tabindex="0" role="region" aria-label="{}">').format(name)
    html = _SPREAD.sub(r' <span class="spread">\g<0></span>', str(_render(tokens)))
    return said + opened + Markup(html) + Markup("</div>")


def _without_first(tokens: Sequence[Token]) -> list[Token]:
    """Return a table without its first column: a cell is three tokens after its line's opening."""
    opens = [place for place, token in enumerate(tokens) if token.type == "tr_open"]
    dropped = {place + step for place in opens for step in (1, 2, 3)}
    return [token for place, token in enumerate(tokens) if place not in dropped]


def picture_of(path: Path, caption: str) -> Markup:
    """Return a PNG file as a picture that the page holds itself, in a width that can be read."""
    data = path.read_bytes()
    (width,) = struct.unpack(">I", data[16:20])
    picture = Markup(
        '<div class="picture" tabindex="0" role="region" aria-label="{name}"><img '
        'src="data:image/png;base64,{data}" alt="{name}, described below" width="{width}"></div>'
        "<figcaption>{caption}</figcaption>"
    )
    held = base64.b64encode(data).decode()
    return picture.format(name=path.stem, data=held, width=round(width / _DENSITY), caption=caption)
