"""What results, tables, figures, comparisons and the report are made of.

Every public method of ``Presented`` that takes wildcards is a function of rules. One that returns
the files that something is made of also has it made again where it is of something else.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.cells import DENSE, slug
from adaptprune.errors import UserError
from adaptprune.workflow import options
from adaptprune.workflow.graph import RuleFunctions
from adaptprune.workflow.papers import papers, published_file, run_as
from adaptprune.workflow.paths import GENERATED, Run, found_files
from adaptprune.workflow.profiles import settings_hash
from adaptprune.workflow.request import cell_files, read_note
from adaptprune.workflow.run import TRADEOFF_BATCHES, other_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptprune.workflow.request import Request
    from adaptprune.workflow.run import Source

#: Snakemake's, an object with an attribute for each name in braces.
Wildcards = Any


def collected_files(source: Source) -> list[str]:
    """Return the results and the provenance of a profile's matrix."""
    return [str(source.results), str(source.provenance)]


def speed_records(source: Source, batches: Sequence[int | None] = (None,)) -> list[str]:
    """Return the measured speed of every pruned cell at the first seed.

    Args:
        source: of the profile.
        batches: sequences at once; None for those of the profile.
    """
    chosen, run = source.profile, Run(source.name)
    return [
        run.speed(slug(cell.model), cell.method, cell.sparsity, other_batch(batch, chosen.speed))
        for cell in chosen.cells()
        if cell.method != DENSE and cell.seed == chosen.seeds[0]
        for batch in batches
    ]


def tradeoff_files(source: Source) -> list[str]:
    """Return what quality is set against speed from."""
    return [str(source.results), *speed_records(source, TRADEOFF_BATCHES)]


#: Tables that check the installation, in a profile of their own.
CHECKS = {"smoke": "smoke"}

#: The suite's own tables of measurements, and what each is made of.
MEASURED: dict[str, Callable[[Source], list[str]]] = {"speed": speed_records}


