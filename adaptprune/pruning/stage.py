"""The stages score and prune of one cell: model and tokens in, a record on disk out."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from adaptprune.cells import slug
from adaptprune.errors import NumericalError, UserError
from adaptprune.files.atomic import atomic_directory, atomic_file, seal, unseal, write_sealed_json
from adaptprune.files.manifest import write_manifest
from adaptprune.machine.provenance import Stopwatch, versions
from adaptprune.models import checkpoint
from adaptprune.models.catalogue import locate, stated_window
from adaptprune.models.causality import check_causal
from adaptprune.plugins import in_one_line
from adaptprune.pruning.guard import check_scores
from adaptprune.pruning.masks import lost_masks
from adaptprune.pruning.method import Context, Scores
from adaptprune.pruning.pruned import prune_loaded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.models.runtime import Runtime
    from adaptprune.pruning.method import Method
    from adaptprune.pruning.pruned import PrunedModel

logger = logging.getLogger(__name__)

SCHEMA = 1


@dataclass(frozen=True)
class Job:
    """One method on one model at one seed.

    Args:
        model: id, folder or hub id.
        method: the method.
        variant: name of the parameter set, or None for the plain method.
        parameters: the method's parsed parameters.
        seed: the cell's seed.
        calibration: token ids, or None for a method that needs none.
        runtime: how to compute.
    """

    model: str
    method: Method
    variant: str | None
    parameters: Any
    seed: int
    calibration: CalibrationSet | None
    runtime: Runtime

    def context(self) -> Context:
        """Put the calibration tokens where the model is."""
        if self.calibration is None or not self.method.needs_calibration:
            return Context(None, self.seed)
        tokens = torch.tensor(self.calibration.tokens, device=self.runtime.device)
        return Context(tokens, self.seed)

    def conditions(self, folder: Path) -> dict[str, Any]:
        """Return what decides the outcome, besides the sparsity; verifies the model folder."""
        return self.conditions_on(
            {
                "model_revision": slug(str(folder)),
                "model_hash": checkpoint.revision(folder),
                "pruned_before": checkpoint.pruned_before(folder),
            }
        )

    def conditions_on(self, origin: dict[str, Any]) -> dict[str, Any]:
        """Return what decides the outcome, besides the sparsity.

        Args:
            origin: ``model_revision``, ``model_hash`` and ``pruned_before`` of the dense model.
        """
        used = self.calibration if self.method.needs_calibration else None
        return {
            "schema": SCHEMA,
            "model": self.model,
            **origin,
            "method": self.method.name,
            "variant": self.variant,
            "method_version": self.method.version,
            "parameters": self.parameters.model_dump(),
            "seed": self.seed,
            "calibration": used.describe() if used else None,
            "dtype": self.runtime.dtype,
            "device": torch.device(self.runtime.device).type,
            "vector_width": torch.backends.cpu.get_cpu_capability(),
            "threads": self.runtime.threads,
            "versions": versions(),
        }

    def load(self, folder: Path) -> Any:
        """Load the dense model.

        Raises:
            UserError: the calibration tokens do not belong to its vocabulary.
        """
        model = self.runtime.load(folder)
        self.check_calibration(model)
        return model

    def check_calibration(self, model: Any) -> None:
        """Refuse calibration tokens that a model does not know; warn of those beyond its window.

        Raises:
            UserError: they do not belong to its vocabulary.
        """
        if self.calibration is not None:
            largest = max(max(row) for row in self.calibration.tokens)
            if largest >= model.config.vocab_size:
                raise UserError(
                    f"calibration token id {largest} is outside the model's vocabulary "
                    f"0..{model.config.vocab_size - 1}"
                )
            length, window = len(self.calibration.tokens[0]), stated_window(model.config.to_dict())
            if window is not None and length > window:
                logger.warning(
                    "the calibration sequences of %d tokens are beyond the window of %d tokens "
                    "that the model's config states",
                    length,
                    window,
                )


def score_stage(job: Job, sparsities: Sequence[int], output: Path) -> None:
    """Compute the scores of a method once for all sparsities and store them.

    A numerical failure is stored as such; the cells that are cut from it fail with its reason.

    Args:
        job: what to do.
        sparsities: percentages that will be cut from the scores.
        output: a safetensors file; its metadata hold the conditions.
    """
    watch = Stopwatch()
    job.runtime.apply()
    folder = locate(job.model)
    header = job.conditions(folder) | {"status": "ok", "reason": None}
    header["sparsities"] = list(sparsities)
    try:
        model, context = job.load(folder), job.context()
        with in_one_line(job.method):
            scores = job.method.score(model, context, job.parameters, sparsities)
            check_scores(job.method, scores)
    except NumericalError as error:
        scores = Scores({})
        header |= {"status": "failed", "reason": str(error)}
    with in_one_line(job.method):
        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in scores.tensors.items()
        }
        header |= {"tensors_sha256": _tensors_hash(tensors), "log": scores.log}
    header["provenance"] = watch.provenance()
    with atomic_file(output) as temporary:
        save_file(tensors, temporary, metadata={"adaptprune": json.dumps(seal(header))})


def _tensors_hash(tensors: dict[str, torch.Tensor]) -> str:
    return hashlib.sha256(save(dict(sorted(tensors.items())))).hexdigest()


def _read_scores(path: Path, conditions: dict[str, Any]) -> tuple[Scores, dict[str, Any]]:
    """Read a score file and check that it was made under the same conditions."""
    try:
        with safe_open(path, "pt") as stream:
            header = json.loads(stream.metadata()["adaptprune"])
            scores = Scores({name: stream.get_tensor(name) for name in stream.keys()})  # noqa: SIM118
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a score file ({error})") from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise UserError(f"{path}: broken ({error}); delete it and run again") from error
        raise
    if isinstance(header, dict) and "sha256" not in header:
        raise UserError(f"{path}: written by an older version; delete it and run again")
    try:
        header = unseal(path, header)
    except UserError as error:
        raise UserError(f"{error}; delete it and run again") from None
    if header["tensors_sha256"] != _tensors_hash(scores.tensors):
        raise UserError(f"{path}: altered since it was written; delete it and run again")
    for key, value in conditions.items():
        if header.get(key) != value:
            raise UserError(
                f"{path}: made with {key} {header.get(key)!r}, not {value!r}; "
                "delete it and run again"
            )
    scores.log = header["log"]
    return scores, header


def prune_stage(job: Job, sparsity: int, output: Path, scores_file: Path | None = None) -> None:
    """Prune a model to one sparsity and write its checkpoint folder.

    A numerical failure leaves a folder without weights whose ``pruning.json`` says why.

    Args:
        job: what to do.
        sparsity: percent.
        output: the folder to write (atomically).
        scores_file: stored scores; without, they are computed here.
    """
    job.method.check(sparsity, job.parameters)
    watch = Stopwatch()
    job.runtime.apply()
    folder = locate(job.model)
    record = job.conditions(folder)
    stored = _read_scores(scores_file, dict(record)) if scores_file else None
    record |= {"sparsity": sparsity, "recovery": "none", "status": "ok", "reason": None}
    with atomic_directory(output) as target:
        try:
            if stored and stored[1]["status"] == "failed":
                raise NumericalError(stored[1]["reason"])
            model = job.load(folder)
            pruned = prune_loaded(
                job.method,
                job.parameters,
                model,
                sparsity,
                job.context(),
                scores=stored[0] if stored else None,
                source=folder,
            )
            counts = pruned.write_model(target)
            record |= {"notes": [*pruned.notes, *lost_masks(folder)], "steps": pruned.steps}
            record["counts"] = counts
        except NumericalError as error:
            record |= {"status": "failed", "reason": str(error)}
            write_sealed_json(target / "kept.json", {"layers": []})
        record["provenance"] = watch.provenance()
        if stored:
            scoring = stored[1]["provenance"]
            for cost in ("wall_s", "peak_rss_mb", "peak_device_mb"):
                record["provenance"][f"score_{cost}"] = scoring.get(cost)
        write_sealed_json(target / "pruning.json", record)
        write_manifest(target)


def record_of(
    job: Job, origin: dict[str, Any], sparsity: int, pruned: PrunedModel
) -> dict[str, Any]:
    """Return what ``pruning.json`` says of a model that was pruned in memory, but its counts."""
    lost = [] if pruned.source is None else lost_masks(pruned.source)
    return job.conditions_on(origin) | {
        "sparsity": sparsity,
        "recovery": "none",
        "status": "ok",
        "reason": None,
        "notes": [*pruned.notes, *lost],
        "steps": pruned.steps,
    }


def mean_loss_of(folder: Path, tokens: list[list[int]], runtime: Runtime) -> dict[str, Any]:
    """Return the mean next-token cross-entropy (nats) of a checkpoint over all positions.

    Args:
        folder: a model folder.
        tokens: equal-length sequences of token ids.
        runtime: how to compute.

    Raises:
        NumericalError: the loss is not finite.
        UserError: the model is not causal, or cannot read sequences of that length.
    """
    from adaptprune.models.loss import hidden_states, mean_loss

    runtime.apply()
    checkpoint.revision(folder)
    model = runtime.load(folder)
    check_causal(model)
    rows = torch.tensor(tokens, device=runtime.device)
    total = 0.0
    with torch.no_grad():
        for batch in rows.split(8):
            total += (
                mean_loss(model, hidden_states(model, batch), batch).double().item()
                * batch.shape[0]
            )
    loss = total / len(tokens)
    if not torch.isfinite(torch.tensor(loss)):
        raise NumericalError(f"the loss of {folder} is {loss}")
    return {"loss": loss, "positions": len(tokens) * (len(tokens[0]) - 1)}
