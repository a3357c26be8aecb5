"""Which weights of a row may stay: N of M consecutive inputs, or any (torch-free)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pydantic_core

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

UNSTRUCTURED = "unstructured"


@dataclass(frozen=True)
class Pattern:
    """N weights stay of every M consecutive inputs of a row, or any number where there is no M.

    Args:
        kept: N, 0 where the pattern is unstructured.
        group: M, 0 where the pattern is unstructured.
    """

    kept: int = 0
    group: int = 0

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read ``"N:M"`` or ``"unstructured"``.

        Raises:
            UserError: it is neither, or not 1 ≤ N < M.
        """
        if text == UNSTRUCTURED:
            return cls()
        match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
        if match is None:
            raise UserError(f"pattern {text!r} must be N:M (2:4, say) or {UNSTRUCTURED!r}")
        kept, group = int(match[1]), int(match[2])
        if not 1 <= kept < group:
            raise UserError(
                f"pattern {text!r} keeps {kept} of {group} weights; N must be in 1..M-1"
            )
        return cls(kept, group)

    def __bool__(self) -> bool:
        """Say whether there are groups at all."""
        return self.group > 0

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}" if self else UNSTRUCTURED

    @property
    def pruned(self) -> int:
        """Return how many weights of a group are removed."""
        return self.group - self.kept

    def check_sparsity(self, sparsity: int) -> None:
        """Refuse a sparsity (percent) that contradicts the pattern.

        A pattern that removes no whole percentage goes by the whole percents below it.

        Raises:
            UserError: naming the sparsity that fits.
        """
        if self and sparsity != 100 * self.pruned // self.group:
            raise UserError(
                f"sparsity {sparsity} contradicts the pattern {self}, which removes "
                f"{100 * self.pruned / self.group:.4g} % (allowed: "
                f"{100 * self.pruned // self.group})"
            )

    def check_rows(self, shapes: Mapping[str, tuple[int, int]]) -> None:
        """Refuse rows that are no whole number of groups.

        Args:
            shapes: name → (outputs, inputs) of every weight to be pruned.

        Raises:
            UserError: naming the first such weight.
        """
        for name, (_, inputs) in shapes.items():
            if self and inputs % self.group:
                raise UserError(
                    f"pattern {self} does not divide the rows of {name}, which have {inputs} inputs"
                )


def _checked(value: Any) -> str:
    """Return a pattern's text, checked.

    YAML 1.1 reads ``2:4`` as a number of base 60, 124: that is undone here, since settings come
    from several YAML readers.
    """
    if type(value) is int and value >= 60:
        value = f"{value // 60}:{value % 60}"
    try:
        return str(Pattern.parse(str(value)))
    except UserError as error:
        raise pydantic_core.PydanticCustomError("pattern", "{line}", {"line": str(error)}) from None


#: A parameter of a method: ``"N:M"`` or ``"unstructured"``.
PatternText = Annotated[str, pydantic.BeforeValidator(_checked)]
