"""What a table can show of a cell: scores of a suite, and what is counted. Free of pandas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from adaptprune.errors import unknown
from adaptprune.evaluation.perplexity import rounded_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptprune.evaluation.suites import Suite
    from adaptprune.tables.declared import Selection

Kind = Literal[
    "params",
    "tokens",
    "flops",
    "time",
    "accuracy",
    "perplexity",
    "number",
    "text",
    "share",
    "tenths",
    "rate",
    "seconds",
    "digits",
]

#: Kinds of measures that are columns of the results, known of a cell as a whole.
COUNTED = ("params", "tokens", "flops", "time", "text")
#: Kinds of measures that say who is best.
RANKED = ("accuracy", "perplexity")
#: Of these kinds, what a cell need not have: what pretraining took is not measured here.
ACCOUNTED = ("tokens", "flops", "time", "text")
#: By kind of measure, its unit in the tidy CSV.
UNIT_NAMES: dict[str, str] = {
    "params": "parameters",
    "tokens": "tokens",
    "flops": "FLOP",
    "time": "s",
    "accuracy": "%",
    "perplexity": "ppl",
}
#: What is read of a cell for the average of the suite's accuracies.
AVERAGE = ("average", "mean")


@dataclass(frozen=True)
class Measure:
    """One measure; accuracies are in percent, what is counted is counted singly.

    Args:
        key: names the column of a table that shows it.
        header: of that column.
        kind: how it is printed, and whether more is better.
        metric: what of the task; or the column of the results, where it is counted.
        chance: what guessing gives, in percent, where scores at that level are to be marked.
        source: the task, or the column of the results; as ``key`` where it is not given.
    """

    key: str
    header: str
    kind: Kind
    metric: str
    chance: float | None = None
    source: str = ""

    @property
    def read(self) -> tuple[str, str]:
        """Return task (or column of the results) and metric: what is looked up of a cell."""
        return self.source or self.key, self.metric


#: What is known of a cell as a whole: columns of the results. One line makes another column of
#: theirs printable, of any kind.
OF_CELL = {
    measure.key: measure
    for measure in (
        Measure("params", "#Param.", "params", "params"),
        Measure("nonzeros", "#Nonzero", "params", "nonzeros"),
        Measure("tokens", "Tokens", "tokens", "tokens"),
        Measure("teacher_tokens", "Teacher tokens", "tokens", "tokens"),
        Measure("training_flops", "FLOPs", "flops", "flops"),
        Measure("training_s", "Time", "time", "time"),
    )
}
#: What a trained model took.
ACCOUNT = [OF_CELL[key] for key in ("tokens", "teacher_tokens", "training_flops", "training_s")]


def columns_of(suite: Suite) -> list[Measure]:
    """Return the columns that a suite gives a table."""
    tasks = [Measure(task.task, task.title, "accuracy", task.metric) for task in suite.tasks]
    columns = [OF_CELL["params"], *tasks, Measure("average", "Average", "accuracy", "mean")]
    if (text := suite.perplexity) is not None:
        columns.append(Measure(text.task, text.title, "perplexity", text.metric))
    return columns


def averaged(columns: Iterable[Measure]) -> list[Measure]:
    """Return the accuracies that an average is over."""
    return [c for c in columns if c.kind == "accuracy" and c.read != AVERAGE]


def chance_of(suite: Suite) -> float | None:
    """Return what guessing gives on average, in percent; None where it is not known of a task."""
    chances = [100 * task.chance for task in suite.tasks if task.chance is not None]
    return fmean(chances) if len(chances) == len(suite.tasks) else None


def trained_columns_of(suite: Suite) -> list[Measure]:
    """Return the columns that a suite gives a table of trained models: what each took as well.

    Scores that guessing may reach are to be marked.
    """
    chance = {task.task: 100 * task.chance for task in suite.tasks if task.chance is not None}
    if (average := chance_of(suite)) is not None:
        chance["average"] = average
    params, *scores = columns_of(suite)
    marked = [replace(column, chance=chance.get(column.key)) for column in scores]
    return [params, *ACCOUNT, *marked]


def measure_of(chosen: Selection, suite: Suite) -> Measure:
    """Return what a selection with a task or metric chooses.

    Raises:
        UserError: the suite measures no such thing.
    """
    shown = {measure.key: measure for measure in columns_of(suite)}
    if chosen.task is None:
        metric = chosen.metric
        if metric == "perplexity" and suite.perplexity is not None:
            return shown[suite.perplexity.task]
        if metric == "average":
            return shown["average"]
        if metric in OF_CELL:
            return OF_CELL[metric]
        raise unknown("metric", str(metric), ["average", "perplexity", *OF_CELL])
    tasks = [key for key in shown if key not in (*OF_CELL, "average")]
    if chosen.task not in tasks:
        raise unknown("task", chosen.task, tasks)
    measure = shown[chosen.task]
    if chosen.metric in (None, measure.metric):
        return measure
    return replace(measure, kind=_kind(str(chosen.metric)), metric=str(chosen.metric))


def rounded(measure: Measure, bits: int | None) -> Measure:
    """Return the same measure of the model with rounded weights, where bits are given."""
    if bits is None:
        return measure
    task = measure.read[0]
    return replace(measure, metric=rounded_name(bits, measure.metric), source=task)


def _kind(metric: str) -> Kind:
    if "perplexity" in metric:
        return "perplexity"
    return "accuracy" if metric.startswith(("acc", "exact_match", "mc")) else "number"
