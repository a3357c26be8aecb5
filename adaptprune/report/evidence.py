"""What a run has left that a report can be made from."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from adaptprune.evaluation.suites import load_suite
from adaptprune.results.matrix import provenance_file, read_matrix
from adaptprune.tables.arrange import grid_of
from adaptprune.tables.declared import load_declaration
from adaptprune.tables.fill import read_table_results
from adaptprune.tables.select import cells_of
from adaptprune.workflow.papers import declared_tables, run_as
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adaptprune.evaluation.suites import Suite
    from adaptprune.results.matrix import Matrix
    from adaptprune.tables.declared import Table
    from adaptprune.tables.grid import Grid
    from adaptprune.workflow.profiles import Profile


@dataclass(frozen=True)
class Evidence:
    """The results of a profile, and the tables and figures made from them.

    Attributes:
        source: the run.
        declarations: folder of the declared tables.
        generated: folder of the profile's tables and figures, beside those of other profiles.
        load: reads another profile, that a table is run in instead; without it none is looked at.
    """

    source: Source
    declarations: Path
    generated: Path
    load: Callable[[str], Profile] | None = None

    @functools.cached_property
    def tables(self) -> dict[str, Path]:
        """All declared tables and their files."""
        return declared_tables(self.declarations)

    def declaration(self, table: str) -> Table:
        """Return a declared table."""
        return load_declaration(self.tables[table])

    def of(self, name: str) -> Self:
        """Return the evidence that a table or figure is made from.

        That is this one, or where the table declares a profile that stands in for this one, that
        profile's.
        """
        table = run_as(name) or name
        if self.load is None or table not in self.tables:
            return self
        other = self.declaration(table).profiles.get(self.source.name, self.source.name)
        if other == self.source.name:
            return self
        source = Source(other, self.load(other), self.source.runs)
        return replace(self, source=source, generated=self.generated.with_name(other))

    @functools.cached_property
    def suite(self) -> Suite:
        """The benchmarks of the profile."""
        return load_suite(self.source.profile.evaluation.suite)

    @functools.cached_property
    def matrix(self) -> Matrix:
        """The results of the profile's matrix, with the score of every document."""
        return read_matrix(self.source.results)

    def results_of(self, table: Table) -> Path | None:
        """Return the collected results of a declared table, None where it was not run."""
        name, profile = self.source.name, self.source.profile
        if not table.is_for(name):
            return None
        own = self.source.folder / f"results-{table.name}.csv"
        if own.is_file():
            return own
        same = cells_of(table, profile, name) == profile.cells()
        main = self.source.results
        return main if same and main.is_file() else None

    def table(self, name: str) -> tuple[Table, Grid] | None:
        """Return a declared table with its numbers, None where it was not run."""
        table = self.declaration(name)
        path = self.results_of(table)
        if path is None:
            return None
        results = read_table_results(path, provenance_file(path), self.source.name)
        return table, grid_of(table, results, self.source.name, self.source.profile, self.suite)
