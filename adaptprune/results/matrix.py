"""Stored matrices: the results of a finished profile in a few files that can be committed.

``NAME.csv`` with its seal holds the results, ``NAME.provenance.csv`` what they cost,
``NAME.documents.parquet`` the score of every document, and ``NAME.versions.json`` a hash of every
cell's numbers by method and version, so that none changes while its method stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from adaptprune.cells import Cell
from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_file, is_as_sealed, read_json, sha256_json, write_json
from adaptprune.results.conditions import OF_METHOD, SOURCE, check_comparable, describe_cell
from adaptprune.results.records import cell_name
from adaptprune.results.rows import (
    CELL,
    KEYS,
    PROVENANCE_KEYS,
    Collected,
    collect,
    label_of,
    missing_cells,
    read_provenance,
    read_results,
    write_results,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


#: The score of a document, and with whose it is.
_SCORES = ["task", "document", "document_hash", "metric", "value"]
DOCUMENTS = [*CELL, *_SCORES]
#: What lies together is alike: the scores of one document by all methods.
_DOCUMENT_ORDER = ["task", "metric", "document", *CELL]
#: The columns that a cell's hash covers: what was measured, and how large the model became. Where
#: there are masks, what they leave belongs to it.
_MEASURED = ["task", "metric", "value", "stderr", "n", "params", "decoder_params", "status"]
#: Perplexities by the part that they are counted per.
_PERPLEXITIES = {"word_perplexity": "words", "byte_perplexity": "bytes"}

#: Method (with variant) → version → cell → hash of its numbers.
Versions = dict[str, dict[str, dict[str, str]]]


class Matrix(NamedTuple):
    """A results file with what lies beside it; every frame has the columns ``CELL``."""

    results: pd.DataFrame
    provenance: pd.DataFrame
    documents: pd.DataFrame


def beside(results_csv: Path, kind: str) -> Path:
    """Return the path of a companion: ``offline.csv`` → ``offline.<kind>``."""
    return results_csv.with_name(f"{results_csv.stem}.{kind}")


def is_stored(results_csv: Path) -> bool:
    """Say whether results are a stored matrix, not those of a run."""
    return beside(results_csv, "versions.json").is_file()


def said_of_stored(results_csv: Path) -> str:
    """Return what a caption says of results that are a stored matrix."""
    return f"From the stored {results_csv.parent.name}/{results_csv.name}; nothing was computed."


def provenance_file(results_csv: Path) -> Path:
    """Return where it lies what results cost: those of a run, or of a stored matrix."""
    of_run = results_csv.with_name(results_csv.name.replace("results", "provenance", 1))
    if of_run != results_csv and of_run.is_file():
        return of_run
    return beside(results_csv, "provenance.csv")


def _read_documents(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)[columns]
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{path}: not the scores of documents ({error})") from None


def _sorted(frames: list[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True).sort_values(keys, ignore_index=True)


def _cell_documents(results: pd.DataFrame, cell_dirs: Sequence[Path]) -> pd.DataFrame:
    """Gather the per-document scores of the cells, which ``results`` describes, in one frame."""
    folders = {cell_name(folder): folder for folder in cell_dirs}
    frames = []
    for key, rows in results[results["status"] == "ok"].groupby(CELL):
        cell = dict(zip(CELL, key, strict=True))
        path = folders[cell_of(rows.iloc[0]).key] / "documents.parquet"
        if not path.is_file():
            raise UserError(f"{path}: no such file; delete the cell's evaluation.json, run again")
        frames.append(_read_documents(path, _SCORES).assign(**cell))
    if not frames:
        return pd.DataFrame(columns=DOCUMENTS)
    return _sorted(frames, _DOCUMENT_ORDER)[DOCUMENTS]


def cell_of(row: pd.Series) -> Cell:
    """Return the cell that a row belongs to."""
    sparsity, seed = int(row["sparsity"]), int(row["seed"])
    return Cell(row["model"], label_of(row), sparsity, row["recovery"], seed)


def check_documents(results: pd.DataFrame, documents: pd.DataFrame, source: Path) -> None:
    """Refuse documents whose means are not the results that they are said to belong to.

    Groups of tasks are left out: their documents stand under their members.

    Raises:
        UserError: naming the first cell that has no documents or another mean.
    """
    ok = results[results["status"] == "ok"].astype({"sparsity": "int64", "seed": "int64"})
    if ok.empty:
        return
    by_number = documents.groupby(KEYS)["value"]
    means = by_number.mean().rename("mean")
    sums = by_number.sum().unstack("metric")
    found = [means]
    for metric, part in _PERPLEXITIES.items():
        if {part, "log_likelihood"} <= set(sums):
            perplexity = np.exp(-sums["log_likelihood"] / sums[part]).rename("mean").dropna()
            found.append(perplexity.reset_index().assign(metric=metric).set_index(KEYS)["mean"])
    joined = ok.merge(pd.concat(found).reset_index(), on=KEYS, how="left")
    off = joined[(joined["mean"] - joined["value"]).abs() > 1e-8 * joined["value"].abs() + 1e-9]
    there = joined.groupby(CELL)["mean"].transform("count") > 0
    if not there.all():
        raise UserError(f"{source}: no documents of {describe_cell(joined[~there].iloc[0])}")
    if len(off):
        row = off.iloc[0]
        raise UserError(
            f"{source}: the documents of {describe_cell(row)} give {row['task']} {row['metric']} "
            f"{row['mean']:.10g}, the results say {row['value']:.10g}; store both again"
        )


def fingerprints(results: pd.DataFrame) -> Versions:
    """Return a hash of every cell's numbers, by method and version."""
    versions: Versions = {}
    for _, rows in results.groupby(CELL):
        first = rows.iloc[0]
        measured = [*_MEASURED, "nonzeros"] if first["pattern"] else _MEASURED
        text = rows[measured].to_csv(index=False, float_format="%.10g", lineterminator="\n")
        cells = versions.setdefault(label_of(first), {}).setdefault(
            str(first["method_version"]), {}
        )
        cells[describe_cell(first)] = sha256_json(text)
    return versions


