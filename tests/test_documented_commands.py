"""Every command block of README.md and docs/ is run, or checked as far as it can be here."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from documented_commands import COMMANDS, Documented
from matrix_examples import write_cells, write_dense

from adaptprune.cli import app
from adaptprune.models.catalogue import locate
from adaptprune.results.rows import collect, write_results
from adaptprune.tables.declared import load_declaration
from adaptprune.tables.declared_tables import DeclaredTables
from adaptprune.workflow.papers import declared_tables
from adaptprune.workflow.presented import Presented
from adaptprune.workflow.profiles import OVERRIDES, load_profile
from adaptprune.workflow.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += [ROOT / name / "README.md" for name in ("results", "paper_tables")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: A profile that a page writes, with its name in the first line.
PROFILE = re.compile(r"^```yaml\n# config/([\w-]+)\.yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Programs of a cluster or of a machine's administrator, of which nothing can be checked here.
FOREIGN = ("apt-get", "cp", "munged", "pip", "sinfo", "slurmctld", "slurmd")


def commands_of(page: str) -> list[str]:
    """Return the commands of a page's ``sh`` blocks, each in one line without its comment."""
    lines = [
        line for block in BLOCK.findall(page) for line in block.replace("\\\n", " ").splitlines()
    ]
    return [" ".join(words) for line in lines if (words := shlex.split(line, comments=True))]


def documented() -> set[str]:
    return {command for page in PAGES for command in commands_of(page.read_text())}


def words_of(command: str) -> list[str]:
    """Return a command's words; what was quoted in the page is one again."""
    return command.replace("runtime=60 * attempt", "runtime=60").split()


def test_every_command_of_the_pages_is_listed_with_how_long_it_takes() -> None:
    listed = [entry.command for entry in COMMANDS]
    assert len(set(listed)) == len(listed)
    assert documented() - set(listed) == set(), "say in documented_commands.py how it is tried"
    assert set(listed) - documented() == set(), "no page has this command any more"


def test_blocks_without_a_language_hold_no_command() -> None:
    for page in PAGES:
        for line in re.findall(r"^```(\w*)\n", page.read_text(), re.MULTILINE):
            assert line in ("", "sh", "python", "yaml", "toml", "mermaid"), f"{page}: {line}"
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            assert not re.search(r"^(adaptprune|snakemake|make|python) ", block), page


def test_what_needs_no_other_machine_and_seconds_is_run() -> None:
    assert all(entry.stand_in is not None for entry in COMMANDS if entry.kind == "run")
    assert all(entry.stand_in is None or entry.prints or entry.writes for entry in COMMANDS)


def parse(words: list[str]) -> None:
    """Let the command line read a command's options, without running it."""
    group: Any = typer.main.get_command(app)
    command = group.commands[words[0]]
    command.make_context(words[0], list(words[1:]))


def as_the_pages_assume(folder: Path) -> None:
    """Make a clone in which the profiles and the method of the pages have been written."""
    for name in ("rules", "paper_tables"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "config").mkdir()
    for path in ROOT.glob("config/*.yaml"):
        (folder / "config" / path.name).symlink_to(path)
    for page in PAGES:
        for name, content in PROFILE.findall(page.read_text()):
            (folder / "config" / f"{name}.yaml").write_text(content)
    page = (ROOT / "docs" / "adding-a-method.md").read_text()
    (source,) = re.findall(r'^```python\n("""A complete.*?)^```', page, re.MULTILINE | re.DOTALL)
    (folder / "my_method.py").write_text(source)
    (folder / "DIR").mkdir()


@functools.cache
def presented() -> Presented:
    tables = DeclaredTables(declared_tables(ROOT / "paper_tables"))
    return Presented(Request(ROOT, {}, tables, lambda file: None))


#: Keys of `--config` that no profile has, and one whose file the pages write.
NOT_OF_PROFILES = ("method", "method_file", "baseline")


def check_workflow(words: list[str]) -> None:
    """Check targets, profiles and config keys of a call of Snakemake."""
    rules = "".join(path.read_text() for path in ROOT.glob("rules/*.smk"))
    named = presented().targets()
    end = next((i for i, word in enumerate(words) if word.startswith("--")), None)
    targets = words[1:end]
    for target in targets:
        assert target in named or re.search(rf"^rule {target}:", rules, re.MULTILINE), target
    config: dict[str, str] = {}
    for index, word in enumerate(words):
        if word == "--config":
            following = words[index + 1 :]
            end = next((i for i, w in enumerate(following) if w.startswith("--")), None)
            config |= dict(pair.split("=", 1) for pair in following[:end])
        if word == "--workflow-profile":
            assert list((ROOT / words[index + 1]).glob("*.yaml"))
    assert set(config) <= {"profile", "method", "baseline", *OVERRIDES}
    name = config.pop("profile", "offline" if "method" in config else "mini")
    given = {key: value for key, value in config.items() if key not in NOT_OF_PROFILES}
    profile = load_profile(Path("config"), name, given)
    for table in targets:
        if path := declared_tables(ROOT / "paper_tables").get(table):
            load_declaration(path)
    assert profile.models


