"""The sentences of a Markdown page, without code, marks and the frames of tables."""

from __future__ import annotations

import re

#: After these a full stop ends no sentence.
ABBREVIATIONS = ("e.g", "i.e", "etc", "et al", "Fig", "Eq", "No", "vs", "cf", "approx")
FENCE = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1`*~* *$", re.M | re.S)
#: What ends a text without a full stop: an empty line, a heading, an entry, a cell, a quotation.
PARTS = re.compile(r"\n\s*\n|\n(?= *(?:[-*+]|\d+\.) )|\n(?=#)|(?<!\\)\||\n(?=>)")
MARK = re.compile(r"^\s*(?:#+|[-*+]|\d+\.|>)\s+|[*_]{1,2}(?=\S)|(?<=\S)[*_]{1,2}")
NOT_AFTER = "".join(rf"(?<!\b{re.escape(name)}\.)" for name in ABBREVIATIONS)
END = re.compile(rf"(?<=[.?!]){NOT_AFTER}[\"”’)\]]*\s+(?=[\"“‘(\[]*[A-Z0-9À-Þ…])")


def sentences(page: str) -> list[str]:
    """Return the sentences of paragraphs, headings, entries of lists and cells of tables.

    A piece of code is one word, and so is the text of a link's address.
    """
    text = FENCE.sub("\n\n", page)
    text = re.sub(r"<!--.*?-->|<[^>]+>", "", text, flags=re.S)
    text = re.sub(r"^\|?[ :|-]*-{2,}[ :|-]*$", "\n", text, flags=re.M)  # below a table's head
    text = re.sub(r"(`+)(.+?)\1", "Code", text, flags=re.S)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    found = []
    for part in PARTS.split(text):
        words = " ".join(MARK.sub("", part).split())
        found += [one for one in END.split(words) if one]
    return found


def words_in(sentence: str) -> int:
    """Count the words of a sentence; a dash or another lone sign is none."""
    return sum(1 for word in sentence.split() if re.search(r"\w", word))
