"""The environment is input: variables, home folders, accounts and encodings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from adaptprune.errors import UserError
from adaptprune.files.atomic import cache_directory
from adaptprune.files.surroundings import NO_HOME, check, expanded, settle

ROOT = Path(__file__).parents[1]
#: Another user, who may read what is needed to start Python here, and has no account.
NOBODY = (
    *("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
FETCH = ("fetch", "--model", "tiny-llama")


def start(
    folder: Path, *arguments: object, before: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with no variables but the ones that are given."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": paths} | environment
    return subprocess.run(
        [*before, sys.executable, "-m", "adaptprune", *map(str, arguments)],
        env=variables,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty working folder that anybody may write to, next to an empty home."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return tmp_path / "here"


@pytest.fixture
def nobody() -> tuple[str, ...]:
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can become another user")
    return NOBODY


@pytest.mark.parametrize("value", ["~/cache", "$HOME/cache", "${HOME}/cache"])
def test_variables_and_path_options_are_expanded(here: Path, value: str) -> None:
    home = here.parent / "home"
    done = start(here, *FETCH, "--output=~/f.json", HOME=str(home), ADAPTPRUNE_CACHE=value)
    assert done.returncode == 0, done.stderr
    assert (home / "cache" / "models").is_dir()
    assert (home / "f.json").is_file()
    assert not list(here.iterdir())


@pytest.mark.parametrize("name", ["ADAPTPRUNE_CACHE", "HF_HOME", "XDG_CACHE_HOME", "TMPDIR"])
def test_variables_of_the_libraries_too(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "~/there")
    settle()
    assert os.environ[name] == str(tmp_path / "there")
    check()
    monkeypatch.setenv(name, "~nobody-of-this-name/there")
    settle()
    with pytest.raises(UserError, match=rf"{name}=~nobody-of-this-name/there"):
        check()


def test_a_home_of_nobody_is_named() -> None:
    with pytest.raises(UserError, match="~nobody-of-this-name/a: there is no such home folder"):
        expanded(Path("~nobody-of-this-name/a"))


def test_an_account_without_a_home(
    here: Path, monkeypatch: pytest.MonkeyPatch, nobody: tuple[str, ...]
) -> None:
    refused = start(here, *FETCH, "--output", here / "f.json", before=nobody)
    assert (refused.returncode, refused.stdout) == (2, "")
    told = "error: this account has no home folder; set ADAPTPRUNE_CACHE, or HOME\n"
    assert refused.stderr == told
    assert not list(here.iterdir())
    cache = here / "cache"
    done = start(
        *(here, *FETCH, "--output", here / "f.json"), before=nobody, ADAPTPRUNE_CACHE=str(cache)
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in here.iterdir()) == ["cache", "f.json"]
    monkeypatch.setenv("HOME", NO_HOME)
    monkeypatch.delenv("ADAPTPRUNE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(UserError, match="no home folder"):
        cache_directory()


def test_a_user_id_without_a_name(here: Path, nobody: tuple[str, ...]) -> None:
    code = "import adaptprune, getpass, os; print(getpass.getuser(), os.path.expanduser('~'))"
    told = subprocess.run(
        [*nobody, sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=here,
        capture_output=True,
        text=True,
    )
    assert told.stdout == f"uid-12345 {NO_HOME}\n", told.stderr


def test_a_home_that_cannot_be_written(here: Path, nobody: tuple[str, ...]) -> None:
    home = here.parent / "home"
    home.chmod(0o555)
    done = start(here, *FETCH, "--output", here / "f.json", before=nobody, HOME=str(home))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"error: {home}" in done.stderr
    assert "cannot be written (Permission denied)" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [{}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_text_is_utf8_whatever_the_locale(here: Path, environment: dict[str, str]) -> None:
    output = here / "pr\u00fcfung.md"
    tables = ROOT / "paper_tables"
    done = start(here, "audit", "--tables", tables, "--output", output, **environment)
    assert done.returncode == 0, done.stderr
    assert "\u2013" in output.read_text(encoding="utf-8") or output.stat().st_size
    refused = start(
        here,
        "prune",
        "--model",
        "./m\u00f6dell",
        "--sparsity",
        20,
        "--seed",
        0,
        "--output",
        here / "o",
        "--method",
        "flap",
        **environment,
    )
    assert refused.returncode == 2
    assert "m\u00f6dell does not exist" in refused.stderr


def test_an_unreadable_file_ends_in_one_line(here: Path, nobody: tuple[str, ...]) -> None:
    (here / "tokens.json").write_text(json.dumps([[1, 2]]))
    output = here / "sub" / "f.json"
    (here / "sub").mkdir(mode=0o500)
    done = start(here, *FETCH, "--output", output, before=nobody, ADAPTPRUNE_CACHE=str(here / "c"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "sub" in done.stderr
