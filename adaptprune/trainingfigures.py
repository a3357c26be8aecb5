"""Figures of trainings: what one run did (Figure 3), how often to prune in between (Figure 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.cells import cell_folder
from adaptprune.errors import UserError
from adaptprune.figures import COLOURS, LINES, drawing, save
from adaptprune.listedgrid import build_listed_grid, listed_columns
from adaptprune.models import shape_of
from adaptprune.recover.log import read_log
from adaptprune.tables import profile_results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptprune.config import Profile
    from adaptprune.declarations import Figure, ListedRow
    from adaptprune.evaluate.suites import Suite
    from adaptprune.recover.config import RecoveryConfig
    from adaptprune.tablegrid import Column


def draw_figure(
    declaration: Figure,
    results_csv: Path,
    published_csv: Path,
    output_stem: Path,
    *,
    runs: Path,
    name: str,
    profile: Profile,
    suite: Suite,
) -> None:
    """Draw a declared figure to ``<stem>.pdf`` and ``<stem>.png``, its data to ``<stem>.csv``.

    Args:
        declaration: of the figure.
        results_csv: what ``write_results`` wrote.
        published_csv: the paper's numbers.
        output_stem: path of the outputs without suffix.
        runs: where the cells lie.
        name: of the profile.
        profile: the profile.
        suite: that its cells were evaluated with.

    Raises:
        UserError: results or log cannot be used, or the declaration has no rows for the profile.
    """
    rows = declaration.rows[declaration.profile_for(name)]
    if declaration.figure == "run":
        cell = profile.listed_cells(rows[:1])[0]
        data = steps_of(cell_folder(runs, name, cell) / "log.jsonl")
        _draw_run(data, f"{rows[0].title}, seed {cell.seed}", output_stem)
        return
    results, columns = profile_results(results_csv, name), listed_columns(suite)
    shown = [column for column in columns if column.key in ("average", "mmlu")]
    shown += [column for column in columns if column.kind == "perplexity"]
    printed = published_ratios(published_csv)
    data = interleaving_scores(results, rows, profile, columns, shown, printed)
    _draw_interleaves(data, shown, output_stem)


def steps_of(log: Path) -> pd.DataFrame:
    """Return what a recovery did: one line per optimiser step.

    ``stage_share`` is the percentage of all trained tokens that fall to the step's stage.

    Raises:
        UserError: the log is absent or empty.
    """
    rows = read_log(log)
    if not rows:
        raise UserError(f"{log}: no step of a training is logged there")
    steps = pd.DataFrame(rows)
    # Tokens are counted from the first step on; what a step adds belongs to its stage.
    added = steps["tokens"].diff().fillna(steps["tokens"])
    share = 100 * added.groupby(steps["stage"]).transform("sum") / added.sum()
    columns = ["step", "stage", "tokens", "parameters", "learning_rate", "loss"]
    return steps[columns].assign(stage_share=share)


def _draw_run(steps: pd.DataFrame, title: str, stem: Path) -> None:
    panels = (
        ("parameters", "parameters (M)", 1e6),
        ("stage_share", "share of data (%)", 1.0),
        ("learning_rate", "learning rate", 1.0),
    )
    with drawing(len(panels), height=1.1) as (figure, axes):
        for axis, (key, label, unit) in zip(axes, panels, strict=True):
            axis.plot(steps["tokens"] / 1e6, steps[key] / unit, color=COLOURS[0])
            axis.set_ylabel(label)
            axis.set_ylim(bottom=0)
        axes[0].set_title(title)
        axes[-1].set_xlabel("training tokens (M)")
        save(figure, steps, stem)


def kept_share(recovery: RecoveryConfig) -> tuple[int, float]:
    """Return how often a recovery prunes, and the share (|small|/|large|)^(1/N_P) that stays.

    Raises:
        UserError: it does not prune in between.
    """
    count = recovery.recipe.parameters.get("interleaves")
    if recovery.outcome is None or count is None:
        raise UserError(f"recovery preset {recovery.preset}: prunes in no stages")
    return count, (recovery.outcome.parameters / shape_of(recovery.model).parameters) ** (1 / count)


def published_ratios(path: Path) -> dict[int, float]:
    """Return the published pruning ratio per training by number of interleaves (Figure 4)."""
    published = pd.read_csv(path)
    rows = published[(published["key"] == "pruning_ratio") & (published["unit"] == "share")]
    counts = rows["row_label"].str.removeprefix("N_P = ").astype(int)
    return dict(zip(counts, rows["value"], strict=True))


def interleaving_scores(
    results: pd.DataFrame,
    rows: Sequence[ListedRow],
    profile: Profile,
    columns: list[Column],
    shown: list[Column],
    printed: dict[int, float],
) -> pd.DataFrame:
    """Return the scores of recoveries that differ in their number of interleaves, fewest first.

    Args:
        results: rows of one profile.
        rows: the recoveries.
        profile: says what they are.
        columns: all columns of the suite.
        shown: those that are drawn.
        printed: published ratio by number of interleaves.
    """
    grid = build_listed_grid(results, columns, rows, profile)
    lines: list[dict[str, Any]] = []
    for declared, row in zip(rows, grid.rows, strict=True):
        count, kept = kept_share(profile.recovery(str(declared.recovery)))
        line = {
            "recovery": declared.recovery,
            "interleaves": count,
            "kept_per_pruning": kept,
            "published_ratio": printed.get(count),
            "tokens": row.entries["tokens"].value,
        }
        for column in shown:
            entry = row.entries[column.key]
            line |= {
                column.key: entry.value,
                f"{column.key}_std": entry.std,
                f"{column.key}_seeds": entry.n_seeds,
            }
        lines.append(line)
    return pd.DataFrame(lines).sort_values("interleaves", ignore_index=True)


def _draw_interleaves(scores: pd.DataFrame, shown: list[Column], stem: Path) -> None:
    labels = [
        f"{line.interleaves}\n{100 * line.kept_per_pruning:.1f} %"
        + ("" if pd.isna(line.published_ratio) else f"\n({100 * line.published_ratio:g} %)")
        for line in scores.itertuples()
    ]
    with drawing(len(shown)) as (figure, axes):
        for axis, column in zip(axes, shown, strict=True):
            values = scores[column.key].astype("float64")
            spread = scores[f"{column.key}_std"].astype("float64")
            axis.errorbar(
                range(len(scores)), values, spread, color=COLOURS[0], capsize=2, **LINES[0]
            )
            unit = " (%)" if column.kind == "accuracy" else ""
            axis.set_ylabel(f"{column.header}{unit}")
            if column.chance is not None:
                axis.axhline(column.chance, color=COLOURS[2], linestyle=":", label="chance")
                axis.legend(loc="best")
        axes[-1].set_xticks(range(len(scores)), labels)
        axes[-1].set_xlabel("prunings, share that each one keeps (as the paper prints it)")
        save(figure, scores, stem)