class Presented(RuleFunctions):
    """Functions of the rules that collect and present.

    Args:
        request: what was asked for.
    """

    def __init__(self, request: Request):
        super().__init__()
        self._request = request
        #: What each figure, and each table of measurements, is made of.
        self.figures: dict[str, Callable[[Source], list[str]]] = {
            "size": collected_files,
            "speed": speed_records,
            "tradeoff": tradeoff_files,
        }
        self.measured = dict(MEASURED)
        self._targets: dict[str, tuple[str, ...]] = {}
        for paper in papers():
            if not (paper.figures or paper.tables):
                continue
            part = paper.part("made_of")
            self.figures |= {name: part.SOURCES[name] for name in paper.figures}
            measured = [name for name in paper.tables if name in part.SOURCES]
            self.measured |= {name: part.SOURCES[name] for name in measured}
            self._targets |= part.TARGETS

    def targets(self) -> dict[str, Callable[[Wildcards], list[str]]]:
        """Return the targets that only name files, each with what it asks for.

        A target's files are looked up when it is asked for: a table that the profile has no rows
        for must not end the parsing of the others.
        """
        names = [*self._request.tables.files, *self.figures, *self.measured, *self._targets]
        return {
            name: functools.partial(self._target_files, self._targets.get(name, (name,)))
            for name in names
        }

    def _target_files(self, parts: tuple[str, ...], wildcards: Wildcards) -> list[str]:
        files = []
        for name in parts:
            if name in self._request.tables.files:
                files += self._table_files(name)
            if name in self.measured:
                files.append(f"{Run(self._request.name).table(name)}.md")
            if name in self.figures:
                table = run_as(name)
                shown = self._request.name if table is None else self._request.profile_of(table)
                files.append(f"{Run(shown).figure(name)}.pdf")
        return files

    def overrides(self, wildcards: Wildcards) -> str:
        """Return the keys that the command line set, for a job that reads the profile itself."""
        return options.overrides(self._request.overrides(wildcards.profile))

    def profile_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of a profile."""
        return settings_hash(self._request.profile(wildcards.profile))

    # Results.

    def result_files(self, wildcards: Wildcards) -> list[str]:
        """Return the files of every cell of one results file."""
        name = wildcards.profile
        cells = self._request.selected_cells(name, wildcards.selection)
        files = cell_files(name, cells)
        record = Run(name).made(f"results{wildcards.selection}")
        if self._request.is_stale(record, self.results_hash(wildcards), files):
            self._request.remake_cells(name, cells)
        return files

    def results_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of what a results file is made of."""
        name = wildcards.profile
        cells = self._request.selected_cells(name, wildcards.selection)
        return settings_hash((self._request.profile(name), cells))

    def dense_gates(self, wildcards: Wildcards) -> list[str]:
        """Return the checks of all dense models of a results file."""
        cells = self._request.selected_cells(wildcards.profile, wildcards.selection)
        models = sorted({cell.model for cell in cells})
        return [
            file for model in models for file in self._request.gate_file(wildcards.profile, model)
        ]

    def declaration_option(self, wildcards: Wildcards) -> str:
        """Name the table whose cells are collected, where it is not the matrix of the profile."""
        table = wildcards.selection.removeprefix("-")
        return options.declaration(self._request.tables.files[table]) if table else ""

    # Tables.

    def _table_files(self, table: str) -> list[str]:
        """Return what a table's target asks for.

        The results are named too, so that they are collected again when they are gone and the
        table is not.

        Raises:
            SystemExit: the profile has no rows for the table. Snakemake shows it as one line.
        """
        try:
            name = CHECKS.get(table) or self._request.profile_of(table)
            run = Run(name)
            results, _ = self._request.collected(name, self._request.selection(name, table))
            return [results, f"{run.table(table)}.md"]
        except UserError as error:
            raise SystemExit(f"error: {error}") from None

    def table_sources(self, wildcards: Wildcards) -> list[str]:
        """Return the results and the provenance that a table is made from."""
        name, table, run = wildcards.profile, wildcards.table, Run(wildcards.profile)
        files = self._request.collected(name, self._request.selection(name, table))
        self._request.is_stale(run.made(table), self.table_hash(wildcards), files)
        return files

    def declaration_file(self, wildcards: Wildcards) -> Path:
        """Return the file that declares a table."""
        return self._request.tables.files[wildcards.table]

    def published_beside(self, wildcards: Wildcards) -> list[Path]:
        """Return the printed numbers that lie beside a declaration, where there are some."""
        file = published_file(self.declaration_file(wildcards).parent)
        return [file] if file.is_file() else []

    def table_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of what a table is made from."""
        name, table = wildcards.profile, wildcards.table
        declared = self._request.tables.declaration(table)
        cells = self._request.table_cells(name, table)
        shown = self._request.collected(name, self._request.selection(name, table))
        return settings_hash((self._request.profile(name), declared, cells, shown))

    def counted_tokens(self, wildcards: Wildcards) -> str:
        """Return the counts of training tokens; have them made again where they are a model's."""
        name, run = wildcards.profile, Run(wildcards.profile)
        chosen = self._request.profile(name)
        file = run.tokens(chosen.mixture)
        counted = read_note(file).get("conditions") or {}
        if counted.get("model") != chosen.models[0]:
            self._request.force(file)
        self._request.is_stale(run.made("table2"), self.profile_hash(wildcards), [file])
        return file

    # Figures and tables of measurements.

    def figure_sources(self, wildcards: Wildcards) -> list[str]:
        """Return what a figure is drawn from."""
        made = f"figures/{wildcards.figure}"
        return self._measurements(wildcards, self.figures[wildcards.figure], made)

    def measured_sources(self, wildcards: Wildcards) -> list[str]:
        """Return what a table of measurements is made from."""
        name = wildcards.measured
        return self._measurements(wildcards, self.measured[name], name)

    def _measurements(
        self, wildcards: Wildcards, sources: Callable[[Source], list[str]], made: str
    ) -> list[str]:
        name = wildcards.profile
        try:
            files = sources(self._request.source(name))
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
        self._request.is_stale(Run(name).made(made), self.source_hash(wildcards), files)
        return files

    def source_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of a profile and of where its results are."""
        return settings_hash(self._request.source(wildcards.profile))

    def figure_results(self, wildcards: Wildcards) -> str:
        """Return the stored results that a figure shows, as an option; nothing of a run's."""
        return self._results_option(wildcards.profile, self.figures[wildcards.figure])

    def measured_results(self, wildcards: Wildcards) -> str:
        """Return those of a table of measurements."""
        return self._results_option(wildcards.profile, self.measured[wildcards.measured])

    def _results_option(self, name: str, sources: Callable[[Source], list[str]]) -> str:
        source = self._request.source(name)
        is_shown = source.stored is not None and str(source.stored) in sources(source)
        return options.results(source) if is_shown else ""

    # Comparisons.

    def stored_files(self, wildcards: Wildcards) -> list[str]:
        """Return what is kept of every cell of the profile."""
        name = self._request.name
        return cell_files(name, self._request.profile(name).cells(), documents=True)

    def new_sources(self, wildcards: Wildcards) -> list[str]:
        """Return the same of a compared method."""
        name, files = wildcards.profile, self.stored_files(wildcards)
        record = Run(name).compared(wildcards.method, "made.json")
        if self._request.is_stale(record, self.profile_hash(wildcards), files):
            self._request.remake_cells(name, self._request.profile(name).cells())
        return files

    def comparison(self, wildcards: Wildcards) -> list[str]:
        """Return what the target ``compare`` asks for."""
        if self._request.compared is None:
            raise SystemExit("error: compare which method? --config method=NAME")
        stem = Run(self._request.name).compared(self._request.compared, "comparison")
        return [f"{stem}{suffix}" for suffix in (".md", ".tex", ".html", ".csv")]

    # The report.

    def page_sources(self, wildcards: Wildcards) -> list[str]:
        """Return what a page cannot be without."""
        run, source = Run(wildcards.profile), self._request.source(wildcards.profile)
        tables = [table for paper in papers() for table in paper.reported]
        files = [str(source.results), *(f"{run.table(table)}.md" for table in tables)]
        self._request.is_stale(run.made("report"), self.page_hash(wildcards), files)
        return files

    def page_hash(self, wildcards: Wildcards) -> str:
        """Return a hash of what a page is made from: new tables and figures make a new page.

        As inputs they would be made again where they are outdated, which a page must not ask for.
        Those of the profiles that stand in for this one in some table are shown too.
        """
        name, tables = wildcards.profile, self._request.tables
        profiles = {name, *(tables.profile_of(table, name) for table in tables.files)}
        files = [file for shown in sorted(profiles) for file in found_files(Path(GENERATED, shown))]
        there = settings_hash([(str(file), file.stat().st_mtime_ns) for file in files])
        return settings_hash((self._request.source(name), there))

    def page_results(self, wildcards: Wildcards) -> str:
        """Return the stored results that a page is about, as an option; nothing of a run's."""
        return options.results(self._request.source(wildcards.profile))
