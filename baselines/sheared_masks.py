"""ShearedLLaMA's masks towards a uniform target shape, and the Lagrangian that drives them there.

One hard-concrete gate stands for a channel of the residual stream, a decoder layer, a neuron, and a
kv head with its query heads. The released code knows multi-head attention alone, where the last is
one head; with grouped queries the group has one gate, so that the cut keeps the ratio of query to
kv heads. Sums over counts follow ``llmshearing/models/l0_module.py`` of
github.com/princeton-nlp/LLM-Shearing at b87218b with its pruning modules head, intermediate, layer
and hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from baselines import hard_concrete
from baselines.masked_model import Gates

if TYPE_CHECKING:
    from torch import Tensor

    from adaptprune.models.shapes import ModelShape

#: What is masked, in the order of the multipliers.
KINDS = ("heads", "intermediate", "layers", "hidden")


class Masks(nn.Module):
    """Log-alphas of all gates of a model, and the multipliers of the Lagrangian.

    Args:
        shape: the model's; its layers are alike.
        target: the shape to end with; its layers are alike too, and have as many query heads per
            kv head.
        generator: draws the first log-alphas.
    """

    def __init__(self, shape: ModelShape, target: ModelShape, generator: torch.Generator):
        super().__init__()
        layers, block, wanted = len(shape.blocks), shape.blocks[0], target.blocks[0]
        self.kept = {
            "heads": wanted.kv_heads,
            "intermediate": wanted.intermediate_size,
            "layers": len(target.blocks),
            "hidden": target.hidden_size,
        }
        sizes: dict[str, tuple[int, ...]] = {
            "heads": (layers, block.kv_heads),
            "intermediate": (layers, block.intermediate_size),
            "layers": (layers,),
            "hidden": (shape.hidden_size,),
        }
        #: Weights of one head group and of one neuron for each channel of the residual stream.
        self.costs = {
            "heads": (2 * shape.queries_per_kv_head + 2) * shape.head_dim,
            "intermediate": 3,
        }
        drawn = {kind: hard_concrete.initial_log_alpha(sizes[kind], generator) for kind in KINDS}
        self.log_alpha = nn.ParameterDict(drawn)
        self.linear = nn.Parameter(torch.zeros(len(KINDS)))
        self.quadratic = nn.Parameter(torch.zeros(len(KINDS)))

    @torch.no_grad()
    def clamp(self) -> None:
        """Put the log-alphas back within their bounds; to be called after an optimiser step."""
        for log_alpha in self.log_alpha.values():
            log_alpha.clamp_(*hard_concrete.BOUNDS)

    def sample(self, generator: torch.Generator) -> Gates:
        """Draw all gates; gradients flow to the log-alphas."""
        return Gates(
            **{kind: hard_concrete.sample(self.log_alpha[kind], generator) for kind in KINDS}
        )

    @torch.no_grad()
    def deterministic(self, *, at_target: bool) -> Gates:
        """Return gates without chance.

        Args:
            at_target: keep exactly the target shape's units; else as many as are expected now.
        """
        return Gates(
            **{
                kind: hard_concrete.deterministic(
                    self.log_alpha[kind], self.kept[kind] if at_target else None
                )
                for kind in KINDS
            }
        )

    def expected_sparsity(self) -> dict[str, Tensor]:
        """Return the expected share of closed gates, of each layer or (layers, hidden) of all."""
        return {
            kind: 1 - hard_concrete.expected_open(alpha).sum(-1) / alpha.shape[-1]
            for kind, alpha in self.log_alpha.items()
        }

    def expected_parameters(self) -> Tensor:
        """Return the expected number of weights of the projections (no embeddings, norms, biases).

        A weight stays if its layer, its unit and its channel of the residual stream all do.
        """
        open_ = {kind: hard_concrete.expected_open(alpha) for kind, alpha in self.log_alpha.items()}
        units = sum(cost * open_[kind].sum(-1) for kind, cost in self.costs.items())
        return open_["hidden"].sum() * (open_["layers"] * units).sum()

    def target_sparsity(self, warmed: float = 1.0) -> dict[str, float]:
        """Return the share of gates to be closed.

        Args:
            warmed: share of the warm-up that is over; the targets grow with it from 0.
        """
        return {
            kind: (1 - self.kept[kind] / self.log_alpha[kind].shape[-1]) * warmed for kind in KINDS
        }

    def lagrangian(self, warmed: float) -> Tensor:
        """Return Σ λ₁(s − t) + λ₂(s − t)², one term per kind of gate, averaged over layers.

        The masks descend on it, the multipliers λ ascend (section 2.1 of arXiv 2310.06694; the
        paper writes the distances of sizes, the released code those of sparsities).

        Args:
            warmed: share of the warm-up that is over.
        """
        expected, targets = self.expected_sparsity(), self.target_sparsity(warmed)
        total = torch.zeros((), device=self.linear.device)
        for kind, linear, quadratic in zip(KINDS, self.linear, self.quadratic, strict=True):
            gap = expected[kind] - targets[kind]
            total = total + (linear * gap + quadratic * gap**2).mean()
        return total
