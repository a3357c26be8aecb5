"""What the metrics know of a linear layer's inputs, gathered sequence by sequence in float32."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Protocol

import torch

from adaptprune.errors import NumericalError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread of the CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Statistics(Protocol):
    """Statistics of the inputs that a group of linear layers reads."""

    def add(self, inputs: torch.Tensor) -> None:
        """Take in one sequence [length, inputs]."""


class InputNorms:
    """Squared norm of every input over a sequence, mean over the sequences (Wanda).

    A running mean, as officially.

    Args:
        inputs: number of inputs.
        device: where they are.
    """

    def __init__(self, inputs: int, device: torch.device):
        self.sequences = 0
        self.squares = torch.zeros(inputs, device=device)

    def add(self, inputs: torch.Tensor) -> None:
        """Take in one sequence [length, inputs]."""
        self.squares *= self.sequences / (self.sequences + 1)
        self.sequences += 1
        self.squares += inputs.float().t().norm(dim=1) ** 2 / self.sequences


#: Rows of a Hessian that are added to at once; they stay in a core's cache.
_ROWS = 256


class Hessian:
    """Second moment of the inputs, 2 / sequences · Σ x xᵀ (SparseGPT), and its inverse's factor.

    ``matrix`` holds its lower triangle; what lies above the diagonal is not kept up.

    Args:
        inputs: number of inputs.
        device: where they are.
    """

    def __init__(self, inputs: int, device: torch.device):
        self.sequences = 0
        self.matrix = torch.zeros(inputs, inputs, device=device)
        self._factor: torch.Tensor | None = None

    def add(self, inputs: torch.Tensor) -> None:
        """Take in one sequence [length, inputs]."""
        weight = self.sequences / (self.sequences + 1)
        self.sequences += 1
        scaled = math.sqrt(2 / self.sequences) * inputs.float().t()
        width = len(scaled)
        # Cut at odd places, a product has other last bits than as a whole.
        rows = _ROWS if width % 64 == 0 else width
        for start in range(0, width, rows):
            stop = min(start + rows, width)
            lower = self.matrix[start:stop, :stop]
            lower *= weight
            lower += scaled[start:stop] @ scaled[:stop].t()

    @property
    def dead(self) -> torch.Tensor:
        """Return which inputs are never other than zero [inputs]."""
        return self.matrix.diagonal() == 0

    def inverse_factor(self, damping: float, dtype: torch.dtype) -> torch.Tensor:
        """Return the upper Cholesky factor of the damped matrix's inverse, float32.

        It is computed once for all layers that read these inputs, and by one thread: its last bits
        depend on how many there are, and choices between nearly equal weights on the last bits.

        Args:
            damping: fraction of the mean of the diagonal that is added to the diagonal, after a
                one was put there for dead inputs.
            dtype: in which it is computed.

        Raises:
            NumericalError: the matrix is not finite, or not positive definite.
        """
        if self._factor is None:
            if not self.matrix.isfinite().all():
                raise NumericalError("the inputs of a linear layer are not finite")
            matrix = self.matrix.to(dtype, copy=True)  # the factorisation reads its lower triangle
            matrix.diagonal()[self.dead] = 1
            matrix.diagonal().add_(damping * matrix.diagonal().mean())
            try:
                with one_thread():
                    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
                    self._factor = torch.linalg.cholesky(inverse, upper=True).float()
            except torch.linalg.LinAlgError:
                raise NumericalError(
                    "the second moment of a linear layer's inputs is not positive definite in "
                    f"{str(dtype).removeprefix('torch.')} with a damping of {damping}"
                ) from None
        return self._factor
