"""The tables of a comparison: size and cost, differences to every baseline, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.cells import DENSE
from adaptprune.comparison.paired import ALL, Place
from adaptprune.comparison.words import tally
from adaptprune.results.numerals import interval, print_p, ratio, ratio_interval, signed
from adaptprune.results.rows import labels_of
from adaptprune.results.stats import summarize
from adaptprune.results.verdict import LEVEL
from adaptprune.tables.grid import Entry, with_seeds
from adaptprune.tables.measures import Measure
from adaptprune.tables.panels import Panel, PanelRow, Text, format_entry, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adaptprune.comparison.alike import Seeds
    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.grid import Grid

#: What a comparison is of.
PAIR = ["model", "recovery", "sparsity", "method", "baseline"]
#: How a p-value is labelled: by its correction.
P = "p (Holm)"


def _lay_out(lines: Iterable[tuple[Place, str, list[Text]]]) -> list[PanelRow]:
    """Return printed lines from (place, label, texts)."""
    return lay_out((place.model, (place.share, label), texts) for place, label, texts in lines)


def score_panel(grid: Grid, recovery: str) -> Panel:
    """Return the scores of all methods, mean ± std over seeds, best and second marked.

    Args:
        grid: the scores of one recovery.
        recovery: its name.
    """
    lines = [
        (
            Place(row.model, "none" if row.method == DENSE else recovery, row.sparsity),
            row.label,
            [
                Text(format_entry(entry, column), entry.rank)
                for column in grid.columns
                for entry in [row.entries[column.key]]
            ],
        )
        for row in grid.rows
    ]
    note = "Best in bold, second underlined, within a sparsity; dense is left out."
    return Panel("", [column.header for column in grid.columns], _lay_out(lines), note=note)


def cost_panel(
    results: pd.DataFrame, provenance: pd.DataFrame, titles: dict[str, str], seeds: Seeds
) -> Panel:
    """Return size really reached, seconds and memory of every method, mean ± std over seeds.

    Parameters that are not zero stand beside all parameters where some method masks weights.

    Args:
        results: rows of all methods.
        provenance: of the same cells.
        titles: printed name by method, in printed order.
        seeds: that are compared at a place.
    """
    cells = results[results["status"] == "ok"].drop_duplicates(
        ["model", "recovery", "sparsity", "method", "variant", "seed"]
    )
    cells = cells.assign(label=labels_of(cells))
    sizes = {"params": "#Param."}
    if (cells["nonzeros"] != cells["params"]).any():
        sizes["nonzeros"] = "#Nonzero"
    measures = [
        *(Measure(key, header, "params", key) for key, header in sizes.items()),
        Measure("removed", "Channels removed (%)", "tenths", "removed"),
        Measure("seconds", "Seconds", "seconds", "seconds"),
        Measure("memory_mb", "Peak host memory (MB)", "tenths", "memory_mb"),
    ]
    cells = cells.assign(removed=100 * cells["sparsity_reached"])
    cells = cells.join(costs(provenance), on=["model", "recovery", "sparsity", "label", "seed"])
    lines = []
    for key, here in cells.groupby(["model", "recovery", "sparsity"]):
        place = Place(*key)
        for label in titles:
            rows = here[here["label"] == label]
            if rows.empty:
                continue
            texts = [Text(format_entry(_entry(rows[measure.key]), measure)) for measure in measures]
            expected = len(seeds.get(place, rows))
            lines.append((place, with_seeds(titles[label], len(rows), expected), texts))
    headers = [measure.header for measure in measures]
    return Panel("Size reached, and what it cost", headers, _lay_out(lines))


def _entry(values: pd.Series) -> Entry:
    """Return mean and spread over seeds of what is known."""
    known = [float(value) for value in values.dropna()]
    if not known:
        return Entry("missing")
    found = summarize(known)
    return Entry("ok", found.mean, found.std, found.count)


def costs(provenance: pd.DataFrame) -> pd.DataFrame:
    """Return seconds and peak memory (MB) of making each cell's model, scores included.

    The index is (model, recovery, sparsity, method with variant, seed).
    """
    made = provenance[provenance["stage"] != "evaluate"]
    frame = pd.DataFrame(
        {
            **{key: made[key] for key in ("model", "recovery", "sparsity")},
            "label": labels_of(made),
            "seed": made["seed"],
            "seconds": made["wall_s"] + made["score_wall_s"].fillna(0),
            "memory_mb": made[["peak_rss_mb", "score_peak_rss_mb"]].max(axis=1),
        }
    )
    keys = ["model", "recovery", "sparsity", "label", "seed"]
    return frame.groupby(keys).agg({"seconds": "sum", "memory_mb": "max"})


@dataclass(frozen=True)
class PairNames:
    """What pairings are called in print.

    Where all are of one method, it stands in the header and the baseline in the rows.

    Args:
        methods: printed name of every method that is compared.
        baselines: printed name of every baseline.
    """

    methods: Mapping[str, str]
    baselines: Mapping[str, str]

    @property
    def header(self) -> str:
        """Return the header of the rows' titles."""
        names = list(self.methods.values())
        return f"{names[0]} against" if len(names) == 1 else "Method"

    def title(self, method: str, baseline: str) -> str:
        """Return the title of a pairing's row."""
        name = self.baselines[baseline]
        return name if len(self.methods) == 1 else f"{self.methods[method]}, against {name}"


