"""Fig. 4: scores over how often Adapt-Accel prunes between its trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.figures.catalog import Drawing
from adaptprune.figures.labels import name_lines
from adaptprune.figures.style import COLUMN, draw_chance, new_figure, series_style, styled
from adaptprune.models.catalogue import shape_of
from adaptprune.tables.arrange import grid_of
from adaptprune.tables.declared import ANY, Row, Table
from adaptprune.tables.fill import read_table_results
from adaptprune.tables.measures import trained_columns_of

if TYPE_CHECKING:
    from adaptprune.evaluation.suites import Suite
    from adaptprune.recovery.config import RecoveryConfig
    from adaptprune.tables.measures import Measure
    from adaptprune.workflow.profiles import Profile
    from adaptprune.workflow.run import Source

#: The table of the same cells, whose results are drawn.
TABLE = "ablation_interleave"
#: "Pruning ratios per training, ranging from {0.36, 0.90, 0.925, 0.95, 0.975, 0.99}, are searched
#: …, which corresponds to the number of interleaves N_P ∈ {1, 9, 12, 20, 38, 96} separately"
#: (ACL, appendix B.2).
PUBLISHED = {1: 0.36, 9: 0.90, 12: 0.925, 20: 0.95, 38: 0.975, 96: 0.99}


def interleaved(profile: Profile) -> list[str]:
    """Return the recoveries that differ in their number of prunings alone, fewest first.

    Of several such families the largest is meant.

    Raises:
        UserError: no two recoveries of the profile differ in that alone.
    """
    families: dict[str, list[tuple[int, str]]] = {}
    for name, recovery in profile.recoveries.items():
        recipe = recovery.recipe.model_dump()
        count = recipe["parameters"].pop("interleaves", None)
        if count is not None:
            alike = (recovery.model, recovery.target, recovery.data, recipe)
            families.setdefault(repr(alike), []).append((count, name))
    largest = max(families.values(), key=len, default=[])
    if len(largest) < 2:
        raise UserError(f"profile {profile.title!r}: no recoveries that differ in interleaves")
    return [name for _, name in sorted(largest)]


def kept_share(recovery: RecoveryConfig) -> float:
    """Return what each pruning keeps: P = (|small| / |large|)^(1/N_P)."""
    assert recovery.outcome is not None, "a recovery that prunes has a target"
    share = recovery.outcome.parameters / shape_of(recovery.model).parameters
    return share ** (1 / recovery.recipe.parameters["interleaves"])


def draw(source: Source) -> Drawing:
    """Draw average accuracy, MMLU and perplexity, as far as the profile measures them."""
    suite = load_suite(source.profile.evaluation.suite)
    columns = trained_columns_of(suite)
    shown = [column for column in columns if column.key in ("average", "mmlu")]
    shown += [column for column in columns if column.kind == "perplexity"]
    scores = _scores(source, suite, shown)
    labels = [
        f"{row.interleaves}\n{100 * row.kept:.1f} %"
        + ("" if pd.isna(row.published) else f"\n({100 * row.published:g} %)")
        + (f"\n{row.seeds}" if row.seeds else "")
        for row in scores.itertuples()
    ]
    with styled():
        figure = new_figure(COLUMN, 0.6 + 1.4 * len(shown))
        panels: Any = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        for axes, column in zip(panels, shown, strict=True):
            values, spread = scores[column.key], scores[f"{column.key}_std"]
            axes.errorbar(range(len(scores)), values, spread, capsize=2, **series_style(0))
            axes.set_ylabel(column.header + (" (%)" if column.kind == "accuracy" else ""))
            draw_chance(axes, column.chance)
        panels[-1].set_xticks(range(len(scores)), labels)
        panels[-1].set_xlabel("Prunings; share that each keeps\n(as the paper prints it)")
        name_lines(figure, panels)
    return Drawing(figure, scores)


def _scores(source: Source, suite: Suite, shown: list[Measure]) -> pd.DataFrame:
    """Return one row per recovery: its prunings, what each keeps, and the shown scores."""
    profile = source.profile
    names = interleaved(profile)
    rows = [Row(title=name, block="", recovery=name) for name in names]
    results = read_table_results(
        source.folder / f"results-{TABLE}.csv",
        source.folder / f"provenance-{TABLE}.csv",
        source.name,
    )
    drawn = Table(name=TABLE, caption="", label="", rows={ANY: rows})
    grid = grid_of(drawn, results, source.name, profile, suite)
    lines: list[dict[str, Any]] = []
    for name, row in zip(names, grid.rows, strict=True):
        recovery = profile.recovery(name)
        count = recovery.recipe.parameters["interleaves"]
        line = {
            "recovery": name,
            "seeds": row.label.removeprefix(name).strip(),
            "interleaves": count,
            "kept": kept_share(recovery),
            "published": PUBLISHED.get(count),
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
    scores = pd.DataFrame(lines)
    measured = [f"{column.key}{suffix}" for column in shown for suffix in ("", "_std")]
    return scores.astype(dict.fromkeys(["published", *measured], "float64"))