def check_versions(versions: Versions, recorded: Versions, source: Path) -> None:
    """Refuse numbers that changed while their method's version did not.

    Args:
        versions: hashes of the present numbers.
        recorded: hashes that were recorded before.
        source: names the record in the message.

    Raises:
        UserError: naming the method, its version and the cell.
    """
    for method, by_version in versions.items():
        for version, cells in by_version.items():
            known = recorded.get(method, {}).get(version, {})
            for cell, digest in cells.items():
                if known.get(cell, digest) != digest:
                    raise UserError(
                        f"{source}: the numbers of {cell} changed, but {method} still has version "
                        f"{version}; raise the method's version"
                    )


def _recorded(results_csv: Path) -> Versions:
    """Return the hashes that are kept of a stored matrix, if there is one."""
    record = beside(results_csv, "versions.json")
    return read_json(record) if record.is_file() else {}


def _united(recorded: Versions, found: Versions) -> Versions:
    """Return the hashes of both, sorted."""
    united: Versions = {}
    for method in sorted({*recorded, *found}):
        old, new = recorded.get(method, {}), found.get(method, {})
        united[method] = {
            version: dict(sorted({**old.get(version, {}), **new.get(version, {})}.items()))
            for version in sorted({*old, *new})
        }
    return united


def _without(frame: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of cells that ``results`` has no row of."""
    cells = set(results[CELL].itertuples(index=False, name=None))
    return frame[[key not in cells for key in frame[CELL].itertuples(index=False, name=None)]]


def _with_stored(new: Matrix, recorded: Versions, results_csv: Path) -> Matrix:
    """Add the stored cells that this run does not have; refuse to mix conditions."""
    if not results_csv.is_file():
        return new
    if not is_as_sealed(results_csv):
        # Cut short while it was written: what this run has is guarded by the hashes.
        here = set(new.results.apply(describe_cell, axis=1))
        known = {
            cell for versions in recorded.values() for cells in versions.values() for cell in cells
        }
        if known <= here:
            return new
    stored = read_matrix(results_csv)
    kept = Matrix(*(_without(frame, new.results) for frame in stored))
    run = new.results.assign(**{SOURCE: "this run"})
    try:
        # What is replaced may be of another version of its method; what stays may not.
        for rows, apart_from in ((stored.results, OF_METHOD), (kept.results, ())):
            there = rows.assign(**{SOURCE: results_csv.name})
            check_comparable(pd.concat([there, run]), apart_from)
    except UserError as error:
        anew = f"delete {results_csv.with_suffix('.*')} to begin anew"
        raise UserError(f"{error}, or {anew}") from None
    return Matrix(
        _sorted([kept.results, new.results], KEYS),
        _sorted([kept.provenance, new.provenance], PROVENANCE_KEYS),
        _sorted([kept.documents, new.documents], _DOCUMENT_ORDER),
    )


def store_cells(cell_dirs: Sequence[Path], profile: str, results_csv: Path) -> Matrix:
    """Write finished cells as a stored matrix, or add them to one, which grows but does not change.

    Files appear one by one and whole, the results and their seal last: a matrix that was cut short
    is refused when it is read, and mended by storing it again.

    Args:
        cell_dirs: the cells' folders.
        profile: name of their profile.
        results_csv: the file of results; its companions are named after it.

    Raises:
        UserError: a cell is not finished or cannot be trusted, or a stored matrix holds other
            numbers of the same version, or other conditions.
    """
    missing = missing_cells(cell_dirs)
    if missing:
        raise UserError(
            f"profile {profile}: {len(missing)} of {len(cell_dirs)} cells are not finished "
            f"({missing[0]}); run the workflow first"
        )
    collected = collect(cell_dirs, profile)
    documents = _cell_documents(collected.results, cell_dirs)
    check_documents(collected.results, documents, results_csv)
    recorded, found = _recorded(results_csv), fingerprints(collected.results)
    check_versions(found, recorded, beside(results_csv, "versions.json"))
    matrix = _with_stored(Matrix(*collected, documents), recorded, results_csv)
    with atomic_file(beside(results_csv, "documents.parquet")) as temporary:
        matrix.documents.to_parquet(
            temporary, compression="zstd", compression_level=19, index=False
        )
    write_json(beside(results_csv, "versions.json"), _united(recorded, found))
    collected = Collected(matrix.results, matrix.provenance)
    write_results(collected, results_csv, beside(results_csv, "provenance.csv"))
    return matrix


def read_matrix(results_csv: Path) -> Matrix:
    """Read a stored matrix, or the results of a run with the cells that lie beside them.

    Raises:
        UserError: a file is absent, altered, or does not belong to the results; or their conditions
            are mixed.
    """
    results = read_results(results_csv)
    check_comparable(results)
    path = beside(results_csv, "documents.parquet")
    if path.is_file():
        documents = _read_documents(path, DOCUMENTS)
    elif (results_csv.parent / "cells").is_dir():
        names = sorted({cell_of(row).key for _, row in results.iterrows()})
        folders = [results_csv.parent / "cells" / name for name in names]
        documents = _cell_documents(results, folders)
    else:
        raise UserError(
            f"{path}: no such file; paired tests need the score of every document, which "
            "`adaptprune store` writes"
        )
    check_documents(results, documents, path)
    return Matrix(results, read_provenance(provenance_file(results_csv)), documents)
