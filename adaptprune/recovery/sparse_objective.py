"""What sparse training minimises, and when it chooses its masks.

A checkpoint holds the weights that training goes on with, pruned ones included, and beside them
``masks.packed``; the last one of a stage holds zeros where weights are pruned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from adaptprune.errors import UserError
from adaptprune.files.atomic import find_sealed_json, write_sealed_json
from adaptprune.models.catalogue import locate
from adaptprune.pruning import choice
from adaptprune.pruning.decisions import describe_masks
from adaptprune.pruning.masks import MASKS, Mask, read_masks, write_masks
from adaptprune.pruning.patterns import Pattern
from adaptprune.recovery import checkpoints
from adaptprune.recovery.distillation import Looker, Seen, Teacher, distillation_loss
from adaptprune.recovery.objective import Objective, State
from adaptprune.recovery.straight_through import SparseLayers

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.data.packing import Batch
    from adaptprune.recovery.folder import RunFolder
    from adaptprune.recovery.plan import Stage
    from adaptprune.recovery.sparse import SparseTrainingParameters

_INITIAL = "initial/"


class SparseObjective(Objective):
    """Training of masked weights, with or without a teacher; by itself the masks never change.

    Args:
        folder: the run folder.
        stage: that is trained.
        device: where the process computes.
        parameters: of the method.

    Raises:
        UserError: the model is sharded, so that no process has a whole row of it.
    """

    #: Whether the gradient reaches pruned weights; where it does not, they stay zero.
    through = True

    def __init__(
        self,
        folder: RunFolder,
        stage: Stage,
        device: torch.device,
        parameters: SparseTrainingParameters,
    ):
        _refuse_shards()
        self.folder, self.stage, self.parameters = folder, stage, parameters
        self.device = device
        self.pattern = Pattern.parse(parameters.pattern)
        self.checkpoint = checkpoints.newest(folder.checkpoints)
        self.step = 0
        self.figures: dict[str, float] = {}
        self.teacher: Teacher | None = None
        if parameters.alpha:
            named = parameters.teacher
            source = folder.settings().source if named is None else locate(named)
            self.teacher = Teacher(source, device, parameters.distillation)

    # --- masks ------------------------------------------------------------------------------

    def attach(self, model: Any) -> None:
        """Let the linear layers compute with masked weights."""
        self.model = model
        self.layers = SparseLayers.of(model, self.pattern, through=self.through)
        stored = self.checkpoint / MASKS if self.checkpoint else None
        if stored is not None and stored.is_file():
            self.layers.begin(read_masks(stored)[0])
        else:
            self.layers.update(self.choose)
            self.layers.begin(self.layers.masks())
            self._keep_through()
        self.layers.install()
        self.looker = Looker(model, self.parameters.distillation)

    def choose(self, name: str, matrix: torch.Tensor) -> torch.Tensor:
        """Return which weights of a layer stay in this step [outputs, inputs].

        Args:
            name: of the layer's weight.
            matrix: its weights [outputs, inputs].
        """
        return self.smallest_pruned(matrix.float().abs())

    def smallest_pruned(self, metric: torch.Tensor) -> torch.Tensor:
        """Return what stays where the smallest of each group, or of each row, are pruned."""
        if self.pattern:
            return ~choice.smallest_of_groups(metric, self.pattern, self.parameters.ties)
        return ~choice.smallest_of_rows(metric, self.parameters.sparsity)

    def updates_before(self, step: int) -> bool:
        """Say whether masks are chosen anew before a step, counted from 0."""
        return False

    def updates_after(self, step: int) -> bool:
        """Say whether masks are chosen anew after a step."""
        return False

    def _update(self) -> None:
        self.figures = self.layers.update(self.choose).figures()
        self._keep_through()

    def _keep_through(self) -> None:
        if not self.through:
            self.layers.zero_pruned()

    def begin_step(self, step: int, rate: float) -> None:
        """Choose masks where it is time."""
        self.step, self.figures = step, {}
        if self.updates_before(step):
            self._update()

    def end_step(self, model: Any) -> dict[str, float]:
        """Choose masks where it is time; return flips. After the last step zeros are written."""
        self._keep_through()
        if self.updates_after(self.step):
            self._update()
        if self.finished:
            self.layers.zero_pruned()
        return self.figures

    @property
    def finished(self) -> bool:
        """Say whether the present step is the stage's last."""
        return self.step + 1 == self.stage.trained_steps

    # --- what is minimised ------------------------------------------------------------------

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return α · distillation + (1 − α) · next-token cross-entropy (nats), scaled."""
        chosen, every = self.parameters, self.parameters.positions == "all"
        tokens, targets, counted = batch.tokens, batch.tokens[:, 1:], batch.counted[:, 1:]
        # The last token predicts nothing that is there.
        learnt = self.looker.look(model, tokens if every else tokens[:, :-1])
        predicting = learnt.logits[:, :-1] if every else learnt.logits
        weight = chosen.loss_scale * (1 - chosen.alpha)
        loss = weight * cross_entropy(predicting, targets, counted)
        if self.teacher is not None:
            taught = self.teacher.look(tokens if every else tokens[:, :-1])
            where = torch.ones_like(batch.counted) if every else counted
            weight = chosen.loss_scale * chosen.alpha
            loss = loss + weight * self._distillation(learnt, taught, where)
        return loss

    def _distillation(self, learnt: Seen, taught: Seen, where: torch.Tensor) -> torch.Tensor:
        chosen = self.parameters
        return distillation_loss(
            chosen.distillation, learnt, taught, where, chosen.temperature, chosen.feature_weight
        )

    def flops(self, parameters: int, tokens: int) -> int:
        """Add the teacher's forward pass to the student's training."""
        teacher = 2 * self.teacher.compute_parameters * tokens if self.teacher else 0
        return super().flops(parameters, tokens) + teacher

    # --- what outlives a kill ---------------------------------------------------------------

    def state(self) -> State:
        """Return the first masks; the present ones are a file of their own."""
        first = self.layers.initial.items()
        return State({_INITIAL + name: torch.from_numpy(mask.bits) for name, mask in first})

    def restore(self, state: State) -> None:
        """Take up the first masks."""
        for name, layer in self.layers.layers.items():
            bits = state.tensors[_INITIAL + name].cpu().numpy()
            self.layers.initial[name] = Mask(layer.linear.shape, bits)

    def write(self, folder: Path, state: dict[str, torch.Tensor]) -> None:
        """Write the masks, and what ``kept.json`` says of them."""
        masks = self.layers.masks()
        write_masks(folder / MASKS, masks, self.pattern)
        described = describe_masks(masks, self.pattern, updated=True)
        units = find_sealed_json(folder / "kept.json") or described
        content = described | {"layers": units["layers"], "counts": self.counts(state)}
        write_sealed_json(folder / "kept.json", content)

    def counts(self, state: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Count weights that are not zero, shared ones once.

        Args:
            state: weights by name, without those that are stored elsewhere.
        """
        names = (name for name, _ in self.model.named_parameters() if name in state)
        nonzeros = sum(int(state[name].count_nonzero()) for name in names)
        return {"nonzeros": nonzeros, "pattern": str(self.pattern)}


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, counted: torch.Tensor
) -> torch.Tensor:
    """Return the mean cross-entropy (nats) over what counts; 0 where nothing does.

    Args:
        logits: [rows, length, vocabulary].
        targets: token ids [rows, length].
        counted: [rows, length].
    """
    wanted = targets.masked_fill(~counted, -100).flatten()
    total = F.cross_entropy(
        logits.float().flatten(0, 1), wanted, ignore_index=-100, reduction="sum"
    )
    return total / counted.sum().clamp(min=1)


def _refuse_shards() -> None:
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    if AcceleratorState().distributed_type == DistributedType.FSDP:
        raise UserError(
            "sparse training chooses masks of whole rows, which no process has of a sharded model; "
            "launch with MULTI_GPU (profiles/accelerate/ddp.yaml)"
        )
