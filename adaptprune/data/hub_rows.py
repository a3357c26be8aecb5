"""The hub's data sets, and a folder that stands for them on machines without network.

A split lies in ``DIR/<data set>/<config or "default">/<split>.parquet`` or ``.jsonl`` and has the
columns of the data set on the hub. Where ``DIR/manifest.json`` lists a file, its sha256 is checked.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import is_as_sealed, read_json, sha256_file
from adaptprune.files.jsonlines import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import datasets

MANIFEST = "manifest.json"
SUFFIXES = (".parquet", ".jsonl")


def split_stem(folder: Path, dataset: str, configuration: str | None, split: str) -> Path:
    """Return where a split lies, without its suffix."""
    return folder / dataset / (configuration or "default") / split


def find_split(stem: Path) -> Path | None:
    """Return the file of a split, None where there is none."""
    candidates = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
    return next((file for file in candidates if file.is_file()), None)


def split_file(
    folder: Path, dataset: str, configuration: str | None, split: str, columns: Sequence[str] = ()
) -> Path:
    """Return the file of a split, checked against the manifest of the folder.

    Args:
        folder: that stands for the hub.
        dataset: the hub's ``owner/name``.
        configuration: of the data set, None for its only one.
        split: the hub's name of the split.
        columns: that will be read, for the message.

    Raises:
        UserError: there is no file, or it is not the one of the manifest.
    """
    stem = split_stem(folder, dataset, configuration, split)
    if (file := find_split(stem)) is not None:
        _verify(folder, file)
        return file
    expected = f" with the columns {', '.join(columns)}" if columns else ""
    raise UserError(f"{stem}.jsonl (or .parquet): no such file; expected the hub's rows{expected}")


def _verify(folder: Path, file: Path) -> None:
    """Refuse a file that its seal or the folder's manifest knows otherwise."""
    if not is_as_sealed(file):
        raise UserError(f"{file}: altered since it was fetched; delete it and run again")
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    name = file.relative_to(folder).as_posix()
    entry = read_json(manifest).get("files", {}).get(name)
    if entry is not None and entry["sha256"] != sha256_file(file):
        raise UserError(f"{file}: altered since {manifest} was written (its sha256 does not fit)")


def read_split(
    folder: Path,
    dataset: str,
    configuration: str | None,
    split: str,
    columns: Sequence[str],
    limit: int | None = None,
) -> datasets.Dataset:
    """Return the rows of a split.

    Args:
        folder: that stands for the hub.
        dataset: the hub's ``owner/name``.
        configuration: of the data set, None for its only one.
        split: the hub's name of the split.
        columns: that must be there, in every row; ``a.b`` for b inside a.
        limit: the first rows only.

    Raises:
        UserError: the file is absent, altered, unreadable or empty, or lacks a column.
    """
    file = split_file(folder, dataset, configuration, split, columns)
    rows = _checked_rows(file, columns, limit)
    for column in columns:
        values = rows.data.column(column.partition(".")[0])
        if values.null_count:
            row = values.is_null().index(True).as_py()
            raise UserError(f"{file}: row {row + 1} has no {column.partition('.')[0]!r}")
    return rows


def check_columns(features: Any, columns: Sequence[str], place: str) -> None:
    """Refuse a table without the columns that will be read.

    Args:
        features: the ``datasets.Features`` of the table.
        columns: that must be there; ``a.b`` for b inside a.
        place: the table's name, for the message.

    Raises:
        UserError: names the column and what is there.
    """
    for column in columns:
        found: Any = features
        for part in column.split("."):
            found = getattr(found, "feature", found)  # a list: what its items have
            if not isinstance(found, dict) or part not in found:
                raise UserError(
                    f"{place}: no column {column!r} (has {', '.join(features)}; expected "
                    f"{', '.join(columns)})"
                )
            found = found[part]


def check_split(
    folder: Path, dataset: str, configuration: str | None, split: str, columns: Sequence[str]
) -> Path:
    """Return the file of a split after a look at its first row.

    Args:
        folder: that stands for the hub.
        dataset: the hub's ``owner/name``.
        configuration: of the data set, None for its only one.
        split: the hub's name of the split.
        columns: that must be there; ``a.b`` for b inside a.

    Raises:
        UserError: the file is absent, altered, unreadable or empty, or lacks a column.
    """
    file = split_file(folder, dataset, configuration, split, columns)
    _checked_rows(file, columns, limit=1)
    return file


def _checked_rows(file: Path, columns: Sequence[str], limit: int | None) -> datasets.Dataset:
    """Return rows of a split's file, of which there are some and which have the columns."""
    rows = _read(file, limit)
    if len(rows) == 0:
        raise UserError(f"{file}: holds no rows")
    check_columns(rows.features, columns, str(file))
    return rows


def iterate_rows(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a split's file one by one, few of which are in memory at a time.

    Args:
        file: see ``check_split``.
        columns: that are read; of ``a.b`` all of a.

    Returns:
        The number of each row, of JSON lines that of its line, and the row.

    Raises:
        UserError: a row cannot be read.
    """
    if file.suffix == ".jsonl":
        yield from read_rows(file)
        return
    import pyarrow.parquet

    names = list(dict.fromkeys(column.partition(".")[0] for column in columns))
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(columns=names, batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: cannot be read after row {number} ({reason})") from None


def _read(file: Path, limit: int | None) -> datasets.Dataset:
    import datasets
    import pyarrow

    try:
        if file.suffix == ".jsonl":
            rows = (row for _, row in islice(read_rows(file), limit))
            return datasets.Dataset.from_list(list(rows))
        import pyarrow.parquet

        if limit is None:
            return datasets.Dataset(pyarrow.parquet.read_table(file))
        first: list[Any] = []
        with pyarrow.parquet.ParquetFile(file) as table:
            batches = table.iter_batches(batch_size=min(limit, 1000))
            while sum(map(len, first)) < limit and (batch := next(batches, None)) is not None:
                first.append(batch)
            found = pyarrow.Table.from_batches(first, table.schema_arrow)
        return datasets.Dataset(found.slice(0, limit))
    except (pyarrow.ArrowException, ValueError, TypeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a table of the hub's rows ({reason})") from None
