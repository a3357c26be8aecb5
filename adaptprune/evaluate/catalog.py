"""Finding lm-eval tasks by name without paying for lm-eval's index of ten thousand files.

lm-eval reads every task file when it starts, some ten seconds. Tasks of our own folder are found
by reading that folder alone. For lm-eval's own tasks a list of names and files is kept in the
cache folder, made once per lm-eval version; lm-eval's whole index is read again only for groups,
whose members are looked up by name.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adaptprune.errors import UserError, unknown
from adaptprune.files import cache_directory, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lm_eval.api.group import Group
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager


class _Loader(yaml.SafeLoader):
    """Reads task files without running the Python functions that they name."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def _local_tasks(include_path: Path | None) -> dict[str, str]:
    """Return the tasks of a folder: name to absolute path of its file."""
    tasks = {}
    for file in sorted(include_path.rglob("*.yaml")) if include_path else []:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
        except yaml.YAMLError as error:
            raise UserError(f"{file}: not a task file ({error})") from None
        if isinstance(content, dict) and isinstance(content.get("task"), str):
            tasks[content["task"]] = str(file.resolve())
    return tasks


def _stock_folder() -> Path:
    package = find_spec("lm_eval")
    if package is None or package.origin is None:
        raise UserError("lm-eval is not installed")
    return Path(package.origin).parent / "tasks"


@functools.cache
def _stock_tasks() -> dict[str, str | None]:
    """Return lm-eval's own names: tasks to their file in its folder, groups and tags to None."""
    listing = cache_directory() / f"lm-eval-{version('lm-eval')}-tasks.json"
    if listing.is_file():
        names: dict[str, str | None] = read_json(listing)
        return names
    from lm_eval.tasks import TaskManager

    folder = _stock_folder()
    index = TaskManager().task_index
    names = {
        name: entry.yaml_path.relative_to(folder).as_posix()
        if entry.kind.name == "TASK" and entry.yaml_path
        else None
        for name, entry in sorted(index.items())
    }
    write_json(listing, names)
    return names


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
        if name not in local and name not in (stock := _stock_tasks()):
            error = unknown("task", name, [*local, *stock])
            # Fourteen thousand names help nobody: keep the hint, drop the list.
            raise UserError(f"{str(error).split(' (allowed:')[0]} (see lm-eval's list of tasks)")


@functools.cache
def _manager(include_path: Path | None, local_data: str | None, everything: bool) -> TaskManager:
    from lm_eval.tasks import TaskManager

    return TaskManager(
        include_path=include_path,
        include_defaults=everything,
        metadata={"local_data": local_data} if local_data else None,
    )


def load_task(
    name: str, include_path: Path | None, local_data: Path | None = None
) -> Task | Group | list[Task]:
    """Build an lm-eval task with its documents; a group or a list of tasks for such names.

    Args:
        name: as `check_tasks` accepts it.
        include_path: folder of our own task files.
        local_data: folder of documents, handed to tasks that read local files.

    Raises:
        UserError: the task's data cannot be had.
    """
    data = str(local_data) if local_data else None
    spec = name
    everything = False
    if name not in _local_tasks(include_path):
        file = _stock_tasks()[name]
        everything = file is None
        spec = str(_stock_folder() / file) if file else name
    manager = _manager(include_path, data, everything)
    try:
        loaded: dict[str, Any] = dict(manager.load([spec]))
    except (OSError, ValueError) as error:  # what `datasets` raises for data it cannot get
        raise UserError(f"task {name!r}: its data cannot be loaded: {error}") from error
    whole = loaded["tasks"].get(name) or loaded["groups"].get(name)
    return whole or list(loaded["tasks"].values())
