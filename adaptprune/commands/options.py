"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from adaptprune.errors import UserError
from adaptprune.files.surroundings import expanded

ModelOption = Annotated[str, typer.Option("--model", help="built-in id, local folder or hub id")]
MethodOption = Annotated[
    str | None, typer.Option("--method", help="name or name@variant; that of --method-file")
]
MethodFileOption = Annotated[
    Path | None,
    typer.Option("--method-file", "--file", help="Python file that defines the method"),
]
SparsityOption = Annotated[int, typer.Option("--sparsity", help="percent of prunable channels")]
SeedOption = Annotated[int, typer.Option("--seed", help="of the calibration draw and the method")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="method parameter")
]
CalibrationOption = Annotated[
    str | None, typer.Option("--calibration", help="name of a data set, or FILE.json of token ids")
]
SequencesOption = Annotated[
    int | None, typer.Option("--sequences", min=1, help="sequences drawn by name")
]
LengthOption = Annotated[int | None, typer.Option("--length", min=2, help="tokens of each of them")]
OutputOption = Annotated[Path, typer.Option("--output", help="where the result goes")]
DtypeOption = Annotated[str | None, typer.Option("--dtype", help="of the weights")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads")]
LocalDataOption = Annotated[
    Path | None,
    typer.Option("--local-data", help="folder of data sets that stands for the hub"),
]
RemoteOption = Annotated[
    bool | None, typer.Option("--trust-remote-code", help="run code that lies in the model folder")
]


def print_json(value: Any) -> None:
    """Print a value as JSON to stdout."""
    print(json.dumps(value, allow_nan=False))


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Read ``key=value`` pairs; values are YAML scalars, so numbers are numbers.

    Raises:
        UserError: a pair without ``=``, a key given twice, or a value that is not YAML.
    """
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set {pair}: must read KEY=VALUE")
        if key in settings:
            raise UserError(f"--set {key} is given twice")
        try:
            settings[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError):  # no date, say
            raise UserError(f"--set {pair}: the value is not valid YAML") from None
    return settings


def parse_sparsities(text: str) -> list[int]:
    """Read comma-separated percentages.

    Raises:
        UserError: one is no whole number.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--sparsities {text}: must be whole numbers, as in 20,40") from None


def choose_method(name: str | None, file: Path | None) -> str:
    """Return the method that was asked for by name, by file, or by both.

    Raises:
        UserError: neither was given, the file holds no method, or a method of another name.
    """
    if file is None:
        if name is None:
            raise UserError("give --method NAME or --method-file FILE.py")
        return name
    from adaptprune.cells import split_variant
    from adaptprune.pruning.methodfile import load_method_file

    found = load_method_file(file).name
    if name is not None and split_variant(name)[0] != found:
        raise UserError(f"--method {name}: the method of {file} is called {found!r}")
    return name or found


def named_file(source: str | None, suffix: str) -> Path | None:
    """Return the file that an option names, None where it names something known instead."""
    if source is None:
        return None
    path = expanded(Path(source))
    return path if path.suffix == suffix else None


def check_folder(local_data: Path | None) -> None:
    """Refuse a folder of data sets that does not exist.

    Raises:
        UserError: names it.
    """
    if local_data is not None and not local_data.is_dir():
        raise UserError(f"--local-data {local_data}: no such folder")
