"""No sentence of Start and How to is longer than thirty words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sentences import sentences, words_in

ROOT = Path(__file__).parent.parent
LONGEST = 30


def linked_from(part: str) -> list[str]:
    """Return the pages that a part of the index lists, as paths of the repository."""
    index = (ROOT / "docs/README.md").read_text()
    text = index.split(f"\n## {part}\n")[1].split("\n## ")[0]
    targets = re.findall(r"\]\(([^)#]+\.md)", text)
    return [str((ROOT / "docs" / target).resolve().relative_to(ROOT)) for target in targets]


#: Besides those two parts the entrances, and the pages that one comes back to.
PAGES = dict.fromkeys(
    [
        *("README.md", "docs/README.md", *linked_from("Start"), *linked_from("How to")),
        *(f"docs/{name}.md" for name in ("commands", "targets", "profiles", "architecture")),
    ]
)


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page: str) -> None:
    found = sentences((ROOT / page).read_text())
    assert len(found) > 5
    assert [one for one in found if words_in(one) > LONGEST] == []


def test_code_tables_and_lists_are_no_sentences() -> None:
    page = """# A title

One sentence of `code. With a stop`, which
goes on. Another (Fig. 3) has 1.5 words... A third!

```sh
adaptprune prune. And more.
```

- An entry
- another one, with [a link. Here](page.md#part)
  1. ends here.
     ```python
     x = 1. And
     ```

| head | second |
|---|:---|
| a cell. With two | **bold** \\| still it |
> Quoted, e.g. The rest.
"""
    assert sentences(page) == [
        "A title",
        "One sentence of Code, which goes on.",
        "Another (Fig. 3) has 1.5 words...",
        "A third!",
        "An entry",
        "another one, with a link.",
        "Here",
        "ends here.",
        "head",
        "second",
        "a cell.",
        "With two",
        "bold \\| still it",
        "Quoted, e.g. The rest.",
    ]


def test_a_long_sentence_is_found_wherever_it_stands() -> None:
    long = " ".join(["Word"] + ["word"] * 30) + "."
    for page in (long, f"- {long}", f"| a | {long} |", f"## {long}", f"Short. {long} Short."):
        assert max(map(words_in, sentences(page))) == 31
    wrapped = long.replace(" ", "\n", 3)
    assert max(map(words_in, sentences(wrapped))) == 31
    assert words_in("a – b & c") == 3
