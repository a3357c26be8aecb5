"""Table 2: the sources of the training data, counted, next to the published numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json, unseal
from adaptprune.files.declared import read_declared
from adaptprune.papers.adapt_pruner.audit.training import amount
from adaptprune.results.numerals import signed
from adaptprune.results.published import Claims
from adaptprune.tables.panels import MISSING, Heading, Panel, Text, lay_out
from adaptprune.tables.render import write_panels

if TYPE_CHECKING:
    from pathlib import Path

CAPTION = "Training data: the mixture {name}, counted, and Table 2 of the paper."
TOTAL = "Total"
_COUNTS = ["documents", "tokens", "counted"]


def data_table(sources: list[dict[str, Any]], published: dict[str, float]) -> pd.DataFrame:
    """Join counted and published tokens by source, the counted sources first.

    Args:
        sources: ``name``, ``documents``, ``tokens`` and ``counted`` of each.
        published: tokens by the name of a data set.

    Returns:
        One row per source; what is not known is missing.
    """
    rows = [{key: source[key] for key in ("name", *_COUNTS)} for source in sources]
    rows += [{"name": name} for name in published if name not in {row["name"] for row in rows}]
    table = pd.DataFrame(rows, columns=["name", *_COUNTS])
    table["published"] = table["name"].map(published)
    return table


def _tokens(value: float) -> str:
    if pd.isna(value):
        return MISSING
    for scale, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.2f}{suffix}"
    return f"{value:.0f}"


def _difference(tokens: float, published: float) -> str:
    if pd.isna(tokens) or pd.isna(published):
        return MISSING
    return f"{signed(100 * (tokens / published - 1))}%"


def _panel(table: pd.DataFrame, total: float) -> Panel:
    """Return what is printed; ``total`` is the published one."""
    sums = {key: table[key].sum() for key in _COUNTS}
    shown = [*table.to_dict("records"), {"name": TOTAL, "published": total} | sums]
    known = set(table["name"][table["tokens"].notna()])
    comparable = known == set(table["name"][table["published"].notna()])
    headers = ["Documents", "Tokens", "Counted in the loss", "Published", "Difference"]
    lines: list[tuple[str, tuple[str, ...], list[Text]]] = []
    for row in shown:
        compared = row["name"] != TOTAL or comparable
        texts = [
            MISSING if pd.isna(row["documents"]) else f"{int(row['documents']):,}",
            _tokens(row["tokens"]),
            _tokens(row["counted"]),
            _tokens(row["published"]),
            _difference(row["tokens"], row["published"]) if compared else MISSING,
        ]
        lines.append(("", (row["name"],), list(map(Text, texts))))
    rows = lay_out(lines)
    rows[-1] = replace(rows[-1], starts_block=True)
    return Panel("", headers, rows, heading="", labels=("Source",))


def _notes(conditions: dict[str, Any], table: pd.DataFrame, total: float) -> list[str]:
    cut = conditions["cut"]
    length = f"chats are cut after {cut:,} tokens" if cut else "no document is cut"
    return [
        f"Counted with the tokenizer of {conditions['model']}; {length}, and each document's end "
        "is a token. The paper does not say whose tokenizer counted.",
        f"The published rows add up to {_tokens(table['published'].sum())}, printed is "
        f"{_tokens(total)}.",
    ]


def render_data_table(counts: Path, claims: Path, output_stem: Path) -> None:
    """Render counts to ``<stem>.md``, ``<stem>.csv`` (unrounded) and ``<stem>.tex``.

    Args:
        counts: what ``write_counts`` wrote.
        claims: ``quoted/claims.yaml``, which holds Table 2 as printed.
        output_stem: path without suffix.

    Raises:
        UserError: a file is absent or not what it should be.
    """
    record = read_json(counts)
    if not isinstance(record, dict) or "sources" not in record:
        raise UserError(f"{counts}: holds no counted tokens; `adaptprune count-tokens` writes them")
    record, printed = unseal(counts, record), read_declared(Claims, claims).training_data
    published = {name: amount(text)[0] for name, text in printed.tokens.items()}
    total, _ = amount(printed.total)
    table = data_table(record["sources"], published)
    conditions = record["conditions"]
    caption = CAPTION.format(name=conditions["data"]["name"])
    heading = Heading(output_stem.name, caption, f"tab:{output_stem.name}")
    notes = _notes(conditions, table, total)
    write_panels(output_stem, [_panel(table, total)], notes, heading, table)
