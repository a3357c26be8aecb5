"""What a workflow was asked for: its profiles, and which of their files are of something else."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from adaptprune.cells import Cell, record_name, slug
from adaptprune.errors import UserError, unknown
from adaptprune.evaluation.suites import load_suite
from adaptprune.models.catalogue import catalogue
from adaptprune.workflow.asked import Asked
from adaptprune.workflow.made_from import is_made_from
from adaptprune.workflow.paths import RUNS, Run, config_folder
from adaptprune.workflow.profiles import OVERRIDES, Profile, load_profile, settings_hash
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from adaptprune.workflow.stored import Stored

#: Keys of ``--config``.
KEYS = ("profile", "method", "baseline", "rerun", *OVERRIDES)
#: Overrides that do not show in results: what was stored may be of others.
_UNSEEN = ("local_data", "dense_gate", "method_file")


class Tables(Protocol):
    """The declared tables; who declares them stands above the workflow."""

    @property
    def files(self) -> Mapping[str, Path]:
        """Return the declarations by name."""

    @property
    def declaration(self) -> Callable[[str], object]:
        """Return what a table declares."""

    def profile_of(self, table: str, asked: str) -> str:
        """Return the profile that a table is run in when another one is asked for."""

    def cells(self, table: str, profile: Profile, name: str) -> list[Cell]:
        """Return the cells that a table is made from."""


class Request:
    """What was asked for.

    Args:
        root: folder of the Snakefile.
        config: keys of ``--config``.
        tables: the declared tables.
        force: has a file made again that Snakemake may hold to be up to date.
        say: tells people in a line what was decided.

    Raises:
        UserError: a key or the profile is unknown, or the profile is wrong.
    """

    def __init__(
        self,
        root: Path,
        config: Mapping[str, Any],
        tables: Tables,
        force: Callable[[str], object],
        say: Callable[[str], object] = lambda line: None,
    ):
        for key in config:
            if key not in KEYS:
                raise unknown("config key", key, KEYS)
        #: The new method that is compared with stored baselines; its cells alone are run then.
        self.compared = None if config.get("method") is None else str(config["method"])
        if self.compared is not None and "methods" in config:
            raise UserError("config keys method and methods: give one of the two")
        self.name = str(config.get("profile", "offline" if self.compared else "mini"))
        self.rerun = config.get("rerun", False)
        if not isinstance(self.rerun, bool):
            raise UserError(f"config key rerun must be true or false, not {self.rerun!r}")
        self.root, self.tables, self.force, self._config = root, tables, force, config
        self._say = say
        self.stored = functools.cache(self._stored)
        self.profile = functools.cache(self._load)
        self.asked = functools.cache(self._asked)
        self.model_folders = functools.cache(self._model_folders)
        self.gate_file = functools.cache(self._gate_file)
        self.suite_hash = functools.cache(lambda suite: settings_hash(load_suite(suite)))
        self.table_cells = functools.cache(self._table_cells)
        self._of_command_line = functools.cache(self._is_of_command_line)
        self.profile(self.name)

    def overrides(self, name: str) -> dict[str, Any]:
        """Return the keys that the command line sets of a profile.

        They are for the one that was asked for, and those that stand in for it in some table.
        """
        if not self._of_command_line(name):
            return {}
        given = {key: self._config[key] for key in OVERRIDES if key in self._config}
        return given if self.compared is None else given | {"methods": self.compared}

    def _is_of_command_line(self, name: str) -> bool:
        return name in {self.name, *map(self.profile_of, self.tables.files)}

    def _load(self, name: str) -> Profile:
        return load_profile(config_folder(self.root), name, self.overrides(name))

    def profile_of(self, table: str) -> str:
        """Return the profile that a table is run in."""
        return self.tables.profile_of(table, self.name)

    def baseline(self) -> str:
        """Return the stored results: the file that was given, or the matrix of the profile."""
        return str(self._config.get("baseline", self._matrix(self.name)))

    def _matrix(self, name: str) -> Path:
        """Return where the stored matrix of a profile lies: here, or beside the Snakefile."""
        here = Path(f"results/{name}.csv")
        return here if here.is_file() else self.root / here

    def _stored(self, name: str) -> Stored | None:
        """Return the stored matrix that is shown in place of a profile's run, if there is one.

        Raises:
            SystemExit: it cannot be trusted. Snakemake shows it as one line.
        """
        file, cells = self._matrix(name), self.profile(name).cells()
        if self.rerun or not file.is_file() or self._is_begun(name, cells):
            return None
        # Not above: it brings pandas, which a run can do without.
        from adaptprune.workflow.stored import difference, read_stored

        unseen = [key for key in _UNSEEN if key in self.overrides(name)]
        try:
            stored = read_stored(file)
            other = unseen[0] if unseen else difference(stored, self.asked(name))
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        if other is None:
            count = len(stored.not_run)
            lacks = f", without {count} cells that were not run" if count else ""
            self._say(f"profile {name}: shown from {file}{lacks}; --config rerun=true computes it")
            return stored
        self._say(f"profile {name}: computed, for {file} is of something else ({other})")
        return None

    def _is_begun(self, name: str, cells: Iterable[Cell]) -> bool:
        """Say whether there is a run: whether anything of the cells has been computed here."""
        run = Run(name)
        return any(Path(run.cell(cell.key, record_name(cell.recovery))).is_file() for cell in cells)

    def collected(self, name: str, selection: str = "") -> list[str]:
        """Return results and provenance of the matrix, or of a table's cells (``-table``)."""
        stored = self.stored(name)
        if stored is not None and stored.shows(self.selected_cells(name, selection)):
            source = self.source(name)
            return [str(source.results), str(source.provenance)]
        run = Run(name)
        return [run.collected(kind, selection) for kind in ("results", "provenance")]

    def source(self, name: str) -> Source:
        """Return what a figure or a page of a profile is made from."""
        stored = self.stored(name)
        return Source(
            name, self.profile(name), Path(RUNS), None if stored is None else stored.results
        )

    def lacking_cells(self) -> list[Cell]:
        """Return the cells of the profile that have not been evaluated here."""
        run = Run(self.name)
        return [
            cell
            for cell in self.profile(self.name).cells()
            if not Path(run.cell(cell.key, "evaluation.json")).is_file()
        ]

    def jobs_at_once(self, cores: int) -> int:
        """Return how many jobs compute at the same time: more than there are cores never do."""
        there = os.cpu_count() or 1
        return max(1, min(cores, there) // self.profile(self.name).threads)

    def _model_folders(self, name: str) -> dict[str, str]:
        return {slug(model): model for model in [*catalogue(), *self.profile(name).all_models]}

    def _table_cells(self, name: str, table: str) -> list[Cell]:
        return self.tables.cells(table, self.profile(name), name)

    def selected_cells(self, name: str, selection: str) -> list[Cell]:
        """Return the cells of a results file: of the matrix, or of a table (``-table``)."""
        table = selection.removeprefix("-")
        return self.table_cells(name, table) if table else self.profile(name).cells()

    def selection(self, name: str, table: str) -> str:
        """Return which results a table is made from: the matrix, or those of its own cells."""
        same = self.table_cells(name, table) == self.profile(name).cells()
        return "" if same else f"-{table}"

    def _gate_file(self, name: str, model: str) -> list[str]:
        """Return the check of a dense model, where its scores are known and in the matrix.

        What it compares with is part of its name, so that a change asks for another file. Were it
        among the rule's params, Snakemake would run the check again and, for the ancient input's
        sake, nothing else.
        """
        chosen = self.profile(name)
        known = load_suite(chosen.evaluation.suite).dense
        if "dense" not in chosen.methods or model not in chosen.models or model not in known:
            return []
        compared = settings_hash((chosen.evaluation.suite, chosen.dense_gate, known))
        return [Run(name).gate(slug(model), compared)]

    # Snakemake sees that settings have changed by its own notes alone, which lie in `.snakemake`
    # and are lost with it, or left behind where results are copied. What lies here is looked at.

    def is_stale(self, record: str, digest: str, inputs: Iterable[str]) -> bool:
        """Have generated files made again, and say so, where they are of something else.

        Args:
            record: of what they were made from.
            digest: of what they are to be made from now.
            inputs: the files they are made of.
        """
        stale = not is_made_from(Path(record), digest, inputs)
        if stale:
            self.force(record)
        return stale

    def remake_cells(self, name: str, cells: Sequence[Cell]) -> None:
        """Have those cells made again whose records are not what the profile asks for."""
        for cell in cells:
            folder = Run(name).cell(cell.key, "")
            for file in self.asked(name).deviations(cell, Path(folder)):
                self.force(f"{folder}{file}")

    def _asked(self, name: str) -> Asked:
        """Return what a profile asks for; models by the hashes that were found of them."""
        fetched = {
            model: read_note(Run(name).model(slug(model)))
            for model in self.profile(name).all_models
        }
        revisions = {
            model: found["revision"]
            for model, found in fetched.items()
            if found.get("model") == model
        }
        return Asked(self.profile(name), revisions, self.root)


def read_note(file: str) -> dict[str, Any]:
    """Return what a fetch or count noted; nothing where there is no such note."""
    try:
        content = json.loads(Path(file).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def cell_files(name: str, cells: Iterable[Cell], *, documents: bool = False) -> list[str]:
    """Return the records of cells, and the scores of their documents where those are kept too."""
    run = Run(name)
    return [
        run.cell(cell.key, file)
        for cell in cells
        for file in (
            record_name(cell.recovery),
            "evaluation.json",
            *(["documents.parquet"] if documents else []),
        )
    ]