def _marked(text: str, p: float) -> Text:
    return Text(text, "best") if p < LEVEL else Text(text)


def difference_panel(
    comparison: pd.DataFrame, suite: Suite, names: PairNames, seeds: Seeds
) -> Panel:
    """Return one line per pairing: average, perplexity and the tasks won, tied and lost.

    Args:
        comparison: what ``compare_pairings`` returned.
        suite: says whether there is a perplexity.
        names: what pairings are called in print.
        seeds: that are compared at a place.
    """
    headers = ["Average", "Average 95 % interval", f"Average {P}"]
    if suite.perplexity is not None:
        headers += ["Perplexity", "Perplexity 95 % interval", f"Perplexity {P}"]
    lines = []
    for key, rows in comparison.groupby(PAIR, sort=False):
        overall = rows[rows["seed"] == ALL].set_index("kind")
        average = overall.loc["average"]
        by_seed = rows[(rows["kind"] == "average") & (rows["seed"] != ALL)]["difference"]
        spread = summarize(by_seed.tolist()).std
        text = signed(average["difference"])
        text += "" if spread is None else f" ± {spread:.1f}"
        texts = [
            _marked(text, average["p_corrected"]),
            Text(interval(average["low"], average["high"])),
            Text(print_p(average["p_corrected"]).removeprefix("= ")),
        ]
        if suite.perplexity is not None:
            perplexity = overall.loc["perplexity"]
            texts += [
                _marked(f"× {ratio(perplexity['difference'])}", perplexity["p_corrected"]),
                Text(ratio_interval(perplexity["low"], perplexity["high"])),
                Text(print_p(perplexity["p_corrected"]).removeprefix("= ")),
            ]
        place, label = _label(key, rows, names, seeds)
        lines.append((place, label, [*texts, Text(str(tally(rows)))]))
    title = "Difference to every baseline"
    return Panel(title, [*headers, "W/T/L"], _lay_out(lines), labels=("Sparsity", names.header))


def _label(
    key: tuple[str, str, int, str, str],
    rows: pd.DataFrame,
    names: PairNames,
    seeds: Seeds,
) -> tuple[Place, str]:
    """Return where a pairing is, and its title with a remark where it is over fewer seeds."""
    model, recovery, sparsity, method, baseline = key
    place = Place(model, recovery, int(sparsity))
    found = rows.loc[rows["seed"] != ALL, "seed"].nunique()
    return place, with_seeds(names.title(method, baseline), found, len(seeds[place]))


def task_panel(comparison: pd.DataFrame, suite: Suite, names: PairNames, seeds: Seeds) -> Panel:
    """Return one line per pairing: the difference on every task with its interval and p."""
    lines = []
    for key, rows in comparison.groupby(PAIR, sort=False):
        tasks = rows[(rows["kind"] == "task") & (rows["seed"] == ALL)].set_index("measure")
        texts = []
        for task in suite.tasks:
            row = tasks.loc[task.task]
            text = f"{signed(row['difference'])} {interval(row['low'], row['high'])}"
            p = print_p(row["p_corrected"]).removeprefix("= ")
            texts += [
                _marked(text, row["p_corrected"]),
                Text(p),
            ]
        lines.append((*_label(key, rows, names, seeds), texts))
    headers = [task.title for task in suite.tasks]
    title, labels = "Task by task, in points", ("Sparsity", names.header)
    return Panel(title, headers, _lay_out(lines), ["diff.", P], labels=labels)
