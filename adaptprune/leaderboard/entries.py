"""What a leaderboard lists: a stored matrix, one entry per method and size, means over seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from adaptprune.cells import DENSE, NO_RECOVERY, split_variant
from adaptprune.comparison.panels import costs
from adaptprune.comparison.sides import family_of, title_of
from adaptprune.comparison.summary import TOLERANCE
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.pruning.registry import find_method
from adaptprune.results.conditions import check_comparable
from adaptprune.results.matrix import beside
from adaptprune.results.rows import labels_of, read_provenance, read_results
from adaptprune.results.speeds import read_speeds
from adaptprune.results.stats import summarize
from adaptprune.tables.fill import CellNumbers, read_cell
from adaptprune.tables.measures import AVERAGE, Measure, averaged, chance_of, columns_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from adaptprune.evaluation.suites import Suite

#: In the order of the page; what is trained after pruning is a family of its own.
FAMILIES = ("dense", "units", "layers", "single weights", "trained", "other")
#: What makes an entry.
PLACE = ["model", "label", "sparsity", "recovery"]


@dataclass
class Entry:
    """One method at one size; accuracies in percent, absent numbers None.

    ``low`` and ``high`` bound the average by 95 % over documents (1.96 standard errors); ``std``
    is over seeds. ``seconds`` are of making the model, scores included; ``prefill`` and ``decode``
    how many times as fast as the dense model it is with one sequence. ``unlike`` is by what
    share the nonzeros differ from the median at this model and sparsity, None where it is little.
    """

    family: str
    title: str
    method: str
    version: int
    model: str
    sparsity: int
    recovery: str
    pattern: str
    seeds: list[int]
    params: int | None
    nonzeros: int | None
    average: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    perplexity: float | None = None
    perplexity_std: float | None = None
    seconds: float | None = None
    prefill: float | None = None
    decode: float | None = None
    unlike: float | None = None
    tasks: dict[str, float] = field(default_factory=dict)
    parameters: str = ""
    citation: str = ""
    without_result: list[str] = field(default_factory=list)


@dataclass
class Board:
    """The entries of one stored matrix, whose conditions are equal, and what they were scored on.

    ``chance`` is what guessing gives on average, in percent, None where it is not known.
    ``speeds`` are the measured ones of one sequence at a time, none where nothing was measured.
    """

    name: str
    suite: Suite
    entries: list[Entry]
    chance: float | None
    results: pd.DataFrame
    speeds: pd.DataFrame

    def data(self) -> dict[str, Any]:
        """Return the numbers of the page, as JSON holds them."""
        entries = [asdict(entry) for entry in self.entries]
        return {"name": self.name, "suite": self.suite.name, "entries": entries}


def read_board(results_csv: Path) -> Board:
    """Read a stored matrix; nothing is computed but means.

    Raises:
        UserError: a file is absent or cannot be trusted, holds nothing finished, or its rows were
            measured under different conditions.
    """
    results = read_results(results_csv)
    check_comparable(results)
    suites = sorted(set(results["suite"]) - {""})
    if len(suites) != 1:
        raise UserError(f"{results_csv}: holds results of {', '.join(suites) or 'no suite'}")
    suite = load_suite(suites[0])
    seconds = costs(read_provenance(beside(results_csv, "provenance.csv")))["seconds"]
    labelled = results.assign(label=labels_of(results))
    entries = [
        _entry(key, rows, suite, seconds)
        for key, rows in labelled.groupby(PLACE, sort=True, dropna=False)
    ]
    _mark_unlike(entries)
    speeds = read_speeds(results_csv)
    speeds = speeds[speeds["batch"] == 1].assign(label=labels_of)
    _add_speeds(entries, speeds)
    entries.sort(key=lambda one: (FAMILIES.index(one.family), -(one.nonzeros or 0), one.title))
    return Board(results_csv.stem, suite, entries, chance_of(suite), results, speeds)


def _entry(key: Any, rows: pd.DataFrame, suite: Suite, seconds: pd.Series) -> Entry:
    model, label, sparsity, recovery = key
    columns = columns_of(suite)
    tasks = averaged(columns)
    cells = {int(seed): read_cell(one, columns, tasks) for seed, one in rows.groupby("seed")}
    finished = {seed: cell for seed, cell in cells.items() if cell.status == "ok"}
    first = rows.iloc[0]
    found = Entry(
        family=_family(label, recovery),
        title=title_of(label) + ("" if recovery == NO_RECOVERY else f", {recovery}"),
        method=label,
        version=int(first["method_version"]),
        model=model,
        sparsity=int(sparsity),
        recovery=recovery,
        pattern=str(first.get("pattern", "")),
        seeds=sorted(finished),
        params=_mean_count(rows, "params"),
        nonzeros=_mean_count(rows, "nonzeros" if "nonzeros" in rows else "params"),
        parameters=first["method_parameters"],
        citation=_citation(label),
        without_result=[
            f"seed {seed} {cell.status}: {cell.reason or 'no reason recorded'}"
            for seed, cell in cells.items()
            if cell.status != "ok"
        ],
    )
    if finished:
        _add_scores(found, list(finished.values()), columns, tasks)
    taken = [seconds.get((model, recovery, int(sparsity), label, seed)) for seed in finished]
    known = [float(one) for one in taken if one is not None and one == one]
    if known and label != DENSE:
        found.seconds = fmean(known)
    return found


def _add_scores(
    entry: Entry, cells: list[CellNumbers], columns: list[Measure], tasks: list[Measure]
) -> None:
    """Add the means over seeds; all seeds share their documents, so the error is not divided."""
    averages = [cell.values[AVERAGE] for cell in cells if AVERAGE in cell.values]
    if averages:
        summary = summarize(averages)
        entry.average, entry.std = summary.mean, summary.std
        stderr = max(cell.stderrs.get(AVERAGE, float("nan")) for cell in cells)
        if stderr == stderr:
            entry.low, entry.high = summary.mean - 1.96 * stderr, summary.mean + 1.96 * stderr
    for task in tasks:
        scores = [cell.values[task.read] for cell in cells if task.read in cell.values]
        if scores:
            entry.tasks[task.header] = summarize(scores).mean
    for text in columns:
        scores = [cell.values[text.read] for cell in cells if text.read in cell.values]
        if text.kind == "perplexity" and scores:
            summary = summarize(scores)
            entry.perplexity, entry.perplexity_std = summary.mean, summary.std


def _add_speeds(entries: list[Entry], speeds: pd.DataFrame) -> None:
    """Add the median ratios to the dense model, means over the seeds that were measured."""
    ratios = speeds.groupby([*PLACE, "measure"])["ratio"].mean().to_dict()
    for entry in entries:
        place = (entry.model, entry.method, entry.sparsity, entry.recovery)
        entry.prefill = ratios.get((*place, "prefill"))
        entry.decode = ratios.get((*place, "decode"))


def _mean_count(rows: pd.DataFrame, column: str) -> int | None:
    """Return a count of parameters, a mean over seeds where they differ."""
    known = rows.drop_duplicates("seed")[column].dropna()
    return round(float(known.mean())) if len(known) else None


def _mark_unlike(entries: list[Entry]) -> None:
    """Mark sizes that differ at equal model and sparsity."""
    for entry in entries:
        beside_it = [
            one.nonzeros
            for one in entries
            if one.nonzeros and (one.model, one.sparsity) == (entry.model, entry.sparsity)
        ]
        if entry.nonzeros and len(beside_it) > 1:
            share = entry.nonzeros / median(beside_it) - 1
            entry.unlike = share if abs(share) > TOLERANCE else None


def _family(label: str, recovery: str) -> str:
    if label == DENSE:
        return DENSE
    if recovery != NO_RECOVERY:
        return "trained"
    return family_of(label) or "other"


def _citation(label: str) -> str:
    try:
        return find_method(split_variant(label)[0]).citation
    except UserError:
        return ""
