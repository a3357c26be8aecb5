"""The YAML files that declare tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from table_examples import DECLARED

from adaptprune.cells import split_variant
from adaptprune.errors import UserError
from adaptprune.tables.declared import ANY, load_declaration
from adaptprune.tables.select import widened
from adaptprune.workflow.profiles import load_profile, profile_names

CONFIG = Path(__file__).parents[1] / "config"


@pytest.mark.parametrize("path", DECLARED, ids=lambda path: path.stem)
def test_declarations_are_valid_and_named_after_their_file(path: Path) -> None:
    declaration = load_declaration(path)
    assert declaration.name == path.stem
    if ANY in declaration.rows:
        assert declaration.rows_for("any")[0].method == "dense"


MATRICES = [path for path in DECLARED if ANY in load_declaration(path).rows]


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_declared_variants_exist_in_every_profile(path: Path) -> None:
    declaration = load_declaration(path)
    names = [str(row.method) for row in declaration.rows_for("any")]
    for profile in profile_names(CONFIG):
        methods = widened(declaration, load_profile(CONFIG, profile), profile).methods
        plain = {split_variant(method)[0] for method in methods}
        assert {name for name in names if split_variant(name)[0] in plain} <= set(methods)


def test_declarations_are_read_without_torch_and_pandas() -> None:
    code = (
        "import sys, adaptprune.tables.declared; "
        "sys.exit(bool({'torch', 'pandas'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- 1", "must be a mapping"),
        ("{name: t, caption: c, label: l}", "rows: Field required"),
        ("{name: t, caption: c, label: l, rows: []}", "rows: List should have at least 1 item"),
        (
            "{name: t, caption: c, label: l, rows: [{method: a, title: A}], colour: red}",
            "colour: Extra inputs are not permitted",
        ),
        (
            "{name: t, caption: c, label: l, rows: [{method: a, title: A, against: b}]}",
            "a is set against b, which is no row",
        ),
        (
            "{name: t, caption: c, label: l, rows: [&row {method: a, title: A}, *row]}",
            "rows lists a row twice",
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
