"""Losses of distillation, and the teacher that they are measured against.

Logits [rows, length, vocabulary], hidden states [rows, length, width], attention distributions
[rows, heads, length, length]. Sources: the appendix of AST (arXiv 2407.20584, section 6.5), with
the works that it cites, and the code released with it. Imports torch only inside its functions,
for methods name these losses in their parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adaptprune.errors import UserError
from adaptprune.models.anatomy import blocks_of, hooked, stream_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

#: What is compared of student and teacher.
DistillationLoss = Literal["kl", "reverse-kl", "tinybert", "mobilebert", "squarehead"]
#: Losses that look at attention distributions, and at hidden states.
WITH_ATTENTIONS = ("tinybert", "mobilebert")
WITH_HIDDEN_STATES = (*WITH_ATTENTIONS, "squarehead")
#: The released code of AST adds the eps of bfloat16 to SquareHead's denominator, the paper nothing.
SQUAREHEAD_EPS = 2.0**-7


def forward_kl(
    learnt: torch.Tensor, taught: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Return T² · KL(teacher ‖ student) of every position, in nats.

    At a temperature T both logits are divided by it; T² keeps the size of the gradient.

    Args:
        learnt: the student's logits [..., vocabulary].
        taught: the teacher's; no gradient goes to them.
        temperature: T.
    """
    from adaptprune.recovery.divergence import ForwardKL

    learnt, taught = _softened(learnt, temperature), _softened(taught, temperature)
    divergence: torch.Tensor = ForwardKL.apply(learnt, taught)
    return divergence * temperature**2


