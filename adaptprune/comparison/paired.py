"""Differences between methods over the same documents at the same seed, with their tests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from adaptprune.errors import UserError
from adaptprune.results.rows import label_of, labels_of
from adaptprune.results.stats import Bootstrap, bootstrap_mean, bootstrap_ratio, holm, mcnemar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptprune.evaluation.suites import PerplexityTask, Suite, SuiteTask
    from adaptprune.results.matrix import Matrix

#: The seed of a row that takes all seeds together.
ALL = "all"

COLUMNS = [
    *("model", "recovery", "sparsity", "method", "baseline", "kind", "measure", "metric", "seed"),
    *("n", "value", "baseline_value", "difference", "low", "high", "test", "p", "p_corrected"),
    "correction",
]

_DOCUMENT = ["task", "document", "document_hash"]
_NOWHERE = np.array([], dtype=np.intp)


class Scores(NamedTuple):
    """One score of every document, in the order of the documents.

    ``documents`` are hashes of task, number and content [documents]: equal where and only where
    the documents are the same in the same order. ``values`` are the scores [documents].
    """

    documents: NDArray[np.uint64]
    values: NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Place:
    """Where methods are compared: one model, one recovery, one sparsity (percent)."""

    model: str
    recovery: str
    sparsity: int

    @property
    def share(self) -> str:
        """Return sparsity and recovery as they are printed."""
        return f"{self.sparsity} %" + ("" if self.recovery == "none" else f" after {self.recovery}")


class Cells:
    """The per-document scores of a matrix's finished cells."""

    def __init__(self, matrix: Matrix) -> None:
        """Take them apart by place, method, seed, task and metric."""
        keys = ["model", "recovery", "sparsity", "label", "seed"]
        documents = matrix.documents.sort_values(_DOCUMENT, kind="stable", ignore_index=True)
        documents = documents.assign(label=labels_of(documents))
        #: Where the rows of one score lie: taking them from the whole each time is slow.
        self._rows = documents.groupby([*keys, "task", "metric"]).indices
        self._cells = {key[: len(keys)] for key in self._rows}
        self._documents = pd.util.hash_pandas_object(documents[_DOCUMENT], index=False).to_numpy()
        self._values = documents["value"].to_numpy(np.float64)
        stopped = matrix.results[matrix.results["status"] != "ok"]
        self.stopped: dict[tuple[Place, str], list[str]] = {}
        for _, row in stopped.iterrows():
            place = Place(row["model"], row["recovery"], int(row["sparsity"]))
            why = f"seed {row['seed']} {row['status']}: {row['reason'] or 'no reason recorded'}"
            self.stopped.setdefault((place, label_of(row)), []).append(why)

    def places(self, label: str) -> list[Place]:
        """Return where a method has finished cells, sorted."""
        return sorted({Place(*key[:3]) for key in self._cells if key[3] == label})

    def labels(self) -> list[str]:
        """Return the methods (with variants) that have finished cells, sorted; not dense."""
        return sorted({key[3] for key in self._cells} - {"dense"})

    def seeds(self, place: Place, label: str) -> list[int]:
        """Return the seeds at which a method is finished at a place."""
        cell = (place.model, place.recovery, place.sparsity, label)
        return sorted(key[4] for key in self._cells if key[:4] == cell)

    def accuracy(self, place: Place, label: str, seed: int, task: SuiteTask) -> Scores:
        """Return a benchmark's score of every document."""
        return self._scores(place, label, seed, task, task.metric)

    def likelihood(
        self, place: Place, label: str, seed: int, text: PerplexityTask
    ) -> tuple[Scores, Scores]:
        """Return log-likelihood (nats) and words of every document."""
        parts = [self._scores(place, label, seed, text, key) for key in ("log_likelihood", "words")]
        return parts[0], parts[1]

    def _scores(
        self, place: Place, label: str, seed: int, task: SuiteTask | PerplexityTask, metric: str
    ) -> Scores:
        cell = (place.model, place.recovery, place.sparsity, label, seed)
        lying = [self._rows.get((*cell, part, metric), _NOWHERE) for part in sorted(task.tasks())]
        rows = np.concatenate(lying)
        if not len(rows):
            name = f"{place.model}/{label}/{place.sparsity}/{place.recovery}/s{seed}"
            raise UserError(f"no {metric} of {task.task} for {name}")
        return Scores(self._documents[rows], self._values[rows])


