"""pyproject.toml, constraints.txt, environment.yml and Makefile say the same."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
DECLARED = [
    Requirement(text)
    for group in (PROJECT["project"]["dependencies"], *EXTRAS.values())
    for text in group
]
#: Packages whose newest version was tried and does not work; what is newer may be tried otherwise.
TOO_NEW = {"pytest"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, Version]:
    pinned: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, version = line.split("==")
        assert normal(name) not in pinned, f"{name} is pinned twice"
        pinned[normal(name)] = Version(version)
    return pinned


def closure() -> set[str]:
    """Return all packages that an installation with all extras needs here, transitively.

    What is not installed (an extra that was left out) is followed no further.
    """
    found: set[str] = set()
    waiting = list(DECLARED)
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        extras = ["", *requirement.extras]
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found |= {name, key}
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for text in needed:
            other = Requirement(text)
            if other.marker is None or any(other.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(other)
    return {name for name in found if "[" not in name}


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    pinned = pins()
    for requirement in DECLARED:
        version = pinned[normal(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"
        bounds = {spec.operator for spec in requirement.specifier}
        assert bounds == ({">=", "<"} if requirement.name in TOO_NEW else {">="}), str(requirement)


@pytest.mark.parametrize("name", ["torch", "transformers", "lm-eval"])
def test_lowest_supported_version_is_the_one_that_is_tested(name: str) -> None:
    (requirement,) = [each for each in DECLARED if normal(each.name) == name]
    (bound,) = requirement.specifier
    assert Version(bound.version) == pins()[name]
    assert f"{name} {bound.version}" in (ROOT / "docs/install.md").read_text()


def test_what_is_needed_is_pinned_and_nothing_else() -> None:
    needed = closure()
    installers = {"pip", "setuptools", "wheel"}
    assert needed - pins().keys() - installers == set(), "needed and not pinned"
    absent = {normal(requirement.name) for requirement in map(Requirement, EXTRAS["slurm"])}
    unfollowed = {"snakemake-executor-plugin-slurm-jobstep"} if absent - needed == set() else set()
    assert pins().keys() - needed - unfollowed == set(), "pinned and not needed"


def test_conda_installs_what_make_installs() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == f"python{PROJECT['project']['requires-python']}"
    assert pip == "pip"
    constraint, editable = packages["pip"]
    assert constraint == "--constraint constraints.txt"
    extras = re.fullmatch(r"--editable \.\[(.+)\]", editable)
    assert extras
    assert set(extras[1].split(",")) == EXTRAS.keys()
    makefile = (ROOT / "Makefile").read_text()
    assert f'--constraint constraints.txt --editable ".[{extras[1]}]"' in makefile


def test_tools_check_for_the_oldest_python() -> None:
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    major, minor = oldest.split(".")
    assert f"sys.version_info < ({major}, {minor})" in (ROOT / "Makefile").read_text()
    from adaptprune.doctor.machine import OLDEST_PYTHON

    assert (int(major), int(minor)) == OLDEST_PYTHON


def test_every_package_that_is_imported_is_declared() -> None:
    """A package that comes along with another one may go with it."""
    declared = {normal(requirement.name) for requirement in DECLARED}
    provided = importlib.metadata.packages_distributions()
    own = {"adaptprune", "baselines"}
    for file in [*ROOT.glob("adaptprune/**/*.py"), *ROOT.glob("baselines/*.py")]:
        for name in re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.MULTILINE):
            if name not in provided or name in own:
                continue  # of the standard library, of this repository, or a word of a docstring
            assert {normal(package) for package in provided[name]} & declared, f"{file}: {name}"


STUB = """#!/bin/sh
case "$*" in
  *venv*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *install*) sleep 0.5; echo installed >> calls ;;
esac
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="no flock on this machine")
def test_two_calls_in_one_clone_install_once(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "stub").write_text(STUB)
    (tmp_path / "stub").chmod(0o755)
    command = ["make", "setup", "PYTHON=./stub"]
    calls = [subprocess.Popen(command, cwd=tmp_path) for _ in range(2)]
    assert [call.wait() for call in calls] == [0, 0]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert (tmp_path / "calls").read_text() == "installed\n"
