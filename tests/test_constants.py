"""Columns that say the same in every row are said once, above the panel."""

from __future__ import annotations

from adaptprune.tables.constants import without_constants
from adaptprune.tables.panels import Panel, Text, lay_out


def panel_of(*lines: tuple[str, str, str, str, str, str]) -> Panel:
    """Return a panel of model, sparsity, method and two tasks, of which the first has two parts."""
    rows = lay_out(
        (model, (sparsity, method), [Text(text) for text in texts])
        for model, sparsity, method, *texts in lines
    )
    return Panel("Title", ["One"], rows, ["diff.", "p", "n"], note="Said before.")


def test_what_is_the_same_in_all_rows_stands_above() -> None:
    found = without_constants(
        panel_of(("m", "20 %", "a", "1", "2", "3"), ("m", "40 %", "a", "1", "4", "3"))
    )
    assert (found.heading, found.labels, found.flat_headers) == (
        "",
        ("Sparsity", "Method"),
        ["One p"],
    )
    assert found.note == "Said before. The same in every row: Model m; One diff. 1; One n 3."
    assert [row.labels for row in found.rows] == [("20 %", "a"), ("40 %", "a")], "it names the row"
    assert [row.texts for row in found.rows] == [[Text("2")], [Text("4")]]
    assert [row.starts_block for row in found.rows] == [True, True]
    assert not any(row.starts_heading for row in found.rows)


def test_blocks_go_with_the_labels_that_made_them() -> None:
    found = without_constants(
        panel_of(("m", "20 %", "a", "1", "2", "3"), ("n", "20 %", "b", "2", "4", "5"))
    )
    assert (found.heading, found.labels) == ("Model", ("Method",))
    assert found.parts == ["diff.", "p", "n"], "no part of a header is gone"
    assert [row.starts_heading for row in found.rows] == [True, True]
    one_model = without_constants(
        panel_of(("m", "20 %", "a", "1", "2", "3"), ("m", "20 %", "b", "2", "4", "5"))
    )
    assert [row.starts_block for row in one_model.rows] == [True, False]


def test_a_single_row_and_rows_that_differ_stay_as_they_are() -> None:
    single = panel_of(("m", "20 %", "a", "1", "2", "3"))
    assert without_constants(single) == single
    other = panel_of(("m", "20 %", "a", "1", "2", "3"), ("n", "40 %", "b", "2", "4", "5"))
    assert without_constants(other) == other
