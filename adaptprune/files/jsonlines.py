"""JSON lines as people bring them: UTF-8 with or without a byte order mark, one object a line."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with the numbers of their lines; blank lines are passed over.

    Raises:
        UserError: names the line that is no UTF-8, no JSON object, or holds half a surrogate pair,
            which no tokenizer and no table takes.
    """
    with path.open("rb") as stream:
        if stream.read(2) in _UTF16:
            raise UserError(f"{path}: is UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
        stream.seek(0)
        # Within a piece only an old Mac's line ends are left: U+2028, say, ends no line.
        pieces = (line for piece in stream for line in piece.splitlines())
        for number, line in enumerate(pieces, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield number, _read_object(f"{path}: line {number}", line)


def _read_object(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place} is not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); "
            "save the file as UTF-8"
        ) from None
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise UserError(f"{place} is not a JSON object")
    if b"\\u" in line:  # how a surrogate is written
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise UserError(f"{place} holds half a surrogate pair, which is no character") from None
    return row
