"""Declared tables: a small YAML file and a results CSV become LaTeX, Markdown and tidy CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from adaptprune.errors import UserError
from adaptprune.files.atomic import write_texts
from adaptprune.results.published import UNITS
from adaptprune.results.rows import profile_results
from adaptprune.tables.declared import Declaration, load_declaration
from adaptprune.tables.grid import Grid, build_grid, columns_of
from adaptprune.tables.latex import (
    MISSING,
    Heading,
    Panel,
    Text,
    lay_out,
    panels_of,
    to_latex,
    to_markdown,
)
from adaptprune.tables.peak import peak_sentence, peak_verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptprune.evaluation.suites import PerplexityTask, Suite


#: Why a column is without marks.
UNLIKE_SEEDS = "Nothing is marked where a block's numbers in a column are over different seeds."

_UNITS: dict[str, str] = {
    "params": "parameters",
    "tokens": "tokens",
    "flops": "FLOP",
    "time": "s",
    "accuracy": "%",
    "perplexity": "ppl",
}


def _add_published(grid: Grid, path: Path, table: int) -> None:
    """Set the paper's numbers beside the measured ones, where the paper prints them."""
    published = pd.read_csv(path)
    published = published[published["table_arxiv"] == table]
    tasks = {column.key for column in grid.columns if column.kind == "accuracy"}
    if set(published.loc[published["unit"] == "%", "key"]) != tasks:
        # An average over other tasks is another quantity.
        published = published[published["key"] != "average"]
    factor = published["unit"].map(UNITS).fillna(1.0)
    published = published.assign(value=published["value"] * factor, std=published["std"] * factor)
    # Table 8 varies the amplitude of one method: its rows are variants named after it.
    variants = published["amplitude"].map(lambda a: "" if pd.isna(a) else f"@amplitude-{a:g}")
    published = published.assign(method=published["method"] + variants)
    numbers = {
        (line.model_id, line.method, line.sparsity, line.key, line.metric): (line.value, line.std)
        for line in published.itertuples()
    }
    for row in grid.rows:
        for column in grid.columns:
            key = (row.model, row.method, row.sparsity, column.key, column.metric)
            entry = row.entries[column.key]
            if key in numbers:
                value, std = numbers[key]
                entry.published = value
                entry.published_std = None if pd.isna(std) else std


def _printed_panel(path: Path, table: int) -> Panel:
    """Return a table as the paper prints it, for runs on other models and tasks."""
    published = pd.read_csv(path, dtype=str, keep_default_na=False)
    published = published[published["table_arxiv"] == str(table)]
    headers = list(dict.fromkeys(published["column"]))
    lines = []
    groups = published.groupby(["model", "sparsity", "row_label"], sort=False)
    for (model, sparsity, label), numbers in groups:
        printed = dict(
            zip(numbers["column"], numbers["value"] + numbers["std"].map(_spread), strict=True)
        )
        texts = [Text(printed.get(header, MISSING)) for header in headers]
        lines.append((str(model), f"{sparsity}%", str(label), texts))
    title = f"As printed in the paper (Table {table}), other models and tasks"
    return Panel(title, headers, [], lay_out(lines))


def _spread(std: str) -> str:
    return f" ± {std}" if std else ""


def task_note(results: pd.DataFrame, suite: Suite) -> str:
    """Say for each task what was counted, over how many documents, and what guessing gives."""
    documents = results.dropna(subset=["n"]).groupby("task")["n"].max()
    parts = []
    for task in suite.tasks:
        count = f"{documents[task.task]} documents" if task.task in documents else "not measured"
        guess = "" if task.chance is None else f", chance {100 * task.chance:.1f}"
        parts.append(f"{task.title} ({task.metric}, {count}{guess})")
    return f"Accuracy in %, higher is better: {'; '.join(parts)}. Average: mean of these columns."


