"""Whether finished files are what a profile asks for, by their own records. Torch-free.

Snakemake notices a changed setting by notes of its own, which are lost with the folder
``.snakemake``. Here the records that lie beside the numbers are compared with the profile.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.cells import NO_RECOVERY, join_variant, record_name, split_variant
from adaptprune.errors import UserError
from adaptprune.evaluation.perplexity import METRIC
from adaptprune.evaluation.suites import load_suite
from adaptprune.models.catalogue import known_config, stated_window
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from adaptprune.cells import Cell
    from adaptprune.workflow.profiles import CalibrationConfig, EvaluationConfig, Profile

#: The columns of stored results that say by what a cell was pruned.
_OF_METHOD = ("method", "variant", "method_version", "method_parameters", "calibration")
#: What was recorded, what is asked for, and its name.
Pair = tuple[str, Any, Any]


class Asked:
    """What a profile asks of its cells and measurements.

    Args:
        profile: with the overrides of the command line.
        revisions: hash of every model, as far as it is known, by id.
        root: folder that the profile names the configs of ``accelerate launch`` from.
    """

    def __init__(self, profile: Profile, revisions: Mapping[str, str], root: Path = Path()):
        self.profile = profile
        self.revisions = revisions
        self.root = root
        self._device = profile.device.partition(":")[0]
        self._parameters = functools.cache(self._parse)
        self._window = functools.cache(_window)
        self._documents = _documents(profile.evaluation)

    def deviations(self, cell: Cell, folder: Path) -> dict[str, str]:
        """Return which files of a cell are of something else, and in what.

        Files that are absent or cannot be read are none of them: they are made, or refused where
        results are collected.

        Args:
            cell: of the profile.
            folder: where its files lie.
        """
        found = {}
        name = record_name(cell.recovery)
        made, evaluation = _read(folder / name), _read(folder / "evaluation.json")
        if made is not None:
            if cell.recovery == NO_RECOVERY:
                pairs = self._pruning(cell.method, cell.model, made)
            else:
                pairs = self._training(cell, made)
            if differing := _first_difference(pairs):
                found[name] = differing
        if evaluation is None or evaluation.get("status") != "ok":
            return found
        if differing := _first_difference(self._evaluation(cell, evaluation)):
            found["evaluation.json"] = differing
        return found

    def other_rows(self, results: pd.DataFrame) -> str | None:
        """Return in what stored results differ from what is asked for.

        Args:
            results: rows of cells of the profile.
        """
        return _first_difference(self._rows(results))

    def other_scores(self, method: str, model: str, file: Path) -> str | None:
        """Return in what a score file differs from what its method's cells are cut from.

        Args:
            method: name, or name@variant.
            model: that is pruned.
            file: the score file, which may be absent.
        """
        from safetensors import SafetensorError, safe_open

        wanted = self.profile.sparsities_of(method)
        try:
            with safe_open(file, "np") as stream:
                header = json.loads(stream.metadata()["adaptprune"])
                served = set(header.get("sparsities", wanted))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
            return None  # absent, or for `prune` to refuse
        if missing := sorted(set(wanted) - served):
            return f"no sparsities {missing}"
        return _first_difference(self._pruning(method, model, header))

    def other_speed(self, method: str, model: str, batch: int, file: Path) -> str | None:
        """Return the same of a measurement of speed with so many sequences at once."""
        record = _read(file)
        if record is None:
            return None
        return _first_difference(self._speed(method, model, batch, record))

    def other_sensitivity(self, model: str, file: Path) -> str | None:
        """Return the same of a model's layers cut one by one."""
        record = _read(file)
        return None if record is None else _first_difference(self._sensitivity(model, record))

    def _parse(self, method: str) -> dict[str, Any]:
        chosen = find_method(split_variant(method)[0])
        parameters = chosen.parse(self.profile.settings_of(method).parameters)
        content: dict[str, Any] = json.loads(json.dumps(parameters.model_dump()))
        return content

    def _computed(self, record: dict[str, Any]) -> Iterator[Pair]:
        yield "device", record.get("device", self._device), self._device
        yield "threads", record.get("threads", self.profile.threads), self.profile.threads

    def _drawn(self, recorded: dict[str, Any], asked: CalibrationConfig) -> Iterator[Pair]:
        for key in ("dataset", "sequences", "length"):
            yield f"calibration {key}", recorded[key], getattr(asked, key)

    def _pruning(self, name: str, model: str, made: dict[str, Any]) -> Iterator[Pair]:
        method = find_method(split_variant(name)[0])
        yield "model_hash", made["model_hash"], self.revisions.get(model, made["model_hash"])
        yield "method_version", made["method_version"], method.version
        yield "parameters", made["parameters"], self._parameters(name)
        yield "dtype", made["dtype"], self.profile.dtype
        yield from self._computed(made)
        if method.needs_calibration:
            yield from self._drawn(made["calibration"], self.profile.calibration_of(name))

    def _training(self, cell: Cell, made: dict[str, Any]) -> Iterator[Pair]:
        chosen, conditions = self.profile.recovery(cell.recovery), made["conditions"]
        yield "preset", conditions["preset"], chosen.recipe.model_dump(mode="json")
        if "model_hash" not in conditions:
            return  # a failure that was handed on
        hash_ = conditions["model_hash"]
        yield "model_hash", hash_, self.revisions.get(cell.model, hash_)
        yield "method_version", conditions["method_version"], chosen.method.version
        yield "data", conditions["data"]["name"], chosen.data
        target = chosen.outcome.describe() if chosen.outcome else None
        yield "target", conditions["target"], target
        yield from self._computed(conditions)
        launch = self.profile.training.launch
        if launch is None or (self.root / launch).is_file():
            asked = None if launch is None else (self.root / launch).read_text()
            yield "launch", conditions.get("launch", asked), asked
        if chosen.method.needs_calibration:
            yield from self._drawn(conditions["calibration"], self.profile.calibration)

    def _evaluation(self, cell: Cell, evaluation: dict[str, Any]) -> Iterator[Pair]:
        chosen, conditions = self.profile.evaluation, evaluation["conditions"]
        yield "suite", evaluation["suite"], chosen.suite
        yield "dtype", conditions["dtype"], self.profile.dtype
        yield "device", conditions["device"].partition(":")[0], self._device
        precision = conditions.get("scorer_precision", "float32")
        yield "scorer_precision", precision, chosen.scorer_precision
        length = conditions["max_length"]
        window = self._window(cell.model) or length
        yield "max_length", length, min(chosen.max_length, window)
        for task, documents in self._documents.items():
            yield f"documents of {task}", evaluation["results"].get(task, {}).get("n"), documents
        yield from self._prompts(conditions["tasks"])
        if text := load_suite(chosen.suite).perplexity:
            found = {name for name in evaluation["results"][text.task] if name.startswith(METRIC)}
            lengths = chosen.lengths_within(length)
            yield "token perplexities", found, {f"{METRIC}{length}" for length in lengths}
        bits = chosen.bits_of(cell)
        yield "rounded to", evaluation.get("rounding", {}).get("bits", []), bits

    def _rows(self, results: pd.DataFrame) -> Iterator[Pair]:
        for _, row in results.drop_duplicates([*_OF_METHOD, "model"]).iterrows():
            yield from self._row(join_variant(row["method"], row["variant"]), row)
        ok, chosen = results[results["status"] == "ok"], self.profile.evaluation
        yield "suite", set(ok["suite"]), {chosen.suite}
        yield "dtype", set(ok["dtype"]), {self.profile.dtype}
        yield "device", set(ok["device"]), {self._device}
        stock = {"stock precision" in scorer for scorer in ok["scorer"]}
        yield "stock precision of the scorer", stock, {chosen.scorer_precision == "stock"}
        text = load_suite(chosen.suite).perplexity
        for (model, shown), rows in ok.groupby(["model", "max_length"]):
            length = int(shown)
            yield "max_length", length, min(chosen.max_length, self._window(model) or length)
            if text:
                metrics = set(rows.loc[rows["task"] == text.task, "metric"])
                found = {metric for metric in metrics if metric.startswith(METRIC)}
                lengths = chosen.lengths_within(length)
                yield "token perplexities", found, {f"{METRIC}{length}" for length in lengths}
        for task, documents in self._documents.items():
            found = set(ok.loc[ok["task"] == task, "n"])
            yield f"documents of {task}", found, {documents}
        tasks = ok.drop_duplicates("task").set_index("task")
        prompts = tasks.rename(columns={"task_version": "version"})[["num_fewshot", "version"]]
        yield from self._prompts(prompts.to_dict("index"))

    def _row(self, name: str, row: pd.Series) -> Iterator[Pair]:
        """Compare what a stored row says of its method."""
        method, parameters = find_method(split_variant(name)[0]), row["method_parameters"]
        hash_ = row["model_hash"]
        yield f"model_hash of {row['model']}", hash_, self.revisions.get(row["model"], hash_)
        yield f"method_version of {name}", row["method_version"], method.version
        yield f"parameters of {name}", json.loads(parameters), self._parameters(name)
        if method.needs_calibration:
            drawn = self.profile.calibration_of(name)
            asked = f"{drawn.dataset} {drawn.sequences}x{drawn.length}"
            yield f"calibration of {name}", row["calibration"], asked

    def _prompts(self, tasks: dict[str, Any]) -> Iterator[Pair]:
        """Compare what the suite fixes of its tasks; a small subset may lack some of them."""
        for benchmark in load_suite(self.profile.evaluation.suite).benchmarks:
            for name, member in benchmark.tasks().items():
                asked = {"num_fewshot": benchmark.shots, "version": member.version}
                for key, value in asked.items():
                    if value is not None and name in tasks:
                        yield f"{key} of {name}", str(tasks[name][key]), str(value)

    def _speed(self, method: str, model: str, batch: int, record: dict[str, Any]) -> Iterator[Pair]:
        asked = self.profile.speed.model_dump() | {"batch": batch}
        yield "workload", record["workload"], asked
        yield from self._computed(record)
        yield from self._pruning(method, model, record["pruning"])

    def _sensitivity(self, model: str, record: dict[str, Any]) -> Iterator[Pair]:
        yield "model_hash", record["model_hash"], self.revisions.get(model, record["model_hash"])
        chosen, text = self.profile.evaluation, record["text"]
        yield "suite", text["suite"], chosen.suite
        documents = chosen.perplexity_documents
        yield "documents", text.get("documents", documents), documents
        yield "dtype", record["dtype"], self.profile.dtype
        yield from self._computed(record)
        yield from self._drawn(record["calibration"], self.profile.calibration)
        first = self.profile.seeds[0]
        yield "seed", record["calibration"].get("seed", first), first


def _window(model: str) -> int | None:
    """Return the window that a model states; None where it is silent or not there yet."""
    try:
        return stated_window(known_config(model)[0])
    except UserError:
        return None


def _documents(chosen: EvaluationConfig) -> dict[str, int]:
    """Return how many documents of each benchmark are evaluated."""
    suite = load_suite(chosen.suite)
    counts = [(task.task, chosen.documents_per_task, task.documents) for task in suite.tasks]
    if text := suite.perplexity:
        counts.append((text.task, chosen.perplexity_documents, text.documents))
    return {task: min(count or available, available) for task, count, available in counts}


def _first_difference(pairs: Iterator[Pair]) -> str | None:
    """Return in what a record differs from what is asked for."""
    try:
        for name, recorded, asked in pairs:
            if recorded != asked:
                return f"{name} {recorded!r}, not {asked!r}"
    except (KeyError, TypeError, AttributeError):  # of another schema, for `collect` to refuse
        pass
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
