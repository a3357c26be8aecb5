"""What a command may write over: what the suite itself wrote, and no input of the command.

A folder is replaced where it is empty, or where it is a result that is still as it was written: its
manifest lists every file in it, and it has a record of how its model came about. A file is replaced
where it is empty, or of the kind that the command writes. All else is refused before any work.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from adaptprune.commands import written
from adaptprune.errors import UserError
from adaptprune.files.atomic import MANIFEST, foreign_files, read_json, writing
from adaptprune.files.manifest import records, verify_folder
from adaptprune.models.catalogue import folder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    #: Says whether a file is one of those that a command writes.
    Kind = Callable[[Path], bool]
    #: A file to be written, and its kind.
    Written = tuple[Path, Kind]

#: What a recovery keeps in its run folder.
_RUN = ("settings.json", "rows", "checkpoints", "models", "log.jsonl", "failure.json")
_ELSEWHERE = "give a path where nothing lies, or move it away"


def json_with(*keys: str) -> Kind:
    """Return the kind of a JSON file that holds a mapping with these keys."""

    def is_kind(path: Path) -> bool:
        try:
            content = read_json(path)
        except UserError:
            return False
        return isinstance(content, dict) and content.keys() >= set(keys)

    return is_kind


def beginning(*beginnings: str) -> Kind:
    """Return the kind of a file that begins with one of these texts."""
    wanted = tuple(text.encode() for text in beginnings)

    def is_kind(path: Path) -> bool:
        with path.open("rb") as stream:
            return stream.read(max(map(len, wanted))).startswith(wanted)

    return is_kind


def holding(text: str) -> Kind:
    """Return the kind of a file that holds a text."""
    return lambda path: text.encode() in path.read_bytes()


def parquet_with(*columns: str) -> Kind:
    """Return the kind of a parquet file with these columns, among others."""

    def is_kind(path: Path) -> bool:
        import pyarrow.parquet

        try:
            return set(pyarrow.parquet.read_schema(path).names) >= set(columns)
        except (OSError, ValueError):  # pyarrow's own errors are of both
            return False

    return is_kind


def is_score_file(path: Path) -> bool:
    """Say whether a file holds scores: safetensors with this suite's metadata."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as stream:
            return "adaptprune" in (stream.metadata() or {})
    except (OSError, SafetensorError):
        return False


def is_seal(path: Path) -> bool:
    """Say whether a file holds one sha256, as ``sha256sum`` writes it."""
    return bool(re.match(rb"[0-9a-f]{64}  \S", path.read_bytes()))


def is_version_record(path: Path) -> bool:
    """Say whether a file maps methods to versions to cells, as a stored matrix records them."""
    return json_with()(path) and all(isinstance(of, dict) for of in read_json(path).values())


def sibling(path: Path, name: str) -> Path:
    """Return the path of another file beside one that is to be written.

    Raises:
        UserError: the path has no name of its own, as ``.`` has none.
    """
    if not path.name:
        raise UserError(f"{path}: is a folder, a file is to be written there")
    return path.with_name(name)


def results_files(results: Path) -> list[Written]:
    """Return a results file with its seal."""
    return [(results, RESULTS), (sibling(results, f"{results.name}.sha256"), is_seal)]


def matrix_files(results: Path) -> list[Written]:
    """Return the files of a stored matrix."""
    companions = {
        "provenance.csv": PROVENANCE,
        "documents.parquet": DOCUMENTS,
        "versions.json": is_version_record,
        "speed.csv": SPEEDS,
    }
    beside = [(sibling(results, f"{results.stem}.{n}"), kind) for n, kind in companions.items()]
    return [*results_files(results), *beside]


RESULTS = beginning("profile,model,model_revision,method,")
PROVENANCE = beginning("profile,model,method,variant,sparsity,")
SPEEDS = beginning("profile,model,method,variant,sparsity,recovery,seed,measure,")
NOT_RUN = beginning("model,method,variant,sparsity,recovery,seed,status,")
DOCUMENTS = parquet_with("task", "document", "metric", "value")
_LATEX = beginning("% Table ", r"% Needs \usepackage{booktabs}")
_FIGURE = holding("/Creator (adaptprune)")


def table_files(stem: Path, *more: str) -> list[Written]:
    """Return the files of a table, of which the LaTeX one tells whose they are."""
    return _together(stem, (".tex", ".md", ".csv", *more), _LATEX)


def figure_files(stem: Path) -> list[Written]:
    """Return the files of a figure, of which the PDF tells whose they are."""
    return _together(stem, (".pdf", ".png", ".svg", ".csv"), _FIGURE)


def _together(stem: Path, suffixes: tuple[str, ...], kind: Kind) -> list[Written]:
    """Return files that are written together; all are of a kind where the first one is."""
    files = [sibling(stem, stem.name + suffix) for suffix in suffixes]
    return [(file, lambda _: files[0].is_file() and kind(files[0])) for file in files]


def model_inputs(*models: str | None) -> list[Path]:
    """Return the folders that hold models, or would hold them once fetched.

    A folder may hold the record of a failure in a model's place.

    Raises:
        UserError: a model is unknown.
    """
    given = [model for model in models if model is not None]
    places = [(model, Path(os.path.expanduser(model))) for model in given]
    return [place if place.is_dir() else folder_of(model) for model, place in places]


