"""The leaderboard as one HTML page: plain tables and pictures, which a small script sorts."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from adaptprune.cells import NO_RECOVERY, split_variant
from adaptprune.comparison.summary import TOLERANCE
from adaptprune.errors import UserError
from adaptprune.leaderboard.entries import FAMILIES
from adaptprune.leaderboard.plot import COLOURS, plot_of
from adaptprune.plugins import source_file
from adaptprune.pruning.registry import find_method
from adaptprune.results.numerals import LARGE, magnitude, signed
from adaptprune.tables.html import render_page
from adaptprune.tables.latex import to_latex
from adaptprune.tables.panels import MISSING, Heading, Panel, Text, lay_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptprune.leaderboard.entries import Board, Entry


def score(value: float | None) -> str:
    """Print an accuracy in percent by two decimals."""
    return MISSING if value is None else f"{value:.2f}"


def perplexity(value: float | None) -> str:
    """Print a perplexity in one notation: whole from a hundred on, powers of ten from a million."""
    if value is None:
        return MISSING
    if value < LARGE:
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    return magnitude(value, 1)


def count(value: int | None) -> str:
    """Print a number of parameters, in millions."""
    return MISSING if value is None else f"{value / 1e6:.1f}M"


def seconds(value: float | None) -> str:
    """Print seconds."""
    return MISSING if value is None else f"{value:,.1f}"


def ratio(value: float | None) -> str:
    """Print how many times as fast."""
    return MISSING if value is None else f"{value:.2f}"


def interval(entry: Entry) -> str:
    """Print the interval of the average."""
    if entry.low is None or entry.high is None:
        return MISSING
    return f"[{score(entry.low)}, {score(entry.high)}]"


def unlike(entry: Entry) -> str:
    """Say by how much a size differs from the others at its sparsity; nothing where it is alike."""
    return "" if entry.unlike is None else f"{signed(100 * entry.unlike)} %"


def headers_of(board: Board) -> list[str]:
    """Return the headers of the table; what is the same in all rows is left out."""
    entries = board.entries
    headers = ["Method", "Sparsity (%)", "Average (%)", "95 % interval", "Over seeds (±)"]
    headers += ["Perplexity", "Parameters", "Nonzeros", "Size beside others", "Seconds to prune"]
    if len(board.speeds):
        headers += ["Prefill ×", "Decoding ×"]
    headers += ["Seeds", "Family"]
    if any(entry.pattern for entry in entries):
        headers.append("Pattern")
    if any(entry.recovery != NO_RECOVERY for entry in entries):
        headers.append("Recovery")
    if len({entry.model for entry in entries}) > 1:
        headers.append("Model")
    return headers


def cells_of(board: Board, entry: Entry) -> dict[str, tuple[str, Any]]:
    """Return what a row prints and what it is sorted by, by header; its tasks come last."""
    spread = MISSING if entry.std is None else f"{entry.std:.2f}"
    every = {
        "Method": (entry.title, entry.title),
        "Sparsity (%)": (str(entry.sparsity), entry.sparsity),
        "Average (%)": (score(entry.average), entry.average),
        "95 % interval": (interval(entry), entry.low),
        "Over seeds (±)": (spread, entry.std),
        "Perplexity": (perplexity(entry.perplexity), entry.perplexity),
        "Parameters": (count(entry.params), entry.params),
        "Nonzeros": (count(entry.nonzeros), entry.nonzeros),
        "Size beside others": (unlike(entry), entry.unlike),
        "Seconds to prune": (seconds(entry.seconds), entry.seconds),
        "Prefill ×": (ratio(entry.prefill), entry.prefill),
        "Decoding ×": (ratio(entry.decode), entry.decode),
        "Seeds": (str(len(entry.seeds)), len(entry.seeds)),
        "Family": (entry.family, FAMILIES.index(entry.family)),
        "Pattern": (entry.pattern, entry.pattern),
        "Recovery": (entry.recovery, entry.recovery),
        "Model": (entry.model, entry.model),
    }
    shown = {header: every[header] for header in headers_of(board)}
    tasks = [task.title for task in board.suite.tasks]
    return shown | {task: (score(entry.tasks.get(task)), entry.tasks.get(task)) for task in tasks}


def _latex(board: Board) -> str:
    """Return the table as LaTeX, its headings the models."""
    headers = [header for header in headers_of(board) if header not in ("Method", "Model")]
    headers.remove("Sparsity (%)")
    lines = []
    for entry in board.entries:
        cells = cells_of(board, entry)
        texts = [Text(cells[header][0]) for header in headers]
        lines.append((entry.model, (f"{entry.sparsity}%", entry.title), texts))
    heading = Heading(
        "leaderboard", f"Stored results {board.name}", "tab:leaderboard", board.name,
        len(board.results),
    )  # fmt: skip
    return to_latex([Panel("", headers, lay_out(lines))], [_conditions(board)], heading)


def _csv(board: Board) -> str:
    """Return the table's numbers unrounded, one line per entry."""
    import pandas as pd

    rows = [
        {"method": entry.method, "model": entry.model, "recovery": entry.recovery}
        | {header: value for header, (_, value) in cells_of(board, entry).items()}
        | {"Family": entry.family, "95 % low": entry.low, "95 % high": entry.high}
        for entry in board.entries
    ]
    frame = pd.DataFrame(rows).drop(columns=["95 % interval"])
    return frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def _conditions(board: Board) -> str:
    """Say in a sentence what the scores are of."""
    ok = board.results[board.results["status"] == "ok"]

    def said(column: str) -> str:
        return ", ".join(sorted({str(value) for value in ok[column]} - {""})) or "none"

    documents = ok.groupby("task")["n"].max()
    total = sum(int(documents[task.task]) for task in board.suite.tasks if task.task in documents)
    return (
        f"Suite {board.suite.name}: {len(board.suite.tasks)} tasks, {total:,} documents. "
        f"Calibration {said('calibration')}. Scored in {said('dtype')} on {said('device')} "
        f"with lm-eval {said('lm_eval')}, transformers {said('transformers')}, "
        f"torch {said('torch')}."
    )


