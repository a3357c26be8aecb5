"""Finding lm-eval tasks by name without paying for lm-eval's index of ten thousand files.

lm-eval reads every task file when it starts, some ten seconds. Tasks of our own folder are found
by reading that folder alone. For lm-eval's own names an index is kept in the cache folder, made
once per lm-eval version: tasks with their file, groups and tags with their tasks.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adaptprune.data.hub_splits import hub_folder
from adaptprune.errors import UserError, unknown
from adaptprune.evaluation.benchmarks import hub_columns
from adaptprune.evaluation.hubtasks import fetch_splits, hub_source, read_locally
from adaptprune.files.atomic import cache_directory, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lm_eval.api.task import Task

#: The folder of this suite's own task files.
TASK_FOLDER = Path(__file__).parents[1] / "evaluate" / "tasks"
GROUP_KEYS = {
    *("group", "group_alias", "task", "task_alias"),
    *("aggregate_metric_list", "metadata", "tag"),
}


class _Loader(yaml.SafeLoader):
    """Reads task files without running the Python functions that they name."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _local_tasks(include_path: Path | None) -> dict[str, str]:
    """Return the tasks of a folder: name to absolute path of its file."""
    tasks = {}
    for file in sorted(include_path.rglob("*.yaml")) if include_path else []:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
        except (yaml.YAMLError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{file}: not a task file ({reason})") from None
        if isinstance(content, dict) and isinstance(content.get("task"), str):
            tasks[content["task"]] = str(file.resolve())
    return tasks


def _stock_folder() -> Path:
    package = find_spec("lm_eval")
    if package is None or package.origin is None:
        raise UserError("lm-eval is not installed")
    return Path(package.origin).parent / "tasks"


@functools.cache
def _stock_names() -> dict[str, Any]:
    """Return lm-eval's own names: a task's file, or how a group or tag is made up.

    The latter is a mapping with ``members`` (None where the group changes its tasks in place) and
    ``pooled`` (whether lm-eval averages the group over all documents of its tasks).
    """
    listing = cache_directory() / f"lm-eval-{version('lm-eval')}-index.json"
    if listing.is_file():
        names: dict[str, Any] = read_json(listing)
        return names
    from lm_eval.tasks import TaskManager

    folder = _stock_folder()
    index = TaskManager().task_index
    names = {
        name: entry.yaml_path.relative_to(folder).as_posix()
        if entry.kind.name in ("TASK", "PY_TASK") and entry.yaml_path
        else {"members": _leaves(name, index), "pooled": _is_pooled(entry)}
        for name, entry in sorted(index.items())
    }
    write_json(listing, names)
    return names


def _leaves(name: str, index: dict[str, Any]) -> list[str] | None:
    """Return the tasks of a group or tag, or None where the group changes its tasks in place."""
    entry = index.get(name)
    if entry is None:
        return None
    if entry.kind.name in ("TASK", "PY_TASK"):
        return [name]
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    return _leaves_of_group(entry.cfg, index)


def _leaves_of_group(group: dict[str, Any], index: dict[str, Any]) -> list[str] | None:
    """Return the tasks of a group by its content, which may hold groups without a file."""
    if not set(group) <= GROUP_KEYS:  # anything else would be laid over its tasks
        return None
    children = group["task"] if isinstance(group["task"], list) else [group["task"]]
    found: list[str] = []
    for child in children:
        inner = isinstance(child, dict) and "task" in child
        below = _leaves_of_group(child, index) if inner else _leaves(str(child), index)
        if below is None:
            return None
        found += [task for task in below if task not in found]
    return found


def _is_pooled(entry: Any) -> bool:
    metrics = (entry.cfg or {}).get("aggregate_metric_list") or []
    metrics = metrics if isinstance(metrics, list) else [metrics]
    return bool(metrics) and all(metric.get("weight_by_size", True) for metric in metrics)


def check_tasks(names: Iterable[str], include_path: Path | None) -> None:
    """Refuse names that are neither a task of the folder nor lm-eval's; quick, without torch.

    Args:
        names: of tasks, groups or tags.
        include_path: folder of our own task files.

    Raises:
        UserError: a name is unknown or given twice, or there is none.
    """
    wanted = list(names)
    if not wanted:
        raise UserError("no task to evaluate")
    if twice := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise UserError(f"task {twice[0]!r} is given twice")
    local = _local_tasks(include_path)
    for name in wanted:
        if name not in local and name not in (stock := _stock_names()):
            error = unknown("task", name, [*local, *stock])
            # Fourteen thousand names help nobody: keep the hint, drop the list.
            raise UserError(f"{str(error).split(' (allowed:')[0]} (see lm-eval's list of tasks)")


@dataclass(frozen=True)
class Members:
    """The tasks behind a name.

    Attributes:
        tasks: a single one where the name is that of a task.
        pooled: whether the name stands for a number of its own, the mean over all documents.
    """

    tasks: list[str]
    pooled: bool


def members_of(name: str, include_path: Path | None) -> Members:
    """Return the tasks behind a name that `check_tasks` accepts.

    Raises:
        UserError: a group that is more than a list of tasks.
    """
    if name in _local_tasks(include_path) or isinstance(_stock_names()[name], str):
        return Members([name], pooled=False)
    entry = _stock_names()[name]
    if not entry["members"]:
        raise UserError(f"group {name!r} changes its tasks in place; name its tasks one by one")
    return Members(entry["members"], entry["pooled"])


def task_config(name: str, include_path: Path | None = None) -> dict[str, Any]:
    """Return the content of a task's file with all that it includes.

    The functions that the file names are imported.

    Args:
        name: of a task, as `check_tasks` accepts it.
        include_path: folder of our own task files.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    local = _local_tasks(include_path)
    file = local[name] if name in local else _stock_folder() / _stock_names()[name]
    config: dict[str, Any] = load_yaml(file)
    return config


@functools.cache
def _manager() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False)


def load_task(
    name: str,
    include_path: Path | None,
    *,
    num_fewshot: int | None = None,
    local_data: Path | None = None,
) -> Task:
    """Build an lm-eval task with its documents.

    Args:
        name: of a task, as `check_tasks` accepts it.
        include_path: folder of our own task files.
        num_fewshot: examples in the prompt; None for what the task file says, else none.
        local_data: folder that stands for the hub, see `hubdata`; None for the one in the cache,
            into which what is absent is fetched.

    Raises:
        UserError: the task's file is wrong, or its data cannot be had.
    """
    try:
        config = task_config(name, include_path)
    except (OSError, ImportError, AttributeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"task {name!r}: its file cannot be used: {reason}") from error
    _check_metrics(name, config)
    if num_fewshot is not None:
        config["num_fewshot"] = num_fewshot
    if config.get("num_fewshot") is None:
        config["num_fewshot"] = 0
    source, columns = hub_source(config), hub_columns().get(name, ())
    if source is not None:
        if local_data is None:
            fetch_splits(source, hub_folder(), columns)
        config |= read_locally(config, local_data or hub_folder(), columns)
    try:
        loaded: dict[str, Task] = _manager().load([config])["tasks"]
    except UserError:
        raise
    # `datasets` raises its own classes for data it cannot get or read, and a task anything when it
    # builds its first prompt from rows of another shape.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"task {name!r}: its data cannot be loaded: {reason}") from error
    return next(iter(loaded.values()))


def _check_metrics(name: str, config: dict[str, Any]) -> None:
    """Refuse metrics that lm-eval does not have: it would fetch code for them and run it.

    Raises:
        UserError: names the metric, or the list where it is none.
    """
    import lm_eval.api.metrics  # noqa: F401 - fills the registry
    from lm_eval.api.registry import metric_registry

    if config.get("process_results") is not None:
        return  # the task's own function computes them
    listed = config.get("metric_list") or []
    if not (isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed)):
        raise UserError(f"task {name!r}: metric_list must be a list of mappings")
    for entry in listed:
        metric = entry.get("metric")
        if isinstance(metric, str) and (entry.get("hf_evaluate") or metric not in metric_registry):
            raise UserError(f"task {name!r}: metric {metric!r} is none of lm-eval's own")


def check_size(name: str, available: int, expected: int) -> None:
    """Refuse a task without exactly the documents of its full set.

    Raises:
        UserError: says how many there are and how many there must be.
    """
    if available != expected:
        raise UserError(
            f"task {name}: has {available} documents, its full set has {expected}; the data are "
            "incomplete or of another version"
        )