def reverse_kl(
    learnt: torch.Tensor, taught: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Return T² · KL(student ‖ teacher) of every position, in nats (MiniLLM; Eq. 15).

    Args:
        learnt: the student's logits [..., vocabulary].
        taught: the teacher's.
        temperature: T.
    """
    log_q = _softened(learnt, temperature).log_softmax(-1)
    log_p = _softened(taught, temperature).log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1) * temperature**2


def _softened(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return logits divided by the temperature, in float32; no copy where nothing changes."""
    logits = logits.float()
    return logits if temperature == 1 else logits / temperature


def soft_cross_entropy(
    learnt: torch.Tensor, taught: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Return CE(teacher/T, student/T) of every position, in nats (TinyBERT; Eq. 9)."""
    log_q = _softened(learnt, temperature).log_softmax(-1)
    return -(_softened(taught, temperature).softmax(-1) * log_q).sum(-1)


def squarehead(
    learnt: Sequence[torch.Tensor], taught: Sequence[torch.Tensor], eps: float = SQUAREHEAD_EPS
) -> torch.Tensor:
    """Return the sum over layers of MSE(f_s, f_t) / MSE(f_t, 0) (SquareHead; Eq. 12).

    Args:
        learnt: the student's hidden states behind every block.
        taught: the teacher's.
        eps: added to the denominator.
    """
    pairs = [(mine.float(), its.float()) for mine, its in zip(learnt, taught, strict=True)]
    return _sum([(mine - its).square().mean() / (its.square().mean() + eps) for mine, its in pairs])


def hidden_mse(learnt: Sequence[torch.Tensor], taught: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum over layers of MSE(H_s, H_t) (TinyBERT, MobileBERT; Eq. 8, W_h = 1)."""
    pairs = zip(learnt, taught, strict=True)
    return _sum([(mine.float() - its.float()).square().mean() for mine, its in pairs])


def attention_mse(learnt: Sequence[torch.Tensor], taught: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum over layers of the heads' mean MSE(A_s, A_t) (TinyBERT; Eq. 7)."""
    return hidden_mse(learnt, taught)


def attention_kl(learnt: Sequence[torch.Tensor], taught: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the sum over layers of KL(a_t ‖ a_s), mean over rows, heads and tokens (Eq. 11).

    Args:
        learnt: the student's attention distributions; what a token cannot see is 0 in both.
        taught: the teacher's.
    """
    return _sum(
        [
            (its.float() * (_log(its.float()) - _log(mine.float()))).sum(-1).mean()
            for mine, its in zip(learnt, taught, strict=True)
        ]
    )


def _log(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities.clamp(min=1e-37).log()


def _sum(terms: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.stack(terms).sum() if terms else torch.zeros(())


@dataclass(frozen=True)
class Seen:
    """What was looked at in a pass.

    Args:
        logits: [rows, length, vocabulary].
        hidden: hidden states behind every block, where the loss asks for them.
        attentions: attention distributions of every block, where the loss asks for them.
    """

    logits: torch.Tensor
    hidden: list[torch.Tensor]
    attentions: list[torch.Tensor]


class Looker:
    """What a loss looks at inside a model, pass by pass.

    Args:
        model: a causal language model whose family has an anatomy.
        loss: the loss.

    Raises:
        UserError: the family has no anatomy, where the loss looks at hidden states.
    """

    def __init__(self, model: Any, loss: DistillationLoss):
        self.attentions = loss in WITH_ATTENTIONS
        self.blocks = list(blocks_of(model)) if loss in WITH_HIDDEN_STATES else []
        if self.attentions:
            model.set_attn_implementation("eager")  # the others do not give the distributions

    def look(self, model: Any, tokens: torch.Tensor) -> Seen:
        """Pass tokens [rows, length] through the model, distributed as it is."""
        hidden: list[torch.Tensor] = []

        def note(_: Any, __: Any, ___: Any, output: Any) -> None:
            hidden.append(stream_out(output))

        extra = {"output_attentions": True} if self.attentions else {}
        with hooked(after=dict.fromkeys(self.blocks, note)):
            output = model(input_ids=tokens, use_cache=False, **extra)
        attentions = list(output.attentions or ()) if self.attentions else []
        if self.attentions and len(attentions) != len(hidden):
            raise UserError("the model does not give its attention distributions")
        return Seen(output.logits, hidden, attentions)


class Teacher:
    """A frozen model whose forward passes a student learns from.

    Args:
        folder: of the model.
        device: where the process computes; on a GPU it is held in bfloat16.
        loss: what will be compared.
    """

    def __init__(self, folder: Path, device: torch.device, loss: DistillationLoss = "kl"):
        from adaptprune.models.checkpoint import count_compute_parameters, load_model

        dtype = "bfloat16" if device.type == "cuda" else "float32"
        self.model = load_model(folder, dtype=dtype, device=str(device)).requires_grad_(False)
        self.compute_parameters = count_compute_parameters(self.model)
        self._looker = Looker(self.model, loss)

    def look(self, tokens: torch.Tensor) -> Seen:
        """Pass tokens [rows, length] through the teacher."""
        import torch

        with torch.no_grad():
            return self._looker.look(self.model, tokens)


def mean_over(values: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Return the mean of the values [rows, length] that count; 0 where none does."""
    return (values * counted).sum() / counted.sum().clamp(min=1)


def distillation_loss(
    loss: DistillationLoss,
    learnt: Seen,
    taught: Seen,
    counted: torch.Tensor,
    temperature: float,
    feature_weight: float = 1.0,
) -> torch.Tensor:
    """Return what student and teacher differ by (nats, where it is a divergence of logits).

    ``tinybert``: hidden states and attention of every layer but the last, soft cross-entropy of
    the logits in its place (Eq. 10). ``mobilebert``: hidden states and attention of all layers.
    ``squarehead``: KL of the logits, plus the features times their weight (Eq. 14).

    Args:
        loss: which one.
        learnt: what was seen of the student.
        taught: what was seen of the teacher.
        counted: positions whose logits count [rows, length].
        temperature: of the logits.
        feature_weight: of SquareHead.
    """
    if loss == "reverse-kl":
        return mean_over(reverse_kl(learnt.logits, taught.logits, temperature), counted)
    if loss == "tinybert":
        logits = mean_over(soft_cross_entropy(learnt.logits, taught.logits, temperature), counted)
        hidden = hidden_mse(learnt.hidden[:-1], taught.hidden[:-1])
        return logits + hidden + attention_mse(learnt.attentions[:-1], taught.attentions[:-1])
    if loss == "mobilebert":
        return hidden_mse(learnt.hidden, taught.hidden) + attention_kl(
            learnt.attentions, taught.attentions
        )
    divergence = mean_over(forward_kl(learnt.logits, taught.logits, temperature), counted)
    if loss == "squarehead":
        return divergence + feature_weight * squarehead(learnt.hidden, taught.hidden)
    return divergence
