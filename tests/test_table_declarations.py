"""The YAML files that declare tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from table_examples import DECLARED

from adaptprune.cells import split_variant
from adaptprune.errors import UserError
from adaptprune.tables.declared import Declaration, load_declaration
from adaptprune.workflow.profiles import load_profile, profile_names

CONFIG = Path(__file__).parents[1] / "config"


@pytest.mark.parametrize("path", DECLARED, ids=lambda path: path.stem)
def test_declarations_are_valid_and_named_after_their_file(path: Path) -> None:
    declaration = load_declaration(path)
    assert declaration.name == path.stem
    if isinstance(declaration, Declaration):
        assert declaration.methods[0].method == "dense"


MATRICES = [path for path in DECLARED if isinstance(load_declaration(path), Declaration)]


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_declared_variants_exist_in_every_profile(path: Path) -> None:
    declaration = load_declaration(path)
    assert isinstance(declaration, Declaration)
    names = declaration.method_names
    for profile in profile_names(CONFIG):
        methods = load_profile(CONFIG, profile).with_variants(names).methods
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
        ("name: [", "not YAML"),
        ("- 1", "the file: Input should be"),
        ("{name: t, caption: c, label: l}", "methods: Field required"),
        ("{name: t, caption: c, label: l, methods: [], x: 1}", "methods: List should have"),
        (
            "{name: t, caption: c, label: l, methods: [{method: a, title: A}], colour: red}",
            "colour: Extra inputs are not permitted",
        ),
        (
            "{name: t, caption: c, label: l, methods: [{method: a, title: A, against: b}]}",
            "a is set against b, which is no row",
        ),
        (
            "{name: t, caption: c, label: l, methods: [&row {method: a, title: A}, *row]}",
            "methods lists a method twice",
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