def perplexity_note(results: pd.DataFrame, perplexity: PerplexityTask) -> str:
    """Say what a perplexity is counted over, and the longest sequence the model was shown."""
    rows = results[results["task"] == perplexity.task]
    models: dict[str, list[str]] = {}
    for model, length in sorted(set(zip(rows["model"], rows["max_length"], strict=True))):
        if length:
            models.setdefault(length, []).append(model)
    if len(models) > 1:
        measured = ", sequence length " + "; ".join(
            f"{length} tokens ({', '.join(models[length])})" for length in sorted(models, key=int)
        )
    else:
        measured = "".join(f", sequence length {length} tokens" for length in models)
    if rows["n"].notna().any():
        measured += f", n = {rows['n'].max()}"
    return (
        f"{perplexity.title} ({perplexity.metric}), lower is better: "
        f"{perplexity.convention}{measured}."
    )


def column_notes(results: pd.DataFrame, suite: Suite) -> list[str]:
    """Say what the columns of a suite count."""
    notes = [task_note(results, suite)]
    if suite.perplexity is not None:
        notes.append(perplexity_note(results, suite.perplexity))
    return notes


def _seed_note(seeds: Sequence[int]) -> str:
    listed = ", ".join(str(seed) for seed in seeds)
    if len(seeds) == 1:
        return f"One seed ({listed}): no spread."
    return (
        f"Mean ± sample standard deviation over seeds {listed}; a seed redraws the calibration "
        "data, the documents stay. Dense does not depend on the seed."
    )


def _notes(
    declaration: Declaration,
    grid: Grid,
    results: pd.DataFrame,
    suite: Suite,
    seeds: Sequence[int],
) -> list[str]:
    """Return the sentences under the table."""
    notes = [*column_notes(results, suite), _seed_note(seeds)]
    notes.append(
        "#Param. counts the whole model, tied embeddings once. Best in bold, second underlined, "
        "within each model and sparsity; dense is left out."
    )
    if any(row.against for row in grid.rows):
        notes.append(
            "Change: the difference of two methods at the same seed, that is with the same "
            "calibration data, averaged over the seeds that both have."
        )
    if declaration.peak is not None:
        notes += map(peak_sentence, peak_verdicts(declaration.peak, grid))
    if grid.average_stderr is not None:
        notes.append(
            "Standard error of one average over this many documents: up to "
            f"{grid.average_stderr:.2f} points; it is apart from the spread over seeds."
        )
    notes += declaration.notes
    return notes


def problem_notes(grid: Grid) -> list[str]:
    """Return what is not in the table, cell by cell, and whether that leaves marks out."""
    notes = []
    if grid.missing:
        notes.append(f"Not measured ({MISSING}): {'; '.join(grid.missing)}.")
    if grid.stopped:
        notes.append(f"Without a result: {'; '.join(grid.stopped)}.")
    if grid.unlike_seeds:
        notes.append(UNLIKE_SEEDS)
    return notes


def _tidy(grid: Grid, table: str, profile: str, *, published: bool) -> pd.DataFrame:
    """Return one line per number of the table, unrounded."""
    changes = any(row.against for row in grid.rows)
    lines = []
    for row in grid.rows:
        for column in grid.columns:
            entry = row.entries[column.key]
            line = {
                "table": table,
                "profile": profile,
                "model": row.model,
                "sparsity": row.sparsity,
                "method": row.method,
                "title": row.title,
                "column": column.key,
                "header": column.header,
                "metric": column.metric,
                "unit": _UNITS[column.kind],
                "value": entry.value,
                "std": entry.std,
                "n_seeds": entry.n_seeds,
                "status": entry.status,
                "rank": entry.rank,
            }
            if grid.listed:
                line["at_chance"] = entry.at_chance
            if changes:
                change = entry.change
                line |= {
                    "change": change and change.mean,
                    "change_std": change and change.std,
                    "change_seeds": change.count if change else 0,
                }
            if published:
                line |= {
                    "published": entry.published,
                    "published_std": entry.published_std,
                    "difference": entry.difference,
                }
            lines.append(line)
    return pd.DataFrame(lines)


