"""The divergence that most distillations minimise, without the passes that autograd would add.

Logits of a whole vocabulary are the largest tensors of a step, and every pass over them costs as
much as a layer of a small model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class ForwardKL(torch.autograd.Function):
    """KL(teacher ‖ student) over the last dimension; its gradient goes to the student alone."""

    @staticmethod
    def forward(ctx: Any, learnt: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """Return Σ p (log p − log q) of the student's and the teacher's logits."""
        log_q, log_p = learnt.log_softmax(-1), taught.log_softmax(-1)
        difference, p = log_p - log_q, log_p.exp_()
        ctx.save_for_backward(log_q, p)
        return torch.linalg.vecdot(p, difference)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        """Return (q Σ p − p) times the gradient, in the order in which autograd computes it."""
        log_q, p = ctx.saved_tensors
        of_log_q = p * -gradient.unsqueeze(-1)
        return torch.ops.aten._log_softmax_backward_data(of_log_q, log_q, -1, p.dtype), None