def _speed_conditions(board: Board) -> str:
    """Say in a sentence how speeds were measured; nothing where none were."""
    if board.speeds.empty:
        return ""
    first = board.speeds.iloc[0]
    return (
        f"× is the ratio to the dense model, median of {first['rounds']} rounds in which both took "
        f"turns: prefill of {first['prompt']} tokens and decoding of {first['new_tokens']} more, "
        f"one sequence, {first['dtype']} on {first['device_name']}, {first['threads']} CPU "
        "thread(s), eager transformers. A dash: not measured."
    )


class Link(NamedTuple):
    """A link of a row."""

    target: str
    text: str


def links_of(entry: Entry, folder: Path) -> list[Link]:
    """Return links to the papers, and to the method's file where it lies in one tree with the page.

    Args:
        entry: the row.
        folder: that the page will lie in.
    """
    found = [
        Link(f"https://arxiv.org/abs/{number}", f"arXiv {number}")
        for number in re.findall(r"\d{4}\.\d{5}", entry.citation)
    ]
    try:
        file = source_file(find_method(split_variant(entry.method)[0]))
    except UserError:
        return found  # somebody else's results
    root, folder = Path(__file__).resolve().parents[2], folder.resolve()
    if file and folder.is_relative_to(root) and Path(file).resolve().is_relative_to(root):
        found.append(Link(Path(os.path.relpath(Path(file).resolve(), folder)).as_posix(), "code"))
    return found


def _download(text: str, kind: str) -> Markup:
    encoded = base64.b64encode(text.encode()).decode()
    return Markup(f"data:{kind};base64,{encoded}")


def render_leaderboard(boards: Sequence[Board], command: str, folder: Path) -> str:
    """Return the page.

    Args:
        boards: one for each stored matrix; their numbers are not mixed.
        command: that makes the page again.
        folder: that the page will lie in.
    """
    shown = []
    for board in boards:
        rows = [(entry, cells_of(board, entry)) for entry in board.entries]
        shown.append(
            {
                "board": board,
                "plot": plot_of(board),
                "headers": headers_of(board),
                "tasks": [task.title for task in board.suite.tasks],
                "rows": rows,
                "families": [f for f in FAMILIES if any(e.family == f for e in board.entries)],
                "conditions": _conditions(board),
                "speed_conditions": _speed_conditions(board),
                "csv": _download(_csv(board), "text/csv"),
                "latex": _download(_latex(board), "text/x-tex"),
            }
        )
    data = json.dumps([board.data() for board in boards], ensure_ascii=True, allow_nan=False)
    return render_page(
        "adaptprune.leaderboard",
        "page.html.j2",
        script="page.js",
        title="Leaderboard",
        shown=shown,
        colours=COLOURS,
        tolerance=f"{100 * TOLERANCE:g} %",
        command=command,
        data=Markup(data.replace("<", "\\u003c")),
        interval=interval,
        score=score,
        perplexity=perplexity,
        count=count,
        links=lambda entry: links_of(entry, folder),
    )
