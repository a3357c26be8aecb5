"""What a pruning method is: a class with a name, closed parameters, and how it decides.

Method modules are imported to list them, so they import torch only inside their functions.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from adaptprune.errors import UserError
from adaptprune.plugins import Plugin, seed_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from adaptprune.models.shapes import BlockShape, ModelShape
    from adaptprune.pruning.decisions import Decision
    from adaptprune.pruning.units import KeptUnits


@dataclass(frozen=True)
class Context:
    """What a method is handed besides the model.

    Args:
        tokens: calibration token ids [sequences, length] on the model's device, or None when
            the method declares that it needs none.
        seed: the cell's seed.
    """

    tokens: torch.Tensor | None
    seed: int

    def generator(self, scope: str) -> torch.Generator:
        """Return a random generator for one purpose, independent of every other purpose."""
        import torch

        return torch.Generator().manual_seed(seed_for(scope, self.seed))


@dataclass
class Scores:
    """Statistics of one (model, method, seed) that serve every sparsity.

    Args:
        tensors: named tensors, stored as safetensors.
        log: JSON-able record of how they came about.
    """

    tensors: dict[str, torch.Tensor]
    log: dict[str, Any] = field(default_factory=dict)


@dataclass
class Pruned:
    """A method's decision, and what a reader of the result should know of it.

    Of ``decision``, ``kept`` and ``model`` one is given: the latter two spell a ``Cut`` and a
    ``Sliced``.

    Args:
        kept: units that stay.
        already_cut: whether the model passed to ``prune`` has been cut to ``kept`` in place.
        biases: layer index → (output projection bias, down projection bias), each [hidden].
        steps: per-step log for ``pruning.json``.
        notes: what a reader of the result should know (a shifted budget, say).
        model: a finished model in place of a cut, with its config of ``adaptprune.modeling``.
        width: the sliced width of such a model.
        decision: one of ``adaptprune.pruning.decisions``.
    """

    kept: KeptUnits | None = None
    already_cut: bool = False
    biases: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    model: Any = None
    width: int | None = None
    decision: Decision | None = None

    def decide(self) -> Decision:
        """Return the decision, or the one that the fields spell."""
        from adaptprune.pruning.decisions import Cut, Sliced

        if self.decision is not None:
            return self.decision
        if self.kept is not None:
            return Cut(self.kept, self.biases, self.already_cut, self.width)
        return Sliced(self.model, self.width)


@dataclass(frozen=True)
class Budget:
    """Size after pruning, known from the architecture alone.

    Args:
        minimum: fewest parameters of the whole model that the method can leave.
        maximum: most parameters; equal to ``minimum`` when the count does not depend on weights.
        decoder: parameters of the decoder layers where exact, else None.
        blocks: per-layer shapes where exact, else None.
        width: sliced width (SliceGPT).
    """

    minimum: int
    maximum: int
    decoder: int | None = None
    blocks: tuple[BlockShape, ...] | None = None
    width: int | None = None

    @classmethod
    def exact(cls, shape: ModelShape, blocks: Sequence[BlockShape]) -> Budget:
        """Build the budget of known layer shapes."""
        pruned = shape.with_blocks(list(blocks))
        return cls(pruned.parameters, pruned.parameters, pruned.decoder_parameters, tuple(blocks))


@dataclass(frozen=True)
class Passes:
    """What a method computes, for predictions of its time alone.

    Args:
        gradient: forward and backward passes over the calibration set.
        forward: forward passes without a backward one.
        decompositions: eigenvectors of matrices as wide as the residual stream, float64.
    """

    gradient: int = 0
    forward: int = 0
    decompositions: int = 0


class Method(Plugin):
    """One pruning method.

    A *one-shot* method implements ``score`` (model passes, once per seed) and ``prune`` (cheap,
    from the scores). A method that decides and cuts in one go implements ``prune`` alone.
    """

    needs_calibration: ClassVar[bool] = True
    #: Whether it works on heads and neurons; False of methods that prune single weights, which
    #: know more families.
    needs_shape: ClassVar[bool] = True
    #: Whether its official figures were computed with vectors of 512 bits, on which they depend.
    wide_vectors: ClassVar[bool] = False

    def shares_scores(self, parameters: Any) -> bool:
        """Say whether one score file serves every sparsity."""
        return False

    def check(self, sparsity: int, parameters: Any) -> None:
        """Refuse, before any work, a sparsity (percent) that the parameters cannot reach."""
        if not 1 <= sparsity <= 99:
            raise UserError(f"sparsity {sparsity} is outside 1..99 (percent)")

    def passes(self, shape: ModelShape, sparsity: int, parameters: Any) -> Passes:
        """Return what pruning a model of ``shape`` to ``sparsity`` percent computes."""
        return Passes(gradient=int(self.needs_calibration))

    def score(
        self, model: Any, context: Context, parameters: Any, sparsities: Sequence[int]
    ) -> Scores:
        """Compute the statistics that all ``sparsities`` (percent) are cut from."""
        raise UserError(f"{self.name} has no score stage")

    @abstractmethod
    def prune(
        self, model: Any, scores: Scores | None, sparsity: int, context: Context, parameters: Any
    ) -> Pruned | Decision:
        """Decide what stays at ``sparsity`` percent.

        Args:
            model: the dense model; may be altered.
            scores: a stored result of ``score``, or None to compute what is needed here.
            sparsity: percent of the prunable channels to remove.
            context: calibration tokens and seed.
            parameters: an instance of the method's ``parameters`` class.

        Returns:
            The decision; in ``Pruned`` where there is something to tell of how it came about.

        Raises:
            NumericalError: a score is not finite.
        """

    @abstractmethod
    def budget(self, shape: ModelShape, sparsity: int, parameters: Any) -> Budget:
        """Return the parameter count, or its bounds, after pruning a model of ``shape``."""

    def budget_of(self, skeleton: Any, sparsity: int, parameters: Any) -> Budget:
        """Return the same of a model without a shape: asked of methods that need none alone.

        Args:
            skeleton: the model; its tensors hold no numbers.
            sparsity: percent.
            parameters: an instance of the method's ``parameters`` class.
        """
        raise UserError(f"{self.name} counts nothing of {skeleton.config.model_type}")