def check(command: str, folder: Path) -> None:
    """Check a command as far as that is possible without running it."""
    words = words_of(command)
    if words[0] == "sudo":
        words = words[words.index("snakemake") :]
    if words[:3] == ["python", "-m", "adaptprune"]:
        words = words[2:]
    program = words[0]
    if words == ["adaptprune", "--version"]:
        assert "--version" in Path(ROOT / "adaptprune/cli.py").read_text()
    elif program == "adaptprune":
        parse(words[1:])
    elif program == "snakemake":
        check_workflow(words)
    elif program == "make":
        targets = re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in [*targets, *re.findall(r"[a-z0-9]+", " ".join(targets))]
    elif program == "python" and words[1] == "-m":
        assert words[2] == "pytest"
        assert f'"{words[4]}:' in (ROOT / "pyproject.toml").read_text(), "a marker of the tests"
    elif program == "python":
        source = (ROOT / words[1]).read_text()
        assert all(f'"{word}"' in source for word in words if word.startswith("--"))
    elif program == "source":
        assert (
            f"VENV := {words[1].removesuffix('/bin/activate')}" in (ROOT / "Makefile").read_text()
        )
    elif program == "export":
        assert {word.split("=")[0] for word in words[1:]} <= {"ADAPTPRUNE_CACHE", "HF_HUB_OFFLINE"}
    else:
        assert program in FOREIGN, f"{program}: cannot be checked"


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone as the pages assume it, with a model of one's own besides."""
    as_the_pages_assume(tmp_path)
    shutil.copytree(locate("tiny-llama"), tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.command)
def test_the_options_and_targets_of_a_documented_command_exist(
    entry: Documented, folder: Path
) -> None:
    check(entry.command, folder)


def replaced(entry: Documented) -> list[str]:
    """Return a command's words with its stand-ins, each for a whole word."""
    assert entry.stand_in is not None
    words = [entry.stand_in.get(word, word) for word in words_of(entry.command)]
    return words[3 if words[0] == "python" else 1 :]


def write_run(folder: Path) -> None:
    """Write a finished run of the profile that stands in."""
    runs = folder / "results" / "runs" / "tiny"
    methods = ["adapt-pruner", "llm-pruner", "flap", "slicegpt"]
    cells = [write_dense(runs / "cells"), *write_cells(runs / "cells", methods)]
    write_results(collect(cells, "tiny"), runs / "results.csv", runs / "provenance.csv")


def test_documented_commands_do_what_the_pages_say(
    command: Callable[..., tuple[int, str, str]], folder: Path, forget_registered: None
) -> None:
    write_run(folder)
    for entry in COMMANDS:
        if entry.stand_in is None:
            continue
        status, out, err = command(*replaced(entry))
        assert status == 0, f"{entry.command}: {err}"
        for text in entry.prints:
            assert text in out + err, f"{entry.command}: does not print {text!r} but\n{out}{err}"
        for path in entry.writes:
            assert (folder / path).exists(), f"{entry.command}: wrote no {path}"
        if entry.writes:
            last = err.rstrip().splitlines()[-1]
            assert last.startswith("wrote "), f"{entry.command}: ends with {last!r}"


def targets_of(command: str) -> str:
    """Return a call of Snakemake without options and without what narrows its profile."""
    before, *options = command.split(" --")
    profile = [word for option in options for word in option.split() if "profile=" in word]
    return " ".join([before, *profile])


#: One call for every choice of targets and profile; options were looked at above. What is done with
#: `my-gpu` is walked from end to end by test_own_baselines.py; `ast_table1` is a part of `ast_all`.
LOCAL = list(
    {
        targets_of(entry.command): entry
        for entry in COMMANDS
        if entry.command.startswith("snakemake")
        and not any(name in entry.command for name in ("profiles/slurm", "my-gpu", "ast_table1"))
    }.values()
)


@pytest.mark.workflow
@pytest.mark.parametrize("entry", LOCAL, ids=lambda entry: entry.command)
def test_documented_targets_have_a_graph(entry: Documented, folder: Path) -> None:
    """Snakemake finds out what would be run; nothing is."""
    (folder / "results").mkdir()
    for path in (ROOT / "results").glob("offline*"):
        shutil.copy(path, folder / "results")
    words = words_of(entry.command)
    for index, word in enumerate(words):
        if word == "--workflow-profile":
            words[index + 1] = str(ROOT / words[index + 1])
    done = subprocess.run(
        [
            *(sys.executable, "-m", *words, "--dry-run", "--quiet"),
            *("--snakefile", str(folder / "Snakefile"), "--directory", str(folder)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
