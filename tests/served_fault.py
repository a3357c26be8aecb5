"""What the hub of the tests does wrong when it is told to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong with requests for a path.

    Attributes:
        match: regular expression that is looked for in the path.
        times: how many requests it meets; None for all.
        method: the only one that it meets.
        status: is answered in place of what was asked for, with ``headers``.
        drop: close the connection without an answer.
        cut: bytes of a file after which the connection is closed.
        truncate: bytes of a file that are sent as if they were all.
        flip: whether the byte in the middle of a file is another one.
        delay: seconds before the answer.
        rate: bytes of a file per second.
        move: what ``main`` of a repository becomes before the answer (see `LoopbackHub.move`).
    """

    match: str
    times: int | None = 1
    method: str | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    cut: int | None = None
    truncate: int | None = None
    flip: bool = False
    delay: float = 0.0
    rate: float | None = None
    move: tuple[str, str] | None = None

    def spoil(self, content: bytes) -> bytes:
        """Return a file's bytes as they are sent."""
        if self.flip:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        return content if self.truncate is None else content[: self.truncate]