def check_files(files: Sequence[Written], inputs: Iterable[Path | None] = ()) -> None:
    """Refuse files to be written where something lies that a command must not replace.

    Args:
        files: what is written.
        inputs: files and folders that the command reads.

    Raises:
        UserError: names the path, and why.
    """
    places = [os.path.realpath(path) for path, _ in files]
    read = [path for path in inputs if path is not None]
    for (path, kind), place in zip(files, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{path}: two results cannot be written to one file")
        with writing(path, alone=True):
            _check_file(path, kind, read)
    written.note(*(path for path, _ in files))


def _check_file(path: Path, kind: Kind, inputs: list[Path]) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing there, or nothing that can be looked at: writing tells
        weights = path.suffix in (".safetensors", ".bin")
        if weights and any(_same(path.parent, folder) for folder in inputs):
            raise UserError(f"{path}: would lie among the weights of an input") from None
        return
    if stat.S_ISLNK(mode):
        raise UserError(f"{path}: is a link; give the file itself")
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: is a folder, a file is to be written there")
    if not stat.S_ISREG(mode):
        raise UserError(f"{path}: is no regular file")
    if any(_same(path, read) for read in inputs):
        raise UserError(f"{path}: is an input of this command; {_ELSEWHERE}")
    if path.stat().st_size and not kind(path):
        raise UserError(f"{path}: holds something that this command does not write; {_ELSEWHERE}")


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def check_folder_to_write(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse a model folder to be written where something lies that must not be replaced.

    Args:
        output: the folder; a link to one counts as that folder.
        inputs: files and folders that the command reads.

    Raises:
        UserError: names the path, and why.
    """
    with writing(output, alone=True):
        _check_place(output, inputs)
        if output.is_dir() and any(output.iterdir()):
            _check_result(output)
    written.note(output)


def _check_result(output: Path) -> None:
    """Refuse a folder that is no result of this suite, as it was written."""
    if strangers := foreign_files(output):
        raise UserError(
            f"{output}: holds {strangers[0]!r}, which this suite did not write there; {_ELSEWHERE}"
        )
    if not any(records(output)):
        raise UserError(f"{output}: is no result of `prune` or `recover`; {_ELSEWHERE}")
    try:
        verify_folder(output)
    except UserError as error:
        changed = str(error).partition("; ")[0]
        raise UserError(f"{changed}: changed since it was written; {_ELSEWHERE}") from None


def check_run_folder(run: Path, output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse a run folder where something else has the name of what a recovery keeps there.

    Args:
        run: where the state lies.
        output: the folder of the result.
        inputs: files and folders that the command reads.

    Raises:
        UserError: names the path, and why.
    """
    with writing(run, alone=True):
        _check_place(run, [*inputs, output])
        strangers = _strangers_of_run(run) if run.is_dir() else []
    if strangers:
        raise UserError(
            f"{run}: holds {strangers[0]!r}, which is no state of a recovery; {_ELSEWHERE}"
        )


def _strangers_of_run(run: Path) -> list[str]:
    """Return what no recovery wrote of that which it removes at its end.

    Files under other names are left alone.
    """
    strangers = [name for name in _RUN if (run / name).is_symlink()]
    for path in [*run.glob("checkpoints/*"), *run.glob("models/*")]:
        is_ours = path.name.startswith(".") or (path / MANIFEST).is_file()
        if not is_ours or not (path.parent.name == "models" or "stage-" in path.name):
            strangers.append(path.relative_to(run).as_posix())
    if (run / "rows").is_dir():
        strangers += [f"rows/{name}" for name in foreign_files(run / "rows")]
    settings = run / "settings.json"
    if not settings.is_file():  # nothing was begun but the rows
        strangers += [name for name in _RUN[2:] if (run / name).exists()]
    elif not json_with("conditions", "preset", "stages")(settings):
        strangers.append(settings.name)
    return sorted(strangers)


def check_kept_tasks(folder: Path) -> None:
    """Refuse a folder, which an evaluation removes at its end, that holds more than kept tasks.

    Raises:
        UserError: names the path.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        documents = path.with_suffix(".parquet")
        if path.name.startswith("."):
            continue  # half-written
        if path.suffix not in (".json", ".parquet") or not documents.is_file():
            raise UserError(f"{folder}: holds {path.name!r}, which is no kept task; {_ELSEWHERE}")


def _check_place(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse a folder at a place where none can be replaced, or that has to do with an input."""
    place = Path(os.path.realpath(output))
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file, a folder is to be written there")
    for name, kept in (("working", Path.cwd()), ("home", Path(os.path.realpath(Path.home())))):
        if kept.is_relative_to(place):
            raise UserError(f"{output}: is, or holds, the {name} folder; give another one")
    if os.path.ismount(place):
        raise UserError(f"{output}: is where a disk is mounted; give a folder below it")
    for path in inputs:
        if path is None:
            continue
        read = Path(os.path.realpath(path))
        if read.is_relative_to(place):
            raise UserError(f"{output}: is, or holds, {path}, which this command reads")
        if place.is_relative_to(read):
            raise UserError(f"{output}: lies in {path}, which this command reads")


def check_cache_to_fill(folder: Path) -> None:
    """Refuse a folder that is to be filled as a cache, where it is something else.

    Raises:
        UserError: names the path, and why.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, a folder is to be filled")
    if (folder / "config.json").exists():
        raise UserError(f"{folder}: is a model folder; give one for the cache")
    manifest = folder / MANIFEST
    if manifest.exists() and not json_with("files")(manifest):
        raise UserError(f"{manifest}: is no list of fetched files; give another folder")
