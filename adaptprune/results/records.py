"""What the files of a finished cell hold, read strictly: what cannot be trusted is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from adaptprune.cells import NO_RECOVERY, join_variant, possible_slugs, record_name
from adaptprune.errors import UserError, refusal
from adaptprune.files.atomic import read_json, record_hash, unseal

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
CURE = "delete that file and run again"

Status = Literal["ok", "skipped", "failed"]


class Counts(BaseModel):
    """Parameters before and after pruning; the fraction of prunable channels really removed.

    The fraction is None of a model whose layers have no such channels any more. Of a model with
    masks it is that of the zeros in its linear layers; how many weights are not zero, and the
    pattern that they follow, are told of such a model alone.
    """

    params_dense: int
    params: int
    nonzeros: int | None = None
    decoder_params_dense: int
    decoder_params: int
    sparsity_reached: float | None
    pattern: str = ""


class Calibration(BaseModel):
    """The calibration set: settings and the hash of its token ids."""

    dataset: str
    hash: str
    sequences: int
    length: int


class Provenance(BaseModel):
    """What is recorded and never compared.

    A pruning's scores serve several of them. A recovery's seconds of training, and of the work
    between its stages, are those of all its runs, where it was killed and went on.
    """

    wall_s: float | None = None
    cpu_s: float | None = None
    peak_rss_mb: float | None = None
    peak_device_mb: float | None = None
    score_wall_s: float | None = None
    score_peak_rss_mb: float | None = None
    score_peak_device_mb: float | None = None
    train_s: float | None = None
    preparing_s: float | None = None
    host: str | None = None
    cpu: str | None = None
    cores: int | None = None
    memory_mb: float | None = None
    gpu: str | None = None
    date: str | None = None
    commit: str | None = None


class Pruning(BaseModel):
    """``pruning.json``."""

    status: Status
    reason: str | None = None
    model: str
    model_revision: str | None = None
    model_hash: str | None = None
    method: str
    variant: str | None = None
    method_version: int
    parameters: dict[str, Any]
    sparsity: int
    seed: int
    calibration: Calibration | None = None
    counts: Counts | None = None
    dtype: str | None = None
    provenance: Provenance


class TrainingData(BaseModel):
    """What a model was trained on: its name and the hash of its content."""

    name: str
    sha256: str


class TrainingConditions(BaseModel):
    """What decides the outcome of a training, as far as a result row tells it."""

    model: str
    model_hash: str
    preset: dict[str, Any]
    method_version: int
    data: TrainingData
    calibration: Calibration | None = None
    seed: int


class SparseCounts(BaseModel):
    """What is counted of a model trained under masks, and of the adapter beside it."""

    nonzeros: int
    pattern: str
    adapter_parameters: int = 0


class Training(BaseModel):
    """``recovery.json``: of a trained cell, in the place of ``pruning.json``."""

    status: Status
    reason: str | None = None
    conditions: TrainingConditions
    params: int | None = None
    counts: SparseCounts | None = None
    tokens: int | None = None
    teacher_tokens: int | None = None
    flops: float | None = None
    provenance: Provenance


class TaskConditions(BaseModel):
    """What was asked of the model in one task."""

    version: str | int | float | None
    hash: str
    num_fewshot: int | None
    documents_hash: str


class Conditions(BaseModel):
    """How it was asked."""

    dtype: str
    device: str
    max_length: int | None
    scorer: str
    scorer_precision: str = "float32"
    tasks: dict[str, TaskConditions]
    versions: dict[str, str]


class Evaluation(BaseModel):
    """``evaluation.json``."""

    status: Status
    reason: str | None = None
    suite: str
    made: str | None = None
    results: dict[str, dict[str, float | None]] = {}
    conditions: Conditions | None = None
    provenance: Provenance


@dataclass(frozen=True)
class CellFiles:
    """Both files of a cell, and what its folder says that they do not.

    There is no evaluation where pruning or training was skipped or failed.
    """

    recovery: str
    sparsity: int
    made: Pruning | Training
    evaluation: Evaluation | None


Record = TypeVar("Record", bound=BaseModel)


def read_record(path: Path, record: type[Record]) -> Record:
    """Read one file of a cell.

    Raises:
        UserError: it is truncated, altered, of another schema or of another kind.
    """
    return _validated(path, _read_content(path), record)


def _read_content(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {CURE}") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path}: has schema {schema!r}, not {SCHEMA}; {CURE}")
    try:
        return unseal(path, content)
    except UserError as error:
        raise UserError(f"{error}; {CURE}") from None


def _validated(path: Path, content: dict[str, Any], record: type[Record]) -> Record:
    try:
        return record.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {refusal(error)}; {CURE}") from None


def cell_name(cell_dir: Path) -> str:
    """Return ``model/method/sparsity/recovery/seed`` as the folders spell it."""
    return "/".join(cell_dir.parts[-5:])


def read_cell(cell_dir: Path) -> CellFiles | None:
    """Read the files of a cell; None where the cell is not finished.

    Raises:
        UserError: a file is truncated, of another schema, or describes another cell than its
            folder says; or another model was evaluated than the record describes.
    """
    recovery, sparsity = cell_dir.parent.name, cell_dir.parent.parent.name
    path = cell_dir / record_name(recovery)
    if not path.exists():
        return None
    content = _read_content(path)
    made: Pruning | Training
    if recovery == NO_RECOVERY:
        made = _validated(path, content, Pruning)
        model, method, seed = made.model, join_variant(made.method, made.variant), made.seed
        described = f"{method}/{made.sparsity}/{recovery}/s{seed}"
    else:
        made = _validated(path, content, Training)
        model, seed = made.conditions.model, made.conditions.seed
        described = f"{made.conditions.preset.get('method')}/{sparsity}/{recovery}/s{seed}"
    folder_model, _, rest = cell_name(cell_dir).partition("/")
    if folder_model not in possible_slugs(model) or rest != described:
        raise UserError(f"{path}: describes the cell {model}/{described}; {CURE}")
    if made.status != "ok":
        return CellFiles(recovery, int(sparsity), made, None)

    path = cell_dir / "evaluation.json"
    if not path.exists():
        return None
    evaluation = read_record(path, Evaluation)
    asked = set(evaluation.conditions.tasks) if evaluation.conditions else set()
    if evaluation.status == "ok" and not (evaluation.results and asked >= set(evaluation.results)):
        raise UserError(f"{path}: no results, or results without their conditions; {CURE}")
    if evaluation.made != record_hash(content):
        raise UserError(f"{path}: of another model than {record_name(recovery)} describes; {CURE}")
    return CellFiles(recovery, int(sparsity), made, evaluation)
