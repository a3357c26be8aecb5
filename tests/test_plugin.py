"""A third party's method: as one file, as an installed package, as the documentation shows it."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adaptprune.files.atomic import read_json
from adaptprune.models.random import random_model, random_tokens
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.guard import check_pruned
from adaptprune.pruning.method import Context
from adaptprune.testing import check_method

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PLUGIN = Path(__file__).parent / "plugin"
#: The same method as it was written before there were decisions.
OLDER = Path(__file__).parent / "older_method.py"


pytestmark = pytest.mark.usefixtures("forget_registered")


@pytest.mark.parametrize(
    ("language", "file"), [("python", "my_method.py"), ("toml", "pyproject.toml")]
)
def test_the_documentation_shows_the_files_of_the_package(language: str, file: str) -> None:
    text = (ROOT / "docs" / "adding-a-method.md").read_text()
    (shown, *_) = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    assert shown == (PLUGIN / file).read_text()


def test_the_plug_in_is_short() -> None:
    lines = (PLUGIN / "my_method.py").read_text().splitlines()
    assert sum(1 for line in lines if line.strip()) <= 35


def adaptprune(path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that finds the packages in ``path`` besides."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
    }
    return subprocess.run(
        [sys.executable, "-m", "adaptprune", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )


PRUNE = ["--model", "tiny-llama", "--sparsity", 40, "--seed", 0, "--calibration", "tiny-prose"]
SMALL = ["--sequences", 4, "--length", 16]


def test_an_installed_package_is_found_by_name(
    installed: Path, cache: Path, tmp_path: Path
) -> None:
    listed = adaptprune(installed, "methods")
    assert re.search(r"mine +v1  adaptprune-mine 0\.1\.0 .*power=2\.0", listed.stdout)
    done = adaptprune(
        installed, "prune", "--method", "mine", *PRUNE, *SMALL, "--output", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    record = read_json(tmp_path / "out" / "pruning.json")
    assert (record["method"], record["method_version"], record["status"]) == ("mine", 1, "ok")


def test_a_file_and_an_installed_package_cannot_share_a_name(installed: Path) -> None:
    done = adaptprune(installed, "check-method", "--file", PLUGIN / "my_method.py")
    assert done.returncode == 2
    assert "'mine' is a method of adaptprune-mine 0.1.0; choose another name" in done.stderr


def test_a_file_prunes_without_being_installed(command: Callable[..., Any], tmp_path: Path) -> None:
    file = ["--method-file", PLUGIN / "my_method.py"]
    status, output, errors = command("params", "--model", "tiny-llama", "--sparsity", 40, *file)
    assert status == 0, errors
    promised = json.loads(output)
    status, _, errors = command(
        "prune", *PRUNE, *SMALL, *file, "--set", "power=1", "--output", tmp_path / "out"
    )
    assert status == 0, errors
    record = read_json(tmp_path / "out" / "pruning.json")
    assert record["counts"]["params"] == promised["params_total"]
    assert record["parameters"] == {"layer_start": 0, "layer_end": None, "power": 1.0}
    kept = read_json(tmp_path / "out" / "kept.json")["layers"]
    assert [len(layer["mlp"]) for layer in kept] == [layer["mlp"] for layer in promised["kept"]]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("return Pruned(", "return list(", "method 'mine' failed: TypeError"),
        ("return Pruned(keep_blocks(heads, neurons, blocks))", "return None", "must return Pruned"),
        (
            "        blocks = self._blocks",
            "        raise ValueError('two\\nlines')\n        blocks = self._blocks",
            r"method 'mine' failed: ValueError: two lines \(broken\.py:\d+\)",
        ),
        (
            "        return Pruned(",
            "        model.resize_token_embeddings(9)\n        return Pruned(",
            "has a vocabulary of 9",
        ),
        ("return Scores(tensors)", "return tensors", "score must return Scores, not dict"),
    ],
)
def test_a_broken_method_ends_in_one_line(
    command: Callable[..., Any], tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    source = OLDER.read_text()
    assert old in source
    (tmp_path / "broken.py").write_text(source.replace(old, new))
    file = ["--method-file", tmp_path / "broken.py"]
    stage, extra = ("prune", PRUNE)
    if "Scores" in old:
        stage = "score"
        extra = [*("--model", "tiny-llama", "--sparsities", 40, "--seed", 0), *PRUNE[-2:]]
    status, _, errors = command(stage, *extra, *SMALL, *file, "--output", tmp_path / "out")
    assert status == 2
    assert re.search(complaint, errors)
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_finite_are_a_failed_cell(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    source = OLDER.read_text()
    broken = source.replace(
        "return Scores(tensors)", "return Scores({k: v / 0 for k, v in tensors.items()})"
    )
    (tmp_path / "broken.py").write_text(broken)
    scores = tmp_path / "scores.safetensors"
    file = ["--method-file", tmp_path / "broken.py"]
    status, _, errors = command(
        *("score", "--model", "tiny-llama", "--sparsities", 40, "--seed", 0, *PRUNE[-2:]),
        *(*SMALL, *file, "--output", scores),
    )
    assert status == 0, errors
    status, _, errors = command(
        "prune", *PRUNE, *SMALL, *file, "--scores", scores, "--output", tmp_path / "out"
    )
    assert status == 0, errors
    record = read_json(tmp_path / "out" / "pruning.json")
    assert record["status"] == "failed"
    assert "is not finite" in record["reason"]


def test_a_method_of_before_decisions_goes_on_working() -> None:
    models = {"grouped queries": {"kv_heads": 2}, "multi-head": {"kv_heads": 4}}
    older, newer = (runpy.run_path(str(file))["SPEC"] for file in (OLDER, PLUGIN / "my_method.py"))
    check_method(older, sparsities=[50])
    for shape in models.values():
        kept = []
        for method in (older, newer):
            model, context = random_model(**shape), Context(random_tokens(), seed=0)
            returned = method.prune(model, None, 40, context, method.parse({}))
            kept.append(check_pruned(method, returned, DenseModel.of(model)).decide().kept)
        assert kept[0] == kept[1]
