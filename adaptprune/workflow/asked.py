"""Whether a finished cell is what a profile asks for, by its own records. Torch-free."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from adaptprune.cells import NO_RECOVERY, record_name, split_variant
from adaptprune.evaluation.suites import load_suite
from adaptprune.models.catalogue import find_entry
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from adaptprune.cells import Cell
    from adaptprune.workflow.profiles import EvaluationConfig, Profile

#: What was recorded, what is asked for, and its name.
Pair = tuple[str, Any, Any]


class Asked:
    """What a profile asks of its cells.

    Args:
        profile: with the overrides of the command line.
        revisions: hash of every model, as far as it is known, by id.
    """

    def __init__(self, profile: Profile, revisions: dict[str, str]):
        self.profile = profile
        self.revisions = revisions
        self._parameters = functools.cache(self._parse)
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
            pairs = self._pruning if cell.recovery == NO_RECOVERY else self._training
            if differing := _first_difference(pairs(cell, made)):
                found[name] = differing
        if evaluation is None or evaluation.get("status") != "ok":
            return found
        if differing := _first_difference(self._evaluation(cell, evaluation)):
            found["evaluation.json"] = differing
        return found

    def _parse(self, method: str) -> dict[str, Any]:
        chosen = find_method(split_variant(method)[0])
        parameters = chosen.parse(self.profile.settings_of(method).parameters)
        content: dict[str, Any] = json.loads(json.dumps(parameters.model_dump()))
        return content

    def _pruning(self, cell: Cell, made: dict[str, Any]) -> Iterator[Pair]:
        method = find_method(split_variant(cell.method)[0])
        yield "model_hash", made["model_hash"], self.revisions.get(cell.model, made["model_hash"])
        yield "method_version", made["method_version"], method.version
        yield "parameters", made["parameters"], self._parameters(cell.method)
        yield "dtype", made["dtype"], self.profile.dtype
        if method.needs_calibration:
            drawn = self.profile.calibration_of(cell.method)
            for key in ("dataset", "sequences", "length"):
                yield f"calibration {key}", made["calibration"][key], getattr(drawn, key)

    def _training(self, cell: Cell, made: dict[str, Any]) -> Iterator[Pair]:
        chosen, conditions = self.profile.recovery(cell.recovery), made["conditions"]
        yield "preset", conditions["preset"], chosen.recipe.model_dump(mode="json")
        if "model_hash" in conditions:  # none of a failure that was handed on
            hash_ = conditions["model_hash"]
            yield "model_hash", hash_, self.revisions.get(cell.model, hash_)
            yield "method_version", conditions["method_version"], chosen.method.version
            yield "data", conditions["data"]["name"], chosen.data

    def _evaluation(self, cell: Cell, evaluation: dict[str, Any]) -> Iterator[Pair]:
        chosen, conditions = self.profile.evaluation, evaluation["conditions"]
        yield "suite", evaluation["suite"], chosen.suite
        yield "dtype", conditions["dtype"], self.profile.dtype
        yield "device", conditions["device"].split(":")[0], self.profile.device.split(":")[0]
        precision = conditions.get("scorer_precision", "float32")
        yield "scorer_precision", precision, chosen.scorer_precision
        entry, length = find_entry(cell.model), conditions["max_length"]
        window = entry.window if entry else length
        yield "max_length", length, min(chosen.max_length, window or chosen.max_length)
        for task, documents in self._documents.items():
            yield f"documents of {task}", evaluation["results"].get(task, {}).get("n"), documents


def lacks_sparsities(scores: Path, sparsities: Sequence[int]) -> bool:
    """Say whether a score file says of itself that it serves other sparsities."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(scores, "np") as stream:
            served = json.loads(stream.metadata()["adaptprune"]).get("sparsities", sparsities)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return False  # absent, or for `prune` to refuse
    return not set(sparsities) <= set(served)


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
