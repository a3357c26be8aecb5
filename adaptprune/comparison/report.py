"""Two results files in, one comparison out: Markdown, LaTeX, self-contained HTML and tidy CSV."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.cells import DENSE
from adaptprune.comparison.alike import compared_seeds, only_compared
from adaptprune.comparison.notes import notes_of
from adaptprune.comparison.paired import ALL, Place, compare_pairings
from adaptprune.comparison.panels import (
    PAIR,
    PairNames,
    cost_panel,
    difference_panel,
    score_panel,
    task_panel,
)
from adaptprune.comparison.sides import pairings_of, read_sides
from adaptprune.comparison.summary import (
    SIZES_DIFFER,
    Forest,
    forests_of,
    set_against,
    size_warnings,
    sizes_of,
    verdicts_of,
)
from adaptprune.comparison.words import agreeing_seeds, describe_average, describe_perplexity
from adaptprune.errors import UserError
from adaptprune.files.atomic import write_texts
from adaptprune.tables.arrange import build_grid
from adaptprune.tables.constants import without_constants
from adaptprune.tables.declared import Row
from adaptprune.tables.grid import Grid, with_seeds
from adaptprune.tables.html import render_page
from adaptprune.tables.latex import to_latex
from adaptprune.tables.markdown import to_markdown
from adaptprune.tables.measures import columns_of
from adaptprune.tables.panels import Heading, Panel

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from adaptprune.comparison.alike import Seeds
    from adaptprune.comparison.sides import Sides
    from adaptprune.evaluation.suites import Suite


@dataclass(frozen=True)
class Comparison:
    """All that a comparison prints; ``table`` holds its numbers, one per row.

    ``verdicts`` come first, ``forests`` show the same on the page, ``warnings`` say where sizes
    differ, ``sentences`` say it all.
    """

    heading: Heading
    verdicts: list[str]
    forests: list[Forest]
    warnings: list[str]
    sentences: list[str]
    panels: list[Panel]
    notes: list[str]
    table: pd.DataFrame

    def __str__(self) -> str:
        return render_markdown(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the page, in a frame of its own."""
        page = html.escape(render_html(self), quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 40em; border: 0"></iframe>'


def compare_files(baseline_csv: Path, new_csv: Path, method: str | None = None) -> Comparison:
    """Compare the methods of a results file with those of another.

    Args:
        baseline_csv: the baselines, with the score of every document beside.
        new_csv: the new results, likewise.
        method: the one method of the new file to compare, with all baselines; without, all of
            them, each with its namesake where there is one.

    Raises:
        UserError: a file cannot be trusted, conditions differ, or nothing can be paired.
    """
    sides = read_sides(baseline_csv, new_csv, method)
    pairings = pairings_of(sides, method)
    table = compare_pairings(pairings, sides.suite)
    if table.empty:
        raise UserError(
            f"{baseline_csv} and {new_csv} share no model, sparsity and seed to be compared at"
        )
    titles = sides.titles()
    names = PairNames(
        {label: titles[label] for label in table["method"].unique()},
        {label: titles[sides.stored(label)] for label in table["baseline"].unique()},
    )
    profile = ", ".join(sorted(set(sides.new.results["profile"])))
    subject = titles[method] if method else new_csv.stem
    heading = Heading(
        "comparison",
        f"{subject} against the baselines of {sides.names[0]}",
        "tab:comparison",
        profile,
        len(sides.baseline.results) + len(sides.new.results),
    )
    seeds = compared_seeds(pairings)
    results = only_compared(sides.together("results"), seeds)
    provenance = only_compared(sides.together("provenance"), seeds)
    panels = [
        *_score_panels(results, sides.suite, titles, seeds),
        difference_panel(table, sides.suite, names, seeds),
        task_panel(table, sides.suite, names, seeds),
        cost_panel(results, provenance, titles, seeds),
    ]
    found = set_against(table, sides.stored, sizes_of(results))
    several = len({(one.place.model, one.method) for one in found}) > 1
    return Comparison(
        heading,
        verdicts_of(found, names, several),
        forests_of(found, names, several),
        size_warnings(found, names),
        _sentences(table, titles, sides, seeds),
        [without_constants(panel) for panel in panels],
        notes_of(sides, pairings, table, titles, seeds),
        table,
    )


def _score_panels(
    results: pd.DataFrame, suite: Suite, titles: dict[str, str], seeds: Seeds
) -> list[Panel]:
    """Return the scores of all methods, mean ± std over seeds, best and second marked."""
    lines = [Row(method=key, title=title) for key, title in titles.items()]
    columns, panels = columns_of(suite), []
    for recovery in sorted({place.recovery for place in seeds}):
        grid = Grid(columns)
        for place in sorted(seeds):
            if place.recovery != recovery:
                continue
            is_first = place.model not in {row.model for row in grid.rows}
            block = build_grid(
                results,
                columns,
                [line for line in lines if is_first or line.method != DENSE],
                models=[place.model],
                sparsities=[place.sparsity],
                seeds=seeds[place],
                recovery=recovery,
            )
            grid.rows += [row for row in block.rows if row.seeds_found]
        panels.append(score_panel(grid, recovery))
    return panels


def _sentences(
    table: pd.DataFrame, titles: dict[str, str], sides: Sides, seeds: Seeds
) -> list[str]:
    """Return what every pairing says, by sparsity."""
    sentences = []
    several = table["model"].nunique() > 1
    for (model, recovery, sparsity, method, baseline), rows in table.groupby(PAIR, sort=False):
        averages = rows[rows["kind"] == "average"]
        overall = averages[averages["seed"] == ALL].iloc[0]
        by_seed = averages[averages["seed"] != ALL]
        there = seeds[Place(model, recovery, int(sparsity))]
        remark = with_seeds("", len(by_seed), len(there))
        remark += agreeing_seeds(by_seed, overall["difference"])
        stored = titles[sides.stored(baseline)]
        text = describe_average(overall, titles[method], stored, remark)
        for _, row in rows[(rows["kind"] == "perplexity") & (rows["seed"] == ALL)].iterrows():
            text += f" {describe_perplexity(row, stored)}"
        sentences.append(f"{model}: {text}" if several else text)
    return sentences


def render_markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown, its verdicts, warnings and sentences first."""
    text = to_markdown(comparison.panels, comparison.notes, comparison.heading)
    title, tables = text.split("\n", 1)
    said = "\n".join(f"- {sentence}" for sentence in comparison.sentences)
    parts = [verdict.partition(" Not counted: ") for verdict in comparison.verdicts]
    blocks = [title, "\n".join(f"- **{first}**{between}{rest}" for first, between, rest in parts)]
    if comparison.warnings:
        blocks.append(f"**{SIZES_DIFFER}**")
        blocks.append("\n".join(f"- {warning}" for warning in comparison.warnings))
    return "\n\n".join([*blocks, f"{said}\n{tables}"])


def render_html(comparison: Comparison) -> str:
    """Return a comparison as one HTML page that needs nothing else."""
    return render_page(
        "adaptprune.comparison",
        "page.html.j2",
        title=comparison.heading.caption,
        heading=comparison.heading,
        verdicts=comparison.verdicts,
        forests=comparison.forests,
        warned_of=SIZES_DIFFER,
        warnings=comparison.warnings,
        sentences=comparison.sentences,
        panels=comparison.panels,
        notes=comparison.notes,
    )


def write_comparison(comparison: Comparison, output_stem: Path) -> None:
    """Write a comparison to ``<stem>.md``, ``.tex``, ``.html`` and ``.csv``, atomically."""
    warned = [f"{SIZES_DIFFER} {' '.join(comparison.warnings)}"] if comparison.warnings else []
    said = [*comparison.verdicts, *warned, *comparison.sentences, *comparison.notes]
    outputs = {
        ".md": render_markdown(comparison),
        ".tex": to_latex(comparison.panels, said, comparison.heading),
        ".html": render_html(comparison),
        ".csv": comparison.table.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    }
    write_texts(output_stem, outputs)
