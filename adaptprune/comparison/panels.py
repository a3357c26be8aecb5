"""The tables of a comparison: size and cost, differences to every baseline, task by task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.comparison.paired import ALL, Place
from adaptprune.comparison.words import tally
from adaptprune.results.numerals import interval, print_p, ratio, ratio_interval, signed
from adaptprune.results.rows import labels_of
from adaptprune.results.stats import Summary, summarize
from adaptprune.results.verdict import LEVEL
from adaptprune.tables.grid import with_seeds
from adaptprune.tables.panels import MISSING, Panel, PanelRow, Text, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adaptprune.comparison.alike import Seeds
    from adaptprune.evaluation.suites import Suite

#: What a comparison is of.
PAIR = ["model", "recovery", "sparsity", "method", "baseline"]


def _lay_out(lines: Iterable[tuple[Place, str, list[Text]]]) -> list[PanelRow]:
    """Return printed lines from (place, label, texts)."""
    printed = []
    for place, label, texts in lines:
        recovered = "" if place.recovery == "none" else f" {place.recovery}"
        printed.append((place.model, (f"{place.sparsity}%{recovered}", label), texts))
    return lay_out(printed)


def _spread(summary: Summary, form: Callable[[float], str]) -> str:
    text = form(summary.mean)
    return text if summary.std is None else f"{text} ± {form(summary.std)}"


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
    cost = costs(provenance)
    lines = []
    for place in sorted({Place(*key) for key in _places(cells)}):
        here = cells[
            (cells["model"] == place.model)
            & (cells["recovery"] == place.recovery)
            & (cells["sparsity"] == place.sparsity)
        ]
        for label in titles:
            rows = here[here["label"] == label]
            if rows.empty:
                continue
            key = (place.model, place.recovery, place.sparsity, label)
            found = cost[[name == key for name in cost.index.droplevel("seed")]]
            texts = [
                *(_column(rows[key], lambda n: f"{n / 1e6:.2f}M") for key in sizes),
                _column(100 * rows["sparsity_reached"], lambda s: f"{s:.1f} %"),
                _column(found["seconds"], lambda s: f"{s:.1f}"),
                _column(found["memory_mb"], lambda m: f"{m:.0f}"),
            ]
            expected = len(seeds.get(place, rows))
            lines.append((place, with_seeds(titles[label], len(rows), expected), texts))
    headers = [*sizes.values(), "Channels removed", "Seconds", "Peak host memory (MB)"]
    return Panel("Size reached, and what it cost", headers, _lay_out(lines))


def _places(rows: pd.DataFrame) -> Iterable[Any]:
    return rows[["model", "recovery", "sparsity"]].itertuples(index=False, name=None)


def _column(values: pd.Series, form: Callable[[float], str]) -> Text:
    known = [float(value) for value in values.dropna()]
    return Text(_spread(summarize(known), form) if known else MISSING)


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


def _marked(text: str, p: float) -> Text:
    return Text(text, "best") if p < LEVEL else Text(text)


def difference_panel(
    comparison: pd.DataFrame, suite: Suite, title: Callable[[str, str], str], seeds: Seeds
) -> Panel:
    """Return one line per pairing: average, perplexity and the tasks won, tied and lost.

    Args:
        comparison: what ``compare_pairings`` returned.
        suite: says whether there is a perplexity.
        title: printed name of (method, baseline).
        seeds: that are compared at a place.
    """
    headers = ["Average", "95 % interval", "p"]
    if suite.perplexity is not None:
        headers += ["Perplexity", "95 % interval", "p"]
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
        place, label = _label(key, rows, title, seeds)
        lines.append((place, label, [*texts, Text(str(tally(rows)))]))
    return Panel("Difference to every baseline", [*headers, "W/T/L"], _lay_out(lines))


def _label(
    key: tuple[str, str, int, str, str],
    rows: pd.DataFrame,
    title: Callable[[str, str], str],
    seeds: Seeds,
) -> tuple[Place, str]:
    """Return where a pairing is, and its title with a remark where it is over fewer seeds."""
    model, recovery, sparsity, method, baseline = key
    place = Place(model, recovery, int(sparsity))
    found = rows.loc[rows["seed"] != ALL, "seed"].nunique()
    return place, with_seeds(title(method, baseline), found, len(seeds[place]))


def task_panel(
    comparison: pd.DataFrame, suite: Suite, title: Callable[[str, str], str], seeds: Seeds
) -> Panel:
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
        lines.append((*_label(key, rows, title, seeds), texts))
    headers = [task.title for task in suite.tasks]
    return Panel("Task by task, in points", headers, _lay_out(lines), ["diff.", "p"])
