"""Papers as plug-ins: where each one's tables and printed numbers lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adaptprune.errors import UserError
from adaptprune.workflow import papers
from adaptprune.workflow.papers import Paper, declared_tables, paper_of_table

if TYPE_CHECKING:
    from pathlib import Path

SECOND = Paper("second", "A second paper", __name__, tables={"weights": "weights"})


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table of the suite and one of each of two installed papers."""
    first = Paper("first", "A first paper", __name__)
    monkeypatch.setattr(papers, "papers", lambda: [first, SECOND])
    for name in ("own.yaml", "first/one.yaml", "second/two.yaml", "unknown/three.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def test_the_tables_of_every_installed_paper_are_found(tables: Path) -> None:
    assert declared_tables(tables) == {
        "one": tables / "first" / "one.yaml",
        "own": tables / "own.yaml",
        "two": tables / "second" / "two.yaml",
    }


def test_two_tables_of_one_name_are_refused(tables: Path) -> None:
    (tables / "second" / "one.yaml").write_text("")
    with pytest.raises(UserError, match=r"table 'one' is declared twice: .*first.*second"):
        declared_tables(tables)


def test_a_paper_prints_what_lies_in_its_folder(tables: Path) -> None:
    assert SECOND.printed(tables) == []
    (tables / "second" / "published.csv").write_text("")
    assert SECOND.printed(tables) == [tables / "second" / "published.csv"]


def test_a_table_without_a_declaration_belongs_to_a_paper(tables: Path) -> None:
    assert paper_of_table("weights") is SECOND
    with pytest.raises(UserError, match=r"unknown table 'weight'.*did you mean 'weights'"):
        paper_of_table("weight")
