"""The YAML files that declare tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from table_examples import DECLARATIONS

from adaptprune.errors import UserError
from adaptprune.tables import load_declaration

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", sorted(DECLARATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_declarations_are_valid_and_named_after_their_file(path: Path) -> None:
    declaration = load_declaration(path)
    assert declaration.name == path.stem
    assert declaration.methods[0].method == "dense"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("- 1", "the file: Input should be"),
        ("{name: t, caption: c, label: l}", "methods: Field required"),
        ("{name: t, caption: c, label: l, methods: [], x: 1}", "methods: List should have"),
        (
            "{name: t, caption: c, label: l, methods: [{method: a, title: A}], colour: red}",
            "colour: Extra inputs are not permitted",
        ),
    ],
)
def test_bad_declarations_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        load_declaration(path)
    assert "\n" not in str(error.value)


def test_an_absent_declaration_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"table\.yaml: No such file"):
        load_declaration(tmp_path / "table.yaml")
