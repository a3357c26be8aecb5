"""A tiny package index on this machine, for tests."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Index:
    """What the index offers, and what it was asked for.

    Attributes:
        files: content by file name; the project is the name up to the first hyphen.
        cut: bytes after which the next transfers break off, one entry for each.
        requests: path and Range header of every request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def serve(index: Index) -> Iterator[Index]:
    """Run the index on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            index.requests.append((self.path, self.headers.get("Range")))
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "simple":
                self._page(name)
            elif name in index.files:
                self._file(index.files[name])
            else:
                self.send_error(404)

        def _page(self, project: str) -> None:
            names = [name for name in index.files if name.partition("-")[0] == project]
            if not names:
                self.send_error(404)
                return
            links = "".join(f'<a href="/files/{name}">{name}</a>' for name in names)
            self._answer(200, f"<html><body>{links}</body></html>".encode(), "text/html")

        def _file(self, content: bytes) -> None:
            start = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self._answer(206 if start else 200, content[start:], "application/octet-stream")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if kind != "text/html" and index.cut:
                body = body[: index.cut.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple/"
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
