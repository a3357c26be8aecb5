"""A pruned model in memory: what was decided, what it counts, and its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.files.atomic import atomic_directory, write_sealed_json
from adaptprune.files.manifest import write_manifest
from adaptprune.models import checkpoint
from adaptprune.models.loaded import UNNAMED, LoadedModel
from adaptprune.models.sizes import ModelSize
from adaptprune.plugins import in_one_line
from adaptprune.pruning.decisions import Cut
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.guard import check_model, check_pruned

if TYPE_CHECKING:
    from adaptprune.pruning.decisions import Decision
    from adaptprune.pruning.method import Context, Method, Scores
    from adaptprune.pruning.units import KeptUnits


@dataclass
class PrunedModel:
    """What a method made of a model.

    Attributes:
        model: the pruned causal language model of transformers.
        tokenizer: of the model, or None.
        method: that pruned it.
        decision: what became of it.
        dense: what was known of it before.
        config: that its weights belong to; ``model.config`` may still hold the dense numbers.
        source: folder of the dense model, whose tokenizer goes along; None where it had none.
        steps: the method's log.
        notes: what a reader of the result should know.
        record: under which conditions it was pruned.
    """

    model: Any
    tokenizer: Any
    method: Method
    decision: Decision
    dense: DenseModel
    config: Any
    source: Path | None
    steps: list[dict[str, Any]]
    notes: list[str]
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> KeptUnits | None:
        """Return the kv heads and neurons that stay, by layer; None where no unit was cut."""
        return self.decision.kept if isinstance(self.decision, Cut) else None

    @property
    def counts(self) -> dict[str, Any]:
        """Return parameters and decoder parameters before and after, and the sparsity reached.

        The sparsity is a fraction: of prunable channels, or of the linear layers' weights where a
        method masks these.
        """
        return self._count(ModelSize.of(self.model))

    def loaded(self) -> LoadedModel:
        """Return it as a model to prune again, to train or to evaluate."""
        name = f"{self.record.get('model', UNNAMED)} after {self.method.name}"
        return LoadedModel(
            self.model, self.tokenizer, name, made_by=self.method.name, config=self.config
        )

    def save(self, folder: str | Path) -> Path:
        """Write a folder that ``AutoModelForCausalLM`` loads, with its record; return it.

        It holds what the command ``prune`` writes: weights (safetensors), config, tokenizer,
        ``kept.json`` and ``pruning.json``.

        Args:
            folder: that is not there yet, or is empty.

        Raises:
            UserError: the folder holds something, or cannot be written.
        """
        output = new_folder(folder)
        with atomic_directory(output) as target:
            counts = self.write_model(target)
            write_sealed_json(target / "pruning.json", self.record | {"counts": counts})
            write_manifest(target)
        return output

    def write_model(self, target: Path) -> dict[str, Any]:
        """Write weights, config, tokenizer and decision; return the counts of what was written.

        Raises:
            UserError: the checkpoint does not load.
        """
        checkpoint.save_model(target, self.model, self.config, self.source)
        if self.source is None and self.tokenizer is not None:
            self.tokenizer.save_pretrained(target)
        write_sealed_json(target / "kept.json", self.decision.describe(self.dense))
        self.decision.write(target)
        try:
            return self._count(ModelSize.of(checkpoint.saved_skeleton(target)))
        except UserError as error:
            raise UserError(f"method {self.method.name!r}: the pruned model: {error}") from None

    def _count(self, after: ModelSize) -> dict[str, Any]:
        return {
            "params_dense": self.dense.size.parameters,
            "params": after.parameters,
            "decoder_params_dense": self.dense.size.decoder,
            "decoder_params": after.decoder,
            "sparsity_reached": self.decision.reached(self.dense, self.model),
        } | self.decision.counts(self.model)


def new_folder(folder: str | Path) -> Path:
    """Return a folder that may be written: one that is not there, or empty.

    Raises:
        UserError: there is something.
    """
    path = Path(folder).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: is there already; give the name of a new folder")
    return path


def prune_loaded(
    method: Method,
    parameters: Any,
    model: Any,
    sparsity: int,
    context: Context,
    *,
    scores: Scores | None = None,
    tokenizer: Any = None,
    source: Path | None = None,
) -> PrunedModel:
    """Let a method decide, check the decision, and apply it.

    Args:
        method: the method.
        parameters: its parsed parameters.
        model: the dense model; it is altered.
        sparsity: percent.
        context: calibration tokens and seed.
        scores: stored statistics, None to compute them.
        tokenizer: of the model.
        source: folder of the model.

    Raises:
        UserError: the method failed, or its decision or outcome does not fit the model.
        NumericalError: a number is not finite.
    """
    dense = DenseModel.of(model, needs_shape=method.needs_shape)
    with in_one_line(method):
        returned = method.prune(model, scores, sparsity, context, parameters)
        pruned = check_pruned(method, returned, dense)
    decision = pruned.decide()
    with in_one_line(method):  # it may have left anything in the model's place
        final = decision.apply(model)
        config = decision.config(final)
        check_model(method, final, decision, dense)
    return PrunedModel(
        final, tokenizer, method, decision, dense, config, source, pruned.steps, pruned.notes
    )
