"""The sentences under a table: what was counted, over what, and what is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.tables.measures import AVERAGE, OF_CELL
from adaptprune.tables.panels import AT_CHANCE, MISSING
from adaptprune.tables.peak import peak_sentence, peak_verdicts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from adaptprune.evaluation.suites import PerplexityTask, Suite, SuiteTask
    from adaptprune.tables.declared import Table
    from adaptprune.tables.grid import Grid
    from adaptprune.workflow.profiles import Profile

#: Why a column is without marks.
UNLIKE_SEEDS = "Nothing is marked where a block's numbers in a column are over different seeds."

_ACCOUNT_NOTE = (
    "Tokens are those that the row's model was trained on; a teacher's own training is counted "
    "apart. FLOPs: all of a recovery, 6 per parameter and token in training and 2 in a forward "
    "pass, prunings and teacher included. Dense: tokens of the pretraining as its makers state "
    "them, FLOPs 6 per parameter and token. Time: of training and the work between its stages, on "
    "the machine of this run. Removed: percent of the larger model's parameters "
    "that the target is without. Best in bold, second underlined, within each block."
)
_CHANCE_NOTE = (
    f"{AT_CHANCE} marks what guessing may reach: the lower end of the accuracy's 95 % interval "
    "over the documents (1.96 standard errors) does not lie above chance."
)
_PARAMS_NOTE = "#Param. counts the whole model, tied embeddings once. "


def notes_of(
    table: Table, grid: Grid, results: pd.DataFrame, profile: Profile, suite: Suite
) -> list[str]:
    """Return all sentences under a declared table.

    Args:
        table: its declaration.
        grid: its numbers.
        results: what they were taken from.
        profile: that was run.
        suite: of the profile.
    """
    notes = column_notes(results, suite, grid)
    if grid.layout.listed or grid.trained:
        notes.append(_trained_seeds_note(profile.seeds))
    else:
        notes.append(_seeds_note(profile.seeds))
    notes.append(_ACCOUNT_NOTE if grid.layout.listed else _marks_note(grid))
    if any(entry.at_chance for row in grid.rows for entry in row.entries.values()):
        notes.append(_CHANCE_NOTE)
    if any(row.against for row in grid.rows):
        notes.append(
            "Change: the difference of two methods at the same seed, that is with the same "
            "calibration data, averaged over the seeds that both have."
        )
    if table.peak is not None:
        notes += map(peak_sentence, peak_verdicts(table.peak, grid))
    if grid.average_stderr is not None and not grid.layout.listed:
        notes.append(
            "Standard error of one average over this many documents: up to "
            f"{grid.average_stderr:.2f} points; it is apart from the spread over seeds."
        )
    notes += [*table.notes, f"Profile {profile.title}.", *([profile.note] if profile.note else [])]
    return [*notes, *problem_notes(grid)]


def column_notes(results: pd.DataFrame, suite: Suite, grid: Grid) -> list[str]:
    """Say what the scores of a table count, as far as it shows them."""
    shown = {column.read for column in grid.columns}
    notes = []
    if tasks := [task for task in suite.tasks if (task.task, task.metric) in shown]:
        notes.append(task_note(results, tasks, averaged=AVERAGE in shown))
    text = suite.perplexity
    if text is not None and (text.task, text.metric) in shown:
        notes.append(perplexity_note(results, text))
    return notes


def task_note(results: pd.DataFrame, tasks: Sequence[SuiteTask], *, averaged: bool) -> str:
    """Say for each task what was counted, over how many documents, and what guessing gives."""
    documents = results.dropna(subset=["n"]).groupby("task")["n"].max()
    parts = []
    for task in tasks:
        count = f"{documents[task.task]} documents" if task.task in documents else "not measured"
        guess = "" if task.chance is None else f", chance {100 * task.chance:.1f}"
        parts.append(f"{task.title} ({task.metric}, {count}{guess})")
    average = " Average: mean of these columns." if averaged else ""
    return f"Accuracy in %, higher is better: {'; '.join(parts)}.{average}"


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


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _seeds_note(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"One seed ({_listed(seeds)}): no spread."
    return (
        f"Mean ± sample standard deviation over seeds {_listed(seeds)}; a seed redraws the "
        "calibration data, the documents stay. Dense does not depend on the seed."
    )


def _trained_seeds_note(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"Trained with one seed ({_listed(seeds)}): no spread."
    return (
        f"Trained: mean ± sample standard deviation over seeds {_listed(seeds)}; a seed redraws "
        "the calibration data and the order of the training data. Dense models are measured once."
    )


def _marks_note(grid: Grid) -> str:
    layout = grid.layout
    counts = _PARAMS_NOTE if OF_CELL["params"].read in {c.read for c in grid.columns} else ""
    within = "model and sparsity" if layout.heading and layout.sparsity else "column"
    if layout.transposed:
        within = "row"
    return f"{counts}Best in bold, second underlined, within each {within}; dense is left out."


def problem_notes(grid: Grid) -> list[str]:
    """Return what is not in the table, cell by cell, and whether that leaves marks out."""
    notes = []
    if grid.absent:
        notes.append(f"Nothing to show ({MISSING}): {'; '.join(grid.absent)}.")
    if grid.missing:
        notes.append(f"Not measured ({MISSING}): {'; '.join(grid.missing)}.")
    if grid.stopped:
        notes.append(f"Without a result: {'; '.join(grid.stopped)}.")
    if grid.unlike_seeds:
        notes.append(UNLIKE_SEEDS)
    if grid.unranked:
        listed = ", ".join(grid.unranked)
        notes.append(f"Run with fewer seeds than others, and therefore not marked: {listed}.")
    return notes