@dataclass(frozen=True)
class Pairing:
    """A new method against a baseline at one place, over the seeds that both have.

    ``only`` narrows these seeds, None does not.
    """

    place: Place
    new: Cells
    method: str
    baselines: Cells
    baseline: str
    only: frozenset[int] | None = None

    @property
    def seeds(self) -> list[int]:
        """Return the seeds at which both are finished."""
        theirs = self.baselines.seeds(self.place, self.baseline)
        both = [seed for seed in self.new.seeds(self.place, self.method) if seed in theirs]
        return [seed for seed in both if self.only is None or seed in self.only]

    def accuracies(self, seed: int, task: SuiteTask) -> tuple[np.ndarray, np.ndarray]:
        """Return both methods' scores of the same documents, in the same order [documents]."""
        ours = self.new.accuracy(self.place, self.method, seed, task)
        theirs = self.baselines.accuracy(self.place, self.baseline, seed, task)
        self._check_same(ours, theirs, task.task)
        return ours.values, theirs.values

    def likelihoods(
        self, seed: int, text: PerplexityTask
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return both methods' log-likelihoods of the same documents, and their words."""
        ours, words = self.new.likelihood(self.place, self.method, seed, text)
        theirs, other_words = self.baselines.likelihood(self.place, self.baseline, seed, text)
        self._check_same(ours, theirs, text.task)
        if not np.array_equal(words.values, other_words.values):
            raise UserError(f"{text.task}: the two files count the words of a document differently")
        return ours.values, theirs.values, words.values

    def _check_same(self, ours: Scores, theirs: Scores, task: str) -> None:
        if not np.array_equal(ours.documents, theirs.documents):
            raise UserError(
                f"{self.method} and {self.baseline} were scored on different documents of {task}"
            )

    def rows(self, suite: Suite) -> list[dict[str, Any]]:
        """Return the comparison by every measure, seed by seed and over all seeds."""
        shared = {
            "model": self.place.model,
            "recovery": self.place.recovery,
            "sparsity": self.place.sparsity,
            "method": self.method,
            "baseline": self.baseline,
        }
        found = [row for task in suite.tasks for row in self._task(task)]
        found += self._average(suite.tasks)
        if suite.perplexity is not None:
            found += self._perplexity(suite.perplexity)
        return [shared | row for row in found]

    def _task(self, task: SuiteTask) -> list[dict[str, Any]]:
        rows, differences = [], []
        for seed in self.seeds:
            ours, theirs = self.accuracies(seed, task)
            differences.append(ours - theirs)
            interval = bootstrap_mean([ours - theirs])
            test, p = "paired bootstrap", interval.p
            if set(np.unique([ours, theirs])) <= {0.0, 1.0}:
                test, p = "McNemar", float(mcnemar((ours > theirs).sum(), (ours < theirs).sum()))
            measured = ("task", task.task, task.metric)
            rows.append(_row(measured, seed, ours, theirs, interval, test, p))
        over_seeds = bootstrap_mean([np.mean(differences, axis=0)])
        rows.append(_over_seeds(rows, over_seeds, "at every seed", float("nan")))
        return rows

    def _average(self, tasks: Sequence[SuiteTask]) -> list[dict[str, Any]]:
        rows, by_seed = [], []
        for seed in self.seeds:
            pairs = [self.accuracies(seed, task) for task in tasks]
            by_seed.append([ours - theirs for ours, theirs in pairs])
            interval = bootstrap_mean(by_seed[-1])
            ours, theirs = (np.array([np.mean(pair[i]) for pair in pairs]) for i in (0, 1))
            measured = ("average", "average", "mean")
            row = _row(measured, seed, ours, theirs, interval, "paired bootstrap")
            rows.append(row | {"n": sum(len(pair[0]) for pair in pairs)})
        over_seeds = [np.mean(task, axis=0) for task in zip(*by_seed, strict=True)]
        rows.append(_over_seeds(rows, bootstrap_mean(over_seeds), "paired bootstrap"))
        return rows

    def _perplexity(self, text: PerplexityTask) -> list[dict[str, Any]]:
        """Compare by the ratio of perplexities; over seeds it is that of their geometric means."""
        rows, differences = [], []
        for seed in self.seeds:
            ours, theirs, words = self.likelihoods(seed, text)
            differences.append(theirs - ours)
            ratio = bootstrap_ratio(theirs - ours, words)
            rows.append(
                {
                    **{"kind": "perplexity", "measure": text.task, "metric": text.metric},
                    **{"seed": str(seed), "n": len(words)},
                    **{"test": "paired bootstrap", "p": ratio.p},
                    "value": np.exp(-ours.sum() / words.sum()),
                    "baseline_value": np.exp(-theirs.sum() / words.sum()),
                    "difference": np.exp(ratio.estimate),
                    "low": np.exp(ratio.low),
                    "high": np.exp(ratio.high),
                }
            )
        ratio = bootstrap_ratio(np.mean(differences, axis=0), words)
        geometric = {
            key: np.exp(np.mean(np.log([row[key] for row in rows])))
            for key in ("value", "baseline_value")
        }
        interval = {
            "difference": np.exp(ratio.estimate),
            "low": np.exp(ratio.low),
            "high": np.exp(ratio.high),
        }
        rows.append({**rows[0], **geometric, **interval, "seed": ALL, "p": ratio.p})
        return rows


def _row(
    measured: tuple[str, str, str],
    seed: int,
    ours: np.ndarray,
    theirs: np.ndarray,
    interval: Bootstrap,
    test: str,
    p: float | None = None,
) -> dict[str, Any]:
    """Return one comparison of accuracies, in percent and points.

    ``measured`` is its kind, what was measured, and by which metric.
    """
    return {
        **dict(zip(("kind", "measure", "metric"), measured, strict=True)),
        "seed": str(seed),
        "n": len(ours),
        "value": 100 * ours.mean(),
        "baseline_value": 100 * theirs.mean(),
        "difference": 100 * interval.estimate,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "test": test,
        "p": interval.p if p is None else p,
    }


def _over_seeds(
    rows: list[dict[str, Any]], interval: Bootstrap, test: str, p: float | None = None
) -> dict[str, Any]:
    """Return the comparison over all seeds: means of the values, the interval of their difference.

    Every document's difference is averaged over the seeds first; then documents are resampled.
    """
    return {
        **rows[0],
        "seed": ALL,
        "value": np.mean([row["value"] for row in rows]),
        "baseline_value": np.mean([row["baseline_value"] for row in rows]),
        "difference": 100 * interval.estimate,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "test": test,
        "p": interval.p if p is None else p,
    }


def _all_rows(pairings: Sequence[Pairing], suite: Suite) -> list[dict[str, Any]]:
    """Return the rows of all pairings with a common seed, in their order, and show how far it is.

    Nearly all time goes into drawing documents, during which other threads of Python run.
    """
    shared = [pairing for pairing in pairings if pairing.seeds]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda pairing: pairing.rows(suite), shared)
        shown = tqdm(found, "Comparing", total=len(shared), unit="pair", disable=None)
        return [row for rows in shown for row in rows]