def write_table(
    grid: Grid,
    notes: Sequence[str],
    heading: Heading,
    output_stem: Path,
    *,
    published: bool,
    more: Sequence[Panel] = (),
) -> None:
    """Write a table to ``<stem>.tex``, ``<stem>.csv`` and ``<stem>.md``.

    Args:
        grid: its numbers.
        notes: the sentences under it.
        heading: what it is called.
        output_stem: path of the outputs without suffix.
        published: whether published numbers are set beside the measured ones.
        more: panels after those of the grid.
    """
    panels = [*panels_of(grid, with_published=published), *more]
    tidy = _tidy(grid, heading.name, heading.profile, published=published)
    write_panels(output_stem, panels, notes, heading, tidy)


def declared_grid(
    declaration: Declaration,
    results: pd.DataFrame,
    suite: Suite,
    models: Sequence[str],
    sparsities: Sequence[int],
    seeds: Sequence[int],
) -> Grid:
    """Return a declared table of a matrix with its numbers.

    Args:
        declaration: which rows the table has.
        results: of the profile.
        suite: gives the columns.
        models: models of the profile, in printed order.
        sparsities: integer percents, in printed order, where the declaration names none.
        seeds: seeds that every method but dense is expected at.
    """
    return build_grid(
        results,
        columns_of(suite),
        declaration.methods,
        models=declaration.select_models(models),
        sparsities=declaration.sparsities or sparsities,
        seeds=seeds,
    )


def render_table(
    declaration_path: Path,
    results_csv: Path,
    output_stem: Path,
    *,
    profile: str,
    notes: Sequence[str],
    models: Sequence[str],
    sparsities: Sequence[int],
    seeds: Sequence[int],
    suite: Suite,
) -> None:
    """Render a declared table to ``<stem>.tex``, ``<stem>.csv`` and ``<stem>.md``.

    Args:
        declaration_path: a YAML file beside ``published.csv``.
        results_csv: what ``write_results`` wrote.
        output_stem: path of the outputs without suffix.
        profile: the profile whose rows are shown.
        notes: further sentences under the table.
        models: models of the profile, in printed order.
        sparsities: integer percents, in printed order, where the declaration names none.
        seeds: seeds that every method but dense is expected at.
        suite: gives the columns.

    Raises:
        UserError: the declaration or the results cannot be used.
    """
    declaration = load_declaration(declaration_path)
    if not isinstance(declaration, Declaration):
        raise UserError(f"{declaration_path}: declares no table of a matrix")
    results = profile_results(results_csv, profile)
    results = results[results["model"].isin(declaration.select_models(models))]
    grid = declared_grid(declaration, results, suite, models, sparsities, seeds)
    source = declaration.published
    with_published = source is not None and source.profile == profile
    if source is not None and with_published:
        _add_published(grid, declaration_path.parent / "published.csv", source.table)

    printed = _notes(declaration, grid, results, suite, seeds)
    printed += [*notes, *problem_notes(grid)]
    heading = Heading(
        declaration.name, declaration.caption, declaration.label, profile, len(results)
    )
    more = []
    if source is not None and source.beside and not with_published:
        more = [_printed_panel(declaration_path.parent / "published.csv", source.table)]
    write_table(grid, printed, heading, output_stem, published=with_published, more=more)


def write_panels(
    stem: Path, panels: Sequence[Panel], notes: Sequence[str], heading: Heading, tidy: pd.DataFrame
) -> None:
    """Write a table as ``<stem>.tex``, ``<stem>.md`` and, its numbers unrounded, ``<stem>.csv``.

    Args:
        stem: path of the outputs without suffix.
        panels: what is printed.
        notes: sentences under the table.
        heading: what the table is called.
        tidy: one line per number or row.
    """
    outputs = {
        ".tex": to_latex(list(panels), notes, heading),
        ".md": to_markdown(list(panels), notes, heading),
        ".csv": tidy.to_csv(index=False, float_format="%.10g", lineterminator="\n"),
    }
    write_texts(stem, outputs)
