"""Every document's values by the suite, beside those of stock lm-eval on the same hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hub_stock import COLUMNS

if TYPE_CHECKING:
    from hub_machine import Machine

#: What stock lm-eval is asked, and the values that it must give.
Run = tuple[dict[str, Any], pd.DataFrame]


def stock_answers(machine: Machine, runs: list[Run]) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Return the values of every document by us and by stock lm-eval, run by run."""
    wanted, output = machine.folder / "wanted.json", machine.folder / "answers.json"
    wanted.write_text(json.dumps([run for run, _ in runs]))
    place = machine.folder / "stock"
    machine.python(
        Path(__file__).parent / "hub_stock.py", str(wanted), str(output), HF_HOME=str(place)
    )
    stock = [pd.DataFrame(rows, columns=COLUMNS) for rows in json.loads(output.read_text())]
    return list(zip((ours for _, ours in runs), stock, strict=True))


def tasks_answered_alike(answers: list[tuple[pd.DataFrame, pd.DataFrame]]) -> set[str]:
    """Check that every document has stock lm-eval's values; return the tasks that it was asked."""
    compared: set[str] = set()
    for ours, stock in answers:
        keys = ["task", "document", "document_hash", "metric"]
        mine = ours.set_index(keys)["value"].to_dict()
        for row in stock.itertuples():
            metric = row.metric if row.filter == "none" else f"{row.metric},{row.filter}"
            theirs, closeness = row.value, {"abs": 0.0}
            if row.task == "wikitext":  # log-likelihood of a text, and the words it is divided by
                theirs, metric, closeness = row.value[0], "log_likelihood", {"rel": 1e-6}
            elif row.task == "truthfulqa_mc2":  # a share of probability
                closeness = {"abs": 1e-5}
            found = mine[row.task, row.document, row.document_hash, metric]
            assert found == pytest.approx(theirs, **closeness), row
            compared.add(row.task)
    return compared