def compare_pairings(pairings: Sequence[Pairing], suite: Suite) -> pd.DataFrame:
    """Return all comparisons with p-values corrected by Holm's method.

    A family holds all tests of one kind (tasks, averages or perplexities) at one seed, over all
    baselines and sparsities; the tests over all seeds of averages and perplexities are families of
    their own. A task counts as different over all seeds when it is so at every one, in the same
    direction: its p is then the largest of the seeds', and 1 where directions differ.

    Args:
        pairings: what is compared; those without a common seed are left out.
        suite: the measures.

    Returns:
        One row per pairing, measure and seed, with the columns `COLUMNS`; accuracies in percent,
        their differences in points, perplexities as ratios. ``correction`` says how ``p_corrected``
        was corrected: that of a task over all seeds within each seed's tests.
    """
    table = pd.DataFrame(_all_rows(pairings, suite), columns=COLUMNS)
    if table.empty:
        return table
    tested = table["p"].notna()
    families = table[tested].groupby(["kind", "seed"])["p"]
    table.loc[tested, "p_corrected"] = families.transform(lambda p: holm(p.to_numpy()))
    sizes = table.groupby(["kind", "seed"])["p"].transform("size")
    table["correction"] = "Holm, " + sizes.astype("str") + " tests"
    single = table[(table["kind"] == "task") & (table["seed"] != ALL)]
    keys = COLUMNS[: COLUMNS.index("seed")]
    summary = single.groupby(keys).agg(
        p=("p", "max"),
        p_corrected=("p_corrected", "max"),
        lowest=("difference", "min"),
        highest=("difference", "max"),
    )
    opposed = (summary["lowest"] < 0) & (summary["highest"] > 0)
    summary.loc[opposed, ["p", "p_corrected"]] = 1.0
    over_seeds = (table["kind"] == "task") & (table["seed"] == ALL)
    table.loc[over_seeds, "correction"] = "Holm, within each seed"
    index = pd.MultiIndex.from_frame(table.loc[over_seeds, keys])
    for column in ("p", "p_corrected"):
        table.loc[over_seeds, column] = summary.loc[index, column].to_numpy()
    return table
