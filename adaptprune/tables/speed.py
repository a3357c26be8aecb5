"""The table of what pruning gains in time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.cells import slug
from adaptprune.errors import UserError
from adaptprune.files.atomic import read_sealed_json
from adaptprune.measure.kernels import PATTERN
from adaptprune.measure.speed import PHASES
from adaptprune.pruning.registry import method_title
from adaptprune.tables.grid import Entry, Grid, TableRow, entry_of
from adaptprune.tables.measures import Measure
from adaptprune.tables.panels import Heading, panels_of
from adaptprune.tables.render import write_panels
from adaptprune.workflow.run import other_batch

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.workflow.run import Source

_HEADERS = {"prefill": "Prefill tok/s", "decode": "Decoding tok/s", "memory": "Peak MB"}
#: Every measure, and its ratio to the dense model.
_COLUMNS = [
    Measure("size", "Size", "share", ""),
    *(
        column
        for name, header in _HEADERS.items()
        for column in (
            Measure(name, header, "rate", ""),
            Measure(f"{name}_ratio", "×", "number", ""),
        )
    ),
]
#: By kernels that make use of the pattern 2:4, shown where a model has it.
_KERNELS = [
    Measure(f"{phase}_kernels", f"2:4 kernels, {name} ×", "number", "")
    for phase, name in zip(PHASES, ("prefill", "decoding"), strict=True)
]
_WORKLOAD = ("batch", "prompt", "new_tokens", "rounds")
_CONDITIONS = (*_WORKLOAD, "dtype", "device", "device_name", "threads")


def read_measures(source: Source, batch: int | None = None) -> pd.DataFrame:
    """Return one row per checkpoint and measure.

    Args:
        source: the run.
        batch: sequences at once, None for those of the profile.

    Columns: model, method, title, sparsity, pattern, status, reason, params, params_dense, measure,
    unit, dense, pruned, ratio, ratio_least, ratio_most, faster. A checkpoint that could not be
    measured has one row without a measure.

    Raises:
        UserError: a record is absent or altered, or two were measured under other conditions.
    """
    records = [
        _read(source, model, method, sparsity, batch)
        for model in source.profile.models
        for sparsity in source.profile.all_sparsities
        for method in source.methods
        if sparsity in source.profile.sparsities_of(method)
    ]
    measured = [record for record in records if record["status"] == "ok"]
    for record in measured:
        for condition in _CONDITIONS:
            if record[condition] != measured[0][condition]:
                raise UserError(
                    f"mixed conditions: {condition} is {measured[0][condition]} in one record of "
                    f"{source.folder / 'speed'} and {record[condition]} in another; delete them "
                    "and run again"
                )
    rows = []
    for record in records:
        for name, measure in record.get("measures", {None: {}}).items():
            rows.append({**record, "measure": name, **measure})
    keys = ("model", "method", "title", "sparsity", "pattern", "status", "reason")
    sizes = ("params", "params_dense")
    values = ("measure", "unit", "dense", "pruned", "ratio", "ratio_least", "ratio_most", "faster")
    return pd.DataFrame(rows, columns=[*keys, *sizes, *values, *_CONDITIONS])


def _read(
    source: Source, model: str, method: str, sparsity: int, batch: int | None
) -> dict[str, Any]:
    """Return a checkpoint's record, its workload spread out."""
    name = f"{sparsity}{other_batch(batch, source.profile.speed)}.json"
    path = source.folder / "speed" / slug(model) / method / name
    record = read_sealed_json(path)
    title = method_title(method)
    cell = {"model": model, "method": method, "title": title, "sparsity": sparsity}
    return record | record["workload"] | cell


def render_speed(source: Source, stem: Path) -> None:
    """Render the table to ``<stem>.tex``, ``<stem>.csv`` and ``<stem>.md``.

    Raises:
        UserError: see ``read_measures``.
    """
    measures = read_measures(source)
    columns = _COLUMNS + (_KERNELS if (measures["pattern"] == PATTERN).any() else [])
    grid = Grid(columns)
    for place, cell in measures.groupby(["model", "sparsity", "method"], sort=False):
        model, sparsity, method = place
        title = cell["title"].iloc[0]
        grid.rows.append(
            TableRow(model, sparsity, method, title, "", _entries(cell, columns), 1, 1)
        )
    heading = Heading(
        "speed",
        "Speed and memory of pruned models, and the ratio to the dense model.",
        "tab:speed",
        source.name,
        len(measures),
    )
    write_panels(stem, panels_of(grid), _notes(measures), heading, measures)


def _entries(cell: pd.DataFrame, columns: list[Measure]) -> dict[str, Entry]:
    """Return the numbers of one checkpoint by column."""
    first = cell.iloc[0]
    if first["status"] != "ok":
        return {column.key: Entry(first["status"]) for column in columns}
    entries = {"size": entry_of(100 * first["params"] / first["params_dense"])}
    for name in _HEADERS:
        measure = cell[cell["measure"] == name].iloc[0]
        known = pd.notna(measure["ratio"])
        entries[name] = entry_of(measure["pruned"] if known else None)
        entries[f"{name}_ratio"] = entry_of(measure["ratio"])
    ratios = cell.set_index("measure")["ratio"]
    for column in _KERNELS:
        entries[column.key] = entry_of(ratios.get(column.key))
        if first["pattern"] == PATTERN and column.key not in ratios:
            entries[column.key] = Entry("ok", text="needs a GPU")
    return entries


def _notes(measures: pd.DataFrame) -> list[str]:
    """Return the conditions, and for which checkpoints pruning makes nothing faster."""
    measured = measures[measures["status"] == "ok"]
    notes = []
    if len(measured):
        first = measured.iloc[0]
        notes.append(
            f"Prefill of {first['prompt']} tokens and decoding of {first['new_tokens']} more, "
            f"{first['batch']} sequence(s) at once, {first['dtype']} on "
            f"{first['device_name'] or first['device']}, {first['threads']} CPU thread(s), eager "
            "transformers; nothing else of the workflow ran meanwhile. Measured are the pruned "
            "models of the first seed, and no trained ones."
        )
        notes.append(
            f"×: the ratio to the dense model, median of {first['rounds']} rounds in which both "
            "took turns in one process. Size: parameters in % of dense. Peak MB: weights and all "
            "that running them takes."
        )
    if (measured["pattern"] == PATTERN).any():
        notes.append(
            "2:4 kernels: torch's semi-structured tensors, timed on a CUDA device in half "
            "precision alone. Elsewhere a masked model runs as a dense one."
        )
    for phase, name in zip(PHASES, ("prefill", "decoding"), strict=True):
        chosen = measured[measured["measure"] == phase]
        slow = chosen[~chosen["faster"].astype(bool)]
        listed = ", ".join(
            f"{row['title']} at {row['sparsity']} % of {row['model']} ({row['ratio_least']:.2f} to "
            f"{row['ratio_most']:.2f})"
            for _, row in slow.iterrows()
        )
        if listed:
            notes.append(f"Pruning does not make {name} faster in every round: {listed}.")
        elif len(chosen):
            notes.append(f"Every pruned model was faster at {name} in every round.")
    for _, row in measures[measures["status"] != "ok"].iterrows():
        place = f"{row['title']} at {row['sparsity']} % of {row['model']}"
        notes.append(f"Not measured: {place}, {row['status']}: {row['reason']}.")
    return notes
