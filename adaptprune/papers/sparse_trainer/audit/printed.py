"""The printed tables by row and column."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptprune.results.published import Printed

#: Rows of the paper's own two kinds of models.
NAIVE, BOOSTED = "AST-Naive(Ours)", "AST-Boosted(Ours)"
LLAMA2_7B = "meta-llama/Llama-2-7b-hf"


class Tables:
    """Every printed number by table, row and column.

    Args:
        numbers: of ``published.csv``.
    """

    def __init__(self, numbers: Iterable[Printed]) -> None:
        self._places = {(n.table, n.row_label, n.column): n for n in numbers}

    def number(self, table: int, row: str, column: str) -> Printed:
        """Return one number."""
        return self._places[table, row, column]

    def value(self, table: int, row: str, column: str) -> float:
        """Return its value, in the printed unit."""
        return self.number(table, row, column).value

    def row(self, table: int, row: str) -> dict[str, Printed]:
        """Return a printed row by column."""
        return {c: n for (t, r, c), n in self._places.items() if (t, r) == (table, row)}

    def rows(self, table: int) -> list[str]:
        """Return the labels of a table's rows, in printed order."""
        return list(dict.fromkeys(r for t, r, _ in self._places if t == table))
