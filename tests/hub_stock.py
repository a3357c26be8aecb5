"""Stock lm-eval on the hub of the tests: ``hub_stock.py WANTED.json ANSWERS.json``.

WANTED has a list of runs: model, tasks with the documents to take of each, examples in the prompt,
and the window, where it is not 2,048 tokens. ANSWERS gets the value of every metric of every
document, run by run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = ["task", "document", "document_hash", "metric", "filter", "value"]


def answers(model: Any, tasks: dict[str, list[int]], shots: int | None) -> list[list[Any]]:
    """Return the rows of ``COLUMNS`` that stock lm-eval gives."""
    import lm_eval

    found = lm_eval.simple_evaluate(
        model=model,
        tasks=list(tasks),
        samples=tasks,
        num_fewshot=shots,
        bootstrap_iters=0,
        log_samples=True,
    )
    return [
        [task, sample["doc_id"], sample["doc_hash"], metric, sample["filter"], sample[metric]]
        for task, samples in found["samples"].items()
        for sample in samples
        for metric in sample["metrics"]
    ]


def main(wanted: Path, output: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    models: dict[str, Any] = {}
    content = []
    for run in json.loads(wanted.read_text()):
        name, window = run["model"], run.get("window", 2048)
        if name not in models:
            models[name] = HFLM(
                pretrained=name, dtype="float32", device="cpu", batch_size=1, max_length=window
            )
        content.append(answers(models[name], run["tasks"], run["shots"]))
    output.write_text(json.dumps(content))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
